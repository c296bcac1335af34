"""The union of two stores: results of many machines are merged by copying run folders.

A run folder only ever grows (lines are appended, the record comes last), so of two copies of one run the one with
a record is the whole one, and of two without, the longer ledger. Two different records of one run id are a conflict.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kilowit.errors import StoreError
from kilowit.store.folder import RunFolder, store_errors, write_whole

if TYPE_CHECKING:
    from kilowit.store import Store

_HINT = "One of the two was changed after its run: keep the one that you trust and remove the other folder."


def merge(here: Store, there: Store) -> int:
    """Copy into `here` what only `there` has; return the number of runs that were new or completed.

    Raises:
        StoreError: `there` is no store, a conflict (found before anything is copied), or a store cannot be used.
    """
    if not there.path.is_dir():
        raise StoreError("no such store", place=str(there.path), hint="Name a folder that holds run folders.")
    mine = {folder.run_id: folder for folder in here.folders()}
    theirs = there.folders()
    for folder in theirs:
        if folder.run_id in mine:
            _check_same_run(mine[folder.run_id], folder)
    num_changed = 0
    with store_errors(here.path):
        here.path.mkdir(parents=True, exist_ok=True)
        for folder in theirs:
            own = RunFolder(here.path / folder.run_id)
            lines = sorted(_edit_lines(own) | _edit_lines(folder), key=lambda line: (_at(line), line))
            if folder.run_id not in mine or _is_completed_by(own, folder):
                _copy(folder, own)
                num_changed += 1
            if set(lines) != _edit_lines(own):
                write_whole(own.edits_path, "".join(f"{line}\n" for line in lines))
    return num_changed


def _check_same_run(mine: RunFolder, other: RunFolder) -> None:
    paths = ["cell.json"]
    if mine.record_path.exists() and other.record_path.exists():
        paths += ["record.json", "predictions.jsonl", "environment.json", "ledger.jsonl"]
    for name in paths:
        a, b = mine.path / name, other.path / name
        if a.exists() != b.exists() or (a.exists() and not filecmp.cmp(a, b, shallow=False)):
            raise StoreError(f"run {mine.run_id} differs in {name}", place=str(other.path), hint=_HINT)


def _is_completed_by(mine: RunFolder, other: RunFolder) -> bool:
    if mine.record_path.exists() or other.record_path.exists():
        return not mine.record_path.exists()
    return _num_byte(mine.ledger_path) < _num_byte(other.ledger_path)


def _copy(source: RunFolder, target: RunFolder) -> None:
    """Copy a folder so that what stands under its name is at every moment a whole copy."""
    temporary = target.path.parent / f".merge-{target.run_id}-{os.getpid()}"
    outdated = temporary.with_suffix(".old")
    try:
        shutil.copytree(source.path, temporary, ignore=shutil.ignore_patterns(".*"))
        if target.path.exists():
            target.path.rename(outdated)
        temporary.rename(target.path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(outdated, ignore_errors=True)


def _edit_lines(folder: RunFolder) -> set[str]:
    return set(folder.edits_path.read_text(encoding="utf-8").splitlines()) if folder.edits_path.exists() else set()


def _at(line: str) -> str:
    return line.rpartition('"at_utc"')[2]


def _num_byte(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
