"""A run folder that travels: run on a machine which does not see the store, and brought home piece by piece.

The far side makes a folder of the same name, runs ``kilowit worker`` in it and hands back what the folder holds: the
ledger as it grows, so that what was spent is known at home when the machine is lost; the other files at the end; the
record last. The near side writes the pieces into the run folder of the store. What carries the pieces is none of
its business; ``kilowit.parts.executors.ray`` does it by Ray.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kilowit.parts.executor import PARENT_VARIABLE, worker_command
from kilowit.parts.executors.local import LOG_NAME, start_worker

CELL_NAME: Final = "cell.json"
RECORD_NAME: Final = "record.json"
# Sent while they grow; the environment is written once, early and whole.
GROWING: Final = ("ledger.jsonl", "environment.json", "power.csv", LOG_NAME)
PERIOD_SECOND: Final = 1.0  # of sending, as often as the meter itself makes sure of what it wrote
LOOK_SECOND: Final = 0.1
MAX_PIECE_BYTE: Final = 16 * 2**20  # a kept model is sent in pieces of so much


class Piece(NamedTuple):
    """Bytes to be put at the end of a file of the run folder; or, last of all, the worker's exit status."""

    name: str
    content: bytes
    exit_status: int | None = None


def run_there(
    run_id: str, files: Mapping[str, bytes], environment: Mapping[str, str], command: Sequence[str] | None = None
) -> Iterator[Piece]:
    """Run the worker in a folder of this machine; give back what it leaves. The far side.

    Args:
        run_id: the folder's name.
        files: what it holds at the beginning: cell.json.
        environment: variables for the worker besides this process's.
        command: instead of ``kilowit worker``, with the folder to be appended.

    Raises:
        ExecutorError: the worker cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="kilowit-cell-") as name:
        folder = Path(name) / run_id
        folder.mkdir()
        for path, content in files.items():
            (folder / path).write_bytes(content)
        asked = worker_command(folder) if command is None else [*command, str(folder)]
        job = start_worker(asked, folder, {**environment, PARENT_VARIABLE: str(os.getpid())})
        try:
            num_sent: dict[str, int] = {}
            next_second = time.monotonic()
            while (status := job.poll()) is None:
                if time.monotonic() >= next_second:
                    next_second = time.monotonic() + PERIOD_SECOND
                    yield from _grown(folder, num_sent)
                time.sleep(LOOK_SECOND)
            yield from _grown(folder, num_sent)
            yield from _rest(folder, {*files, *GROWING})
            yield Piece("", b"", status)
        finally:
            job.kill()  # of no effect on one that has ended


def bring_home(folder: Path, piece: Piece) -> None:
    """Put a piece into the run folder of the store; the record appears when it is whole. The near side.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / piece.name
    if piece.name == RECORD_NAME:
        draft = folder / f".{RECORD_NAME}"
        with draft.open("wb") as file:
            file.write(piece.content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(piece.content)


def _grown(folder: Path, num_sent: dict[str, int]) -> Iterator[Piece]:
    """What was added to the growing files since the last time."""
    for name in GROWING:
        try:
            with (folder / name).open("rb") as file:
                file.seek(num_sent.get(name, 0))
                added = file.read(MAX_PIECE_BYTE)
        except FileNotFoundError:
            continue
        if added:
            num_sent[name] = num_sent.get(name, 0) + len(added)
            yield Piece(name, added)


def _rest(folder: Path, sent: set[str]) -> Iterator[Piece]:
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.relative_to(folder).parts[0].startswith(".")]
    names = [str(path.relative_to(folder)) for path in paths]
    for name in sorted(set(names) - sent - {RECORD_NAME}):
        with (folder / name).open("rb") as file:
            while content := file.read(MAX_PIECE_BYTE):
                yield Piece(name, content)
    if RECORD_NAME in names:
        yield Piece(RECORD_NAME, (folder / RECORD_NAME).read_bytes())
