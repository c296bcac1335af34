"""The ledger file: one JSON object a line, appended and flushed; whoever dies, the lines before stand.

A line is written by one system call, so that a kill leaves at most one torn line, at the end. What cannot be
written (a full disk) waits in memory and is written when that becomes possible. Reading skips what is damaged.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kilowit.errors import StoreError

LEDGER_NAME: Final = "ledger.jsonl"
POWER_NAME: Final = "power.csv"
NUM_WAITING_LINES: Final = 10_000  # about three hours at 1 Hz; older lines are dropped first


class LineFile:
    """An append-only file that never blocks its owner with an error.

    Attributes:
        problem: why the last write failed; None while all is well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._fd: int | None = None
        self._is_torn = False
        self._waiting: deque[bytes] = deque(maxlen=NUM_WAITING_LINES)
        self._is_dirty = False

    def write(self, line: str) -> None:
        """Append a line, and before it what is still waiting."""
        self._waiting.append(line.encode("utf-8") + b"\n")
        try:
            if self._fd is None:
                self._open()
            while self._waiting:
                self._write_all(self._waiting[0])
                self._waiting.popleft()
            self.problem = None
        except OSError as error:
            self.problem = f"{self.path.name} cannot be written: {error.strerror or error}"

    def sync(self) -> None:
        """Bring what is written to the disk; at most once a second, from the sampler's thread."""
        fd, is_dirty, self._is_dirty = self._fd, self._is_dirty, False
        if fd is None or not is_dirty:
            return
        try:
            os.fdatasync(fd)
        except OSError as error:
            self.problem = f"{self.path.name} cannot be brought to the disk: {error.strerror or error}"

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.close(fd)
            except OSError as error:
                self.problem = f"{self.path.name} cannot be closed: {error.strerror or error}"

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        # A predecessor may have been killed in mid-line.
        self._is_torn = os.fstat(self._fd).st_size > 0

    def _write_all(self, line: bytes) -> None:
        assert self._fd is not None
        data = b"\n" + line if self._is_torn else line
        written = os.write(self._fd, data)
        self._is_torn = written < len(data)
        self._is_dirty = True
        if self._is_torn:
            self._write_all(line)  # the torn beginning is skipped on reading


class LineTail:
    """Reads what a file gained since the last call; a last line that is half written waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.num_read_byte = 0

    def new_lines(self) -> list[bytes]:
        """Return the lines that are new; none while the file is not there yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self.num_read_byte)
                added = file.read()
        except OSError:
            return []
        whole, _, _ = added.rpartition(b"\n")
        self.num_read_byte += len(whole) + 1 if whole else 0
        return whole.split(b"\n")


def encode(event: dict[str, Any]) -> str:
    """Write one event as one line of JSON. What JSON cannot hold (NaN, objects) becomes text."""
    try:
        return json.dumps(event, separators=(",", ":"), allow_nan=False, default=str)
    except ValueError:
        return json.dumps(plain(event), separators=(",", ":"), allow_nan=False, default=str)


def plain(value: Any) -> Any:
    """Return a value without NaN and infinity, which become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def decode(line: bytes | str) -> dict[str, Any] | None:
    """Return the event of a line; None if it is damaged or is none."""
    try:
        event = json.loads(line)
    except ValueError:  # not JSON, or not UTF-8
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def read_events(path: Path, begin_byte: int = 0) -> Iterator[dict[str, Any] | None]:
    """Yield the events of a ledger in order, None for each line that cannot be read.

    Args:
        begin_byte: what lies before is passed over.

    Raises:
        StoreError: the file cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            file.seek(begin_byte)
            for line in file:
                if line.strip():
                    yield decode(line)
    except OSError as error:
        raise StoreError(
            f"ledger cannot be read: {error.strerror or error}",
            place=str(path),
            hint="Give the path of a ledger.jsonl, or of the run folder that holds one.",
        ) from error
