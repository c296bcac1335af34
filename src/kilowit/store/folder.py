"""One run folder: the files of one attempt at one cell, each written so that a crash leaves no half of it.

``cell.json`` (what was asked) is written once, ``record.json`` last; a folder with a record is finished, one
without is running or died. Edits are appended to ``edits.jsonl`` with who, when and why: a record is never changed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from kilowit.errors import StoreError
from kilowit.parts.executor import JOB_NAME
from kilowit.record import Record

CELL_SCHEMA_VERSION: Final = 1
# Held back from a filling disk until the record is written, so that "disk full" can itself be recorded.
RESERVE_BYTE: Final = 128 * 1024
# A worker on another machine cannot be probed; its meter writes each second, so ten minutes of silence is death.
SILENCE_SECOND: Final = 600.0
_READ_HINT: Final = "Mend its permissions, or remove the folder and run the study again."
_CELL_HINT: Final = "Remove the folder: without cell.json nobody knows what was asked."


@dataclass(frozen=True)
class Edit:
    """One later judgement on a run, by a person."""

    kind: str  # invalidate
    reason: str
    who: str
    at_utc: str


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; `path` need not exist yet.

    >>> RunFolder(Path("runs/20261123T101530Z_lead_samsum_s0_7f3a")).label
    'lead_samsum_s0'
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name; sorts by time."""
        return self.path.name

    @property
    def label(self) -> str:
        """The readable middle of the run id."""
        return self.run_id.partition("_")[2].rpartition("_")[0]

    @property
    def ledger_path(self) -> Path:
        """Phase starts and ends, readings, warnings, heartbeats."""
        return self.path / "ledger.jsonl"

    @property
    def predictions_path(self) -> Path:
        """One line per test example."""
        return self.path / "predictions.jsonl"

    @property
    def log_path(self) -> Path:
        """What the worker printed."""
        return self.path / "worker.log"

    @property
    def model_path(self) -> Path:
        """The trained artefact, when it is kept."""
        return self.path / "model"

    @property
    def cell_path(self) -> Path:
        """What was asked."""
        return self.path / "cell.json"

    @property
    def environment_path(self) -> Path:
        """What it ran on."""
        return self.path / "environment.json"

    @property
    def record_path(self) -> Path:
        """The result; its presence means that the run is over."""
        return self.path / "record.json"

    @property
    def edits_path(self) -> Path:
        """Later judgements, one a line."""
        return self.path / "edits.jsonl"

    @property
    def mirror_path(self) -> Path:
        """How much of the run a tracking server has; absent = it was mirrored nowhere."""
        return self.path / "mirror.json"

    @property
    def lock_path(self) -> Path:
        """A file whose lock is held exactly as long as the worker lives."""
        return self.path / "worker.lock"

    @cached_property
    def _request(self) -> dict[str, Any]:
        value = _read_object(self.cell_path)
        if not isinstance(value.get("cell"), dict) or not isinstance(value.get("cell_key"), str):
            raise StoreError("cell.json lacks cell or cell_key", place=str(self.cell_path), hint=_CELL_HINT)
        return value

    @property
    def cell(self) -> dict[str, Any]:
        """What was asked, as `Cell.to_dict` wrote it.

        Raises:
            StoreError: cell.json is missing or corrupt.
        """
        cell = self._request["cell"]
        assert isinstance(cell, dict)
        return cell

    @property
    def cell_key(self) -> str:
        """The key of the cell that was asked for."""
        return str(self._request["cell_key"])

    @property
    def attempt(self) -> int:
        """1 for the first try of the cell in this store."""
        return int(self._request.get("attempt", 1))

    @property
    def environment(self) -> dict[str, Any]:
        """What it ran on; empty if the worker died before it could say.

        Raises:
            StoreError: environment.json is corrupt.
        """
        return _read_object(self.environment_path) if self.environment_path.exists() else {}

    @property
    def record(self) -> Record | None:
        """The record as it was written, or None while there is none.

        Raises:
            StoreError: record.json is corrupt, or belongs to another run.
        """
        try:
            text = self.record_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(
                f"record cannot be read ({error})", place=str(self.record_path), hint=_READ_HINT
            ) from error
        record = Record.from_json(text, place=str(self.record_path))
        if record.run_id != self.run_id:
            raise StoreError(
                f"record is of run {record.run_id}", place=str(self.record_path), hint="Give the folder its name back."
            )
        return record

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Later judgements, oldest first.

        Raises:
            StoreError: a line is not an edit.
        """
        if not self.edits_path.exists():
            return ()
        try:
            lines = self.edits_path.read_text(encoding="utf-8").splitlines()
            return tuple(Edit(**json.loads(line)) for line in lines)
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"a line is not an edit ({error})", place=str(self.edits_path), hint="Mend or remove that line."
            ) from error

    @property
    def is_running(self) -> bool:
        """Whether its worker is alive, here or on another machine that shares the store."""
        if self.record_path.exists():
            return False
        if self.is_away:
            return self._seconds_silent() < SILENCE_SECOND
        try:
            host = json.loads(self.lock_path.read_text(encoding="utf-8"))["host"]
        except (OSError, ValueError, KeyError, TypeError):
            return False  # no worker was started, or it was cut off while being started
        if host == socket.gethostname():
            return _is_locked(self.lock_path)
        return self._seconds_silent() < SILENCE_SECOND

    @property
    def is_away(self) -> bool:
        """Whether an executor has sent it elsewhere, and only that executor knows whether it still runs."""
        return (self.path / JOB_NAME).exists()

    def write_cell(self, cell: Mapping[str, Any], *, cell_key: str, attempt: int) -> None:
        """Write what is asked, once.

        Raises:
            StoreError: there is one already, or the store cannot be written.
        """
        value = {
            "schema_version": CELL_SCHEMA_VERSION,
            "run_id": self.run_id,
            "cell_key": cell_key,
            "attempt": attempt,
            "cell": dict(cell),
        }
        write_once(self.cell_path, _to_json(value))
        with store_errors(self.path), (self.path / ".reserve").open("wb") as reserve:
            os.posix_fallocate(reserve.fileno(), 0, RESERVE_BYTE)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Write what the cell runs on, before anything else is done.

        Raises:
            StoreError: there is one already, or the store cannot be written.
        """
        write_once(self.environment_path, _to_json(environment))

    def write_record(self, record: Record) -> None:
        """Write the record: temporary file, fsync, rename, fsync of the folder. This ends the run.

        Raises:
            StoreError: there is one already, or the store cannot be written.
        """
        with store_errors(self.path):
            (self.path / ".reserve").unlink(missing_ok=True)
        write_once(self.record_path, record.to_json())

    def append_edit(self, edit: Edit) -> None:
        """Append one judgement.

        Raises:
            StoreError: the store cannot be written.
        """
        with store_errors(self.path), self.edits_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(vars(edit), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lock_for_worker(self) -> int:
        """Return a file descriptor that holds this folder; hand it to the worker and close it here.

        The lock lives as long as any process that inherited it: no pid is compared, so none can be reused.

        Raises:
            StoreError: the store cannot be written.
        """
        with store_errors(self.path):
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"host": socket.gethostname()}).encode())
        return descriptor

    def _seconds_silent(self) -> float:
        paths = [p for p in (self.ledger_path, self.lock_path, self.path / JOB_NAME) if p.exists()]
        return time.time() - max(p.stat().st_mtime for p in paths)


