"""One measured run on a machine at a time: two would warm, slow and bill each other.

The lock is the kernel's, on one file for the whole machine, and is inherited by the worker: it ends with the last
process that holds it, however that dies, and it still stands while an orphaned worker is being measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from kilowit.errors import ExecutorError

LOCK_VARIABLE: Final = "KILOWIT_LOCK"
POLL_SECOND: Final = 0.2
BUSY: Final = "this machine is measuring another run"
# Only for what need not be measured alone, e.g. another container that shares nothing but /run/lock.
_OTHER: Final = f". {LOCK_VARIABLE} names another lock: two runs at once are measured wrong"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who measures on this machine."""

    pid: int
    user: str
    host: str
    study: str
    store: str
    since_utc: str

    def __str__(self) -> str:
        whose = f"process {self.pid} of {self.user} on {self.host}"
        return f"{whose}, study {self.study} in {self.store}, since {self.since_utc}"


class MachineLock:
    """The lock once it is held; `descriptor` is for the worker to inherit."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor


def lock_path() -> Path:
    """Return the one file that all users of this machine lock; ``$KILOWIT_LOCK`` names another."""
    if chosen := os.environ.get(LOCK_VARIABLE):
        return Path(chosen)
    # Fixed places, not tempfile's: $TMPDIR differs between users, and the lock must not.
    folder = Path("/run/lock")
    return (folder if folder.is_dir() and os.access(folder, os.W_OK) else Path("/tmp")) / "kilowit.lock"


@contextmanager
def machine_lock(
    *,
    study: str,
    store: str,
    mode: Literal["wait", "refuse"],
    on_wait: Callable[[str], None],
    is_stopped: Callable[[], bool] = lambda: False,
    wait_second: float | None = None,
    path: Path | None = None,
    busy: str = BUSY,
) -> Iterator[MachineLock | None]:
    """Hold this machine for measuring; None if the person stopped waiting.

    Args:
        study: name that others are told.
        store: path that others are told.
        mode: what to do while another holds it.
        on_wait: called once before waiting, with the holder, the file of the lock and what can be done, in words.
        is_stopped: asked while waiting.
        wait_second: how long to wait at most; None = until it is free.
        path: of another lock than the machine's; its folder is made.
        busy: what to say when another holds it.

    Raises:
        ExecutorError: another run holds the machine and `mode` is ``refuse``, or still does after `wait_second`; or the
            file cannot be used.
    """
    is_machines = path is None
    if path is None:
        path = lock_path()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open(path)
    try:
        if not _take(descriptor):
            if mode == "refuse":
                raise ExecutorError(
                    f"{busy}: {_holder(path)}",
                    place=str(path),
                    hint="Wait for it, end it, or set measure.lock: wait.",
                )
            on_wait(f"{_holder(path)} (lock {path}); {_until(wait_second)}{_OTHER if is_machines else ''}")
            if not _wait(descriptor, path, wait_second, is_stopped, busy):
                yield None
                return
        _sign(descriptor, study, store)
        yield MachineLock(descriptor)
    finally:
        os.close(descriptor)  # not unlocked: a worker that outlives us keeps the machine


def _wait(descriptor: int, path: Path, wait_second: float | None, is_stopped: Callable[[], bool], busy: str) -> bool:
    """Wait until the lock is held; False if the person stopped waiting."""
    end_second = math.inf if wait_second is None else time.monotonic() + wait_second
    while not _take(descriptor):
        if is_stopped():
            return False
        if time.monotonic() >= end_second:
            raise ExecutorError(
                f"{busy}, still after {wait_second:g} s: {_holder(path)}",
                place=str(path),
                hint="Wait for longer (measure.lock_wait_second; null = until it is free), or end that process.",
            )
        time.sleep(POLL_SECOND)
    return True


def _until(wait_second: float | None) -> str:
    return "until it ends" if wait_second is None else f"for at most {wait_second:g} s"


def _open(path: Path) -> int:
    """Open the file, made by whoever came first: with no right to write, its lock can still be taken."""
    for flags in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT):
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
        except OSError as error:
            refusal = error
            continue
        if flags & os.O_CREAT:
            os.fchmod(descriptor, 0o666)  # the mask would shut out the next user
        return descriptor
    raise ExecutorError(
        f"the machine's lock cannot be opened ({refusal.strerror})",
        place=str(path),
        hint=f"Set {LOCK_VARIABLE} to a file that all users of this machine may write.",
    ) from refusal


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, study: str, store: str) -> None:
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return
    holder = Holder(
        pid=os.getpid(),
        user=_user(),
        host=socket.gethostname(),
        study=study,
        store=store,
        since_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"user {os.getuid()}"


def _holder(path: Path) -> str:
    try:
        return str(Holder(**json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        pid = _holding_pid(path)
        return f"{'a process that' if pid is None else f'process {pid}, which'} has not said its name"


def _holding_pid(path: Path) -> int | None:
    """Return which process took the lock, as the kernel lists it; None where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF (proc(5)); a waiting one has "->" in the second place
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return int(words[4]) or None  # 0: of another pid namespace
    return None
