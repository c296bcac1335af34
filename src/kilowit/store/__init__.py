"""A folder of runs: create, scan, look up, query, merge, invalidate. The run folders are the whole truth.

Scanning reads each record once and never stops at a broken folder: it is skipped and named in `Store.problems`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kilowit.errors import StoreError, near_name_hint
from kilowit.record import Record
from kilowit.store.collector import paused_collector
from kilowit.store.folder import Edit, RunFolder, store_errors
from kilowit.store.mirrored import mirror_state
from kilowit.store.status import StudyStatus, status

__all__ = ["RunFolder", "Store", "StudyStatus"]

RUN_ID: Final = re.compile(r"\d{8}T\d{6}Z_[A-Za-z0-9._+-]*_[0-9a-f]{4}")
TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


class Store:
    """A folder of run folders, here or on a shared disk.

    Example:
        >>> Store("runs").records()  # doctest: +SKIP
        [Record(run_id='20261123T101530Z_lead_samsum_s0_7f3a', ...)]
    """

    def __init__(self, path: str | Path) -> None:
        """Name the folder; it is made by the first `create` or `merge`."""
        self.path = Path(path)
        self.problems: list[str] = []  # of the latest scan; each with its place and remedy
        self._seen: dict[str, tuple[tuple[int, ...], Record]] = {}

    def create(self, cell_dict: Mapping[str, Any], *, label: str, cell_key: str, attempt: int) -> RunFolder:
        """Make a new run folder that says what is asked.

        Args:
            cell_dict: `Cell.to_dict()`.
            label: readable name of the cell; characters that no file name should have become ``-``.
            cell_key: key of all that can change the result.
            attempt: 1 for the first try.

        Raises:
            StoreError: the store cannot be written.
        """
        name = re.sub(r"[^A-Za-z0-9._+-]+", "-", label)[:120] or "cell"
        with store_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        while True:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            folder = RunFolder(self.path / f"{stamp}_{name}_{secrets.token_hex(2)}")
            try:
                with store_errors(self.path):
                    folder.path.mkdir()
            except StoreError as error:
                if isinstance(error.__cause__, FileExistsError):
                    continue  # 65,536 names a second and label: another draw will do
                raise
            break
        try:
            folder.write_cell(cell_dict, cell_key=cell_key, attempt=attempt)
        except StoreError:
            _remove_unborn(folder.path)
            raise
        return folder

    def folders(self) -> list[RunFolder]:
        """Return all run folders, oldest first; empty if the store does not exist yet.

        Raises:
            StoreError: the store cannot be listed.
        """
        with store_errors(self.path):
            try:
                entries = [e.name for e in os.scandir(self.path) if RUN_ID.fullmatch(e.name) and e.is_dir()]
            except FileNotFoundError:
                return []
        return [RunFolder(self.path / name) for name in sorted(entries)]

    def records(self) -> list[Record]:
        """Return the record of every run that has one, oldest first, as later edits left it.

        An invalidated run reads as failed, with who, when and why as its message: its score no longer counts, its
        energy does. What cannot be read is skipped and listed in `problems`.

        Raises:
            StoreError: the store cannot be listed.
        """
        self.problems = []
        records = []
        with paused_collector():
            for folder in self.folders():
                try:
                    record = self._edited_record(folder)
                    if record is None:
                        _ = folder.cell_key  # a folder that nobody can close is a problem now, not later
                except StoreError as error:
                    self.problems.append(str(error))
                    continue
                if record is not None:
                    records.append(record)
        # Within one second a run id sorts by label and chance; the attempt tells which came first.
        return sorted(records, key=lambda record: (record.run_id.partition("_")[0], record.attempt, record.run_id))

    def unfinished(self) -> list[RunFolder]:
        """Return the readable folders without a record: running, or left by a dead worker."""
        return [f for f in self.folders() if not f.record_path.exists() and _is_readable(f)]

    def attempts(self, cell_key: str) -> list[Record]:
        """Return all records of one cell, oldest first."""
        return [record for record in self.records() if record.cell_key == cell_key]

    def done(self, cell_key: str) -> Record | None:
        """Return the latest finished, not invalidated record of a cell, or None."""
        finished = [record for record in self.attempts(cell_key) if record.status == "finished"]
        return finished[-1] if finished else None

    def find(self, name: str) -> RunFolder:
        """Return the run whose id is `name`, or begins with it, or alone contains it.

        Raises:
            StoreError: none, or more than one.
        """
        folders = {folder.run_id: folder for folder in self.folders()}
        if name in folders:
            return folders[name]
        found = [i for i in folders if i.startswith(name)] or [i for i in folders if name and name in i]
        if len(found) == 1:
            return folders[found[0]]
        if not folders:
            raise StoreError("store holds no runs", place=str(self.path), hint="Name another folder with --store.")
        if not found:
            raise StoreError(f'no run "{name}"', place=str(self.path), hint=_nearest(name, folders))
        shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise StoreError(f'{len(found)} runs match "{name}"', place=str(self.path), hint=f"Say more of: {shown}")

    def query(self, sql: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Run one SELECT over the tables ``run``, ``phase`` and ``score``; return columns and rows.

        Raises:
            StudyError: the SQL is wrong or would write.
            StoreError: the store cannot be listed.
        """
        from kilowit.store.query import query  # sqlite3 costs 10 ms that most verbs need not pay

        return query(self.records(), sql)

    def merge(self, other: str | Path) -> int:
        """Copy the runs of another store that are not here; return how many were new or completed.

        Commutative, associative and idempotent: the union of runs, each as complete as any store has it.

        Raises:
            StoreError: one run has different content in the two (nothing is copied then), or a store cannot be used.
        """
        from kilowit.store.merge import merge

        return merge(self, Store(other))

    def invalidate(self, run_id: str, reason: str, who: str) -> None:
        """Say that a run must not count, for good reason: its record stays, its cell is no longer done.

        Raises:
            StoreError: no such run, an empty reason, or the store cannot be written.
        """
        if not reason.strip() or not who.strip():
            raise StoreError("an invalidation needs a reason and a name", place=run_id, hint="Say why and who you are.")
        folder = self.find(run_id)
        folder.append_edit(Edit("invalidate", reason.strip(), who.strip(), datetime.now(UTC).strftime(TIME_FORMAT)))

    def status(self) -> list[StudyStatus]:
        """Return how far each study is, by name. What cannot be read is skipped and listed in `problems`.

        Raises:
            StoreError: the store cannot be listed.
        """
        return status(self)

    def _edited_record(self, folder: RunFolder) -> Record | None:
        stamp = _stamp(folder.record_path) + _stamp(folder.edits_path) + _stamp(folder.mirror_path)
        seen = self._seen.get(folder.run_id)
        if seen is not None and seen[0] == stamp:
            return seen[1]
        record = folder.record
        if record is None:
            return None
        record = _with_mirror(_with_edits(record, folder.edits), folder)
        self._seen[folder.run_id] = (stamp, record)
        return record