def write_once(path: Path, text: str) -> None:
    """Write a file that is either whole or absent, and never replaced.

    Raises:
        StoreError: it exists, or its folder cannot be written.
    """
    if path.exists():
        raise StoreError("file is there already and is never rewritten", place=str(path), hint="Start a new run.")
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is either whole or as it was: temporary file, fsync, rename, fsync of the folder.

    Raises:
        StoreError: its folder cannot be written.
    """
    with store_errors(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)  # mkstemp gives 0600, which would hide results from colleagues
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def store_errors(place: Path) -> Iterator[None]:
    """Turn an operating system's refusal into a StoreError with its remedy."""
    try:
        yield
    except OSError as error:
        raise StoreError(_refusal(error), place=str(place), hint=_hint(error)) from error


def _refusal(error: OSError) -> str:
    what = {
        errno.EROFS: "store is on a read-only file system",
        errno.EACCES: "store may not be written by this user",
        errno.EPERM: "store may not be written by this user",
        errno.ENOSPC: "disk is full",
        errno.EDQUOT: "disk quota is used up",
        errno.EFBIG: "file size limit is reached",
        errno.ENOTDIR: "a file stands where the store should be",
    }.get(error.errno or 0, "store cannot be used")
    return f"{what} ({error.strerror or error})"


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free some space and run again: what is finished is kept."
    return "Name a folder that you may write with --store."


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{path.name} is missing", place=str(path.parent), hint=_CELL_HINT) from error
    except OSError as error:
        raise StoreError(f"{path.name} cannot be read ({error})", place=str(path), hint=_READ_HINT) from error
    except ValueError as error:
        raise StoreError(f"{path.name} is not JSON ({error})", place=str(path), hint="Remove the folder.") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path.name} is not a JSON object", place=str(path), hint="Remove the folder.")
    return value


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=False)
