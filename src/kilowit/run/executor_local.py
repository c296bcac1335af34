"""Where a cell runs: here, as a process of its own with a session of its own.

The contract is ``kilowit worker RUN_DIR`` and nothing else: a folder in, a folder out. The worker inherits two
locks, the machine's and its folder's, so that both last exactly as long as it does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from kilowit.errors import ExecutorError
from kilowit.store import RunFolder


def worker_command(folder: Path) -> list[str]:
    """Return the command that runs one cell."""
    # -P: a file named torch.py in the user's folder must not become torch.
    return [sys.executable, "-P", "-m", "kilowit", "worker", str(folder)]


class Job(Protocol):
    """A handle on one running cell."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""

    def terminate(self) -> None:
        """Ask it to write its record and end."""

    def kill(self) -> None:
        """End it and all that it started, now."""


class Executor(Protocol):
    """Something that starts ``kilowit worker RUN_DIR``."""

    def start(self, folder: RunFolder, *, inherited: Sequence[int] = ()) -> Job:
        """Start one cell; `inherited` are descriptors that the worker keeps open."""


class LocalExecutor:
    """Starts workers as processes of this machine."""

    def __init__(self, command: Callable[[Path], list[str]] = worker_command) -> None:
        self._command = command

    def start(self, folder: RunFolder, *, inherited: Sequence[int] = ()) -> LocalJob:
        """Start one cell; what it prints goes to the folder's worker.log.

        Raises:
            StoreError: the folder cannot be written.
            ExecutorError: the process cannot be started.
        """
        descriptor = folder.lock_for_worker()
        try:
            with folder.log_path.open("ab") as log:
                process = subprocess.Popen(
                    self._command(folder.path.absolute()),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
                    pass_fds=(descriptor, *inherited),
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            raise ExecutorError(
                f"worker cannot be started ({error.strerror})",
                place=str(folder.path),
                hint="Check free memory, free disk and the number of processes.",
            ) from error
        finally:
            os.close(descriptor)
        return LocalJob(process)


class LocalJob:
    """One worker process and its session."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        if self._process.returncode is not None:
            return self._process.returncode
        # WNOWAIT keeps the pid ours until its session is gone: what outlives a worker would be metered next.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _end_session(self.pid)
        return self._process.wait()

    def terminate(self) -> None:
        """Ask it to write its record and end; only the worker, which minds its own children."""
        if self.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started, now, and wait until it is gone."""
        if self.poll() is None:
            _end_session(self.pid)
            self._process.wait()


def _end_session(session: int) -> None:
    """End the group that leads a session, then whoever in the session has a group of his own, as a judge has."""
    import psutil

    os.killpg(session, signal.SIGKILL)
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