def is_invalidated(record: Record) -> bool:
    """Whether a record from `Store.records` was invalidated after it was written."""
    return (record.error_message or "").startswith(_INVALIDATED)


_INVALIDATED: Final = "invalidated "


def _with_edits(record: Record, edits: tuple[Edit, ...]) -> Record:
    if not edits:
        return record
    edit = edits[-1]
    message = f"{_INVALIDATED}{edit.at_utc} by {edit.who}: {edit.reason}"
    return dataclasses.replace(record, status="failed", error_kind="error", error_message=message)


def _with_mirror(record: Record, folder: RunFolder) -> Record:
    """Add that a run is not whole where it was to be mirrored."""
    state = mirror_state(folder)
    if state is None or state.problem is None:
        return record
    return dataclasses.replace(record, warnings=[*record.warnings, state.warning])


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _is_readable(folder: RunFolder) -> bool:
    try:
        return bool(folder.cell_key)
    except StoreError:
        return False


def _nearest(name: str, folders: Mapping[str, RunFolder]) -> str:
    hint = near_name_hint(name, folders)
    return hint if hint.startswith("Did") else f"The latest is {max(folders)}; `kilowit status` lists them."


def _remove_unborn(path: Path) -> None:
    for child in path.iterdir():
        child.unlink(missing_ok=True)
    path.rmdir()
