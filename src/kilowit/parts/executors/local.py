"""local: processes of this machine, one cell at a time, or one on each GPU.

What it does   Starts `kilowit worker RUN_DIR` as a process with a session of its own. The worker inherits two locks,
               the machine's and its folder's, so that both last exactly as long as it does. With `gpus` one cell runs
               on each GPU at a time, which alone it sees (CUDA_VISIBLE_DEVICES).
When to use    Always, on one machine. `gpus`: many small cells on a machine with several GPUs.
When not       `gpus`: for figures to be published of a single recipe. Cells share processor, memory and heat; records
               are marked `tenancy: shared`, and joules that are not a GPU's are booked as an equal share of the
               machine's, from that share to the whole.
Trade-off      study wall time / number of GPUs | less exact energy of the host
Options        gpus (none)
Needs          nothing; `gpus` an NVIDIA GPU
Source         CUDA C++ programming guide, environment variables (UUIDs in CUDA_VISIBLE_DEVICES)
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from kilowit.errors import ExecutorError
from kilowit.parts.executor import Executor, worker_command, worker_environment
from kilowit.settings import Block

NAME: Final = "local"
LOG_NAME: Final = "worker.log"


class Options(Block):
    """Which GPUs of this machine are given a cell each."""

    gpus: Literal["all"] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        None, description="all, or their indices as nvidia-smi counts: one cell on each; None = one cell at a time"
    )


def executor(options: Options, num_cells: int) -> Executor:
    """Return the executor.

    Raises:
        ExecutorError: GPUs are asked for that are not here.
    """
    return LocalExecutor(gpus=[] if options.gpus is None else visible_gpus(options.gpus)[:num_cells])


def visible_gpus(wanted: Literal["all"] | Sequence[int]) -> list[str]:
    """Return the UUIDs of the wanted GPUs that this process may use.

    Raises:
        ExecutorError: there is none, or not all of them.
    """
    import pynvml

    from kilowit.parts.sensors._nvml_devices import visible_devices

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ExecutorError(
            f"executor local, gpus: this machine has no NVIDIA GPU ({error})",
            hint="Leave `gpus` out: cells then run one at a time on the CPU.",
        ) from error
    try:
        devices = {device.index: device.uuid for device in visible_devices(pynvml, os.environ)[0]}
    finally:
        pynvml.nvmlShutdown()
    indices = list(devices) if wanted == "all" else list(dict.fromkeys(wanted))
    missing = [index for index in indices if index not in devices]
    if missing or not indices:
        seen = ", ".join(map(str, devices)) or "none"
        raise ExecutorError(
            f"executor local: no GPU {', '.join(map(str, missing)) or 'at all'}; those that may be used: {seen}",
            hint="`nvidia-smi -L` lists them; CUDA_VISIBLE_DEVICES hides some.",
        )
    return [devices[index] for index in indices]


class LocalExecutor:
    """Starts workers as processes of this machine.

    Args:
        command: makes the command from the run folder.
        gpus: UUIDs; each is given one cell at a time. Empty = one cell at a time, which sees them all.
    """

    name = NAME
    is_here = True

    def __init__(self, command: Callable[[Path], list[str]] = worker_command, *, gpus: Sequence[str] = ()) -> None:
        self._command = command
        self._free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for gpu in gpus:
            self._free.put(gpu)
        self.num_gpus = 1 if gpus else None
        self.num_at_once = max(1, len(gpus))

    def start(self, folder: Path, *, inherited: Sequence[int] = ()) -> LocalJob:
        """Start one cell; what it prints goes to the folder's worker.log."""
        environment = {}
        give_back: Callable[[], None] | None = None
        if self.num_gpus:
            gpu = self._free.get()
            environment = {"CUDA_VISIBLE_DEVICES": gpu, **worker_environment(NAME, self.num_at_once)}
            give_back = lambda: self._free.put(gpu)  # noqa: E731
        try:
            return start_worker(self._command(folder.absolute()), folder, environment, inherited, give_back)
        except ExecutorError:
            if give_back is not None:
                give_back()
            raise

    def adopt(self, folder: Path) -> None:
        """Return None: a worker of an earlier driver is told by its lock, and no process but its parent can wait."""

    def close(self) -> None:
        """Hold nothing."""


def start_worker(
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    inherited: Sequence[int] = (),
    at_end: Callable[[], None] | None = None,
) -> LocalJob:
    """Start a worker as a process of this machine, in a session of its own.

    Args:
        command: what to start.
        folder: its run folder, for worker.log.
        environment: variables besides those of this process.
        inherited: descriptors that it keeps open.
        at_end: called once when it has ended.

    Raises:
        ExecutorError: the process cannot be started.
    """
    try:
        with (folder / LOG_NAME).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
                pass_fds=inherited,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )
    except OSError as error:
        raise ExecutorError(
            f"worker cannot be started ({error.strerror})",
            place=str(folder),
            hint="Check free memory, free disk and the number of processes.",
        ) from error
    return LocalJob(process, at_end)


class LocalJob:
    """One worker process and its session."""

    def __init__(self, process: subprocess.Popen[bytes], at_end: Callable[[], None] | None = None) -> None:
        self._process = process
        self._at_end = at_end
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        if self._process.returncode is not None:
            return self._process.returncode
        # WNOWAIT keeps the pid ours until its session is gone: what outlives a worker would be metered next.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        return self._end()

    def terminate(self) -> None:
        """Ask it to write its record and end; only the worker, which minds its own children."""
        if self.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started, now, and wait until it is gone."""
        if self.poll() is None:
            self._end()

    def _end(self) -> int:
        _end_session(self.pid)
        status = self._process.wait()
        if self._at_end is not None:
            self._at_end()
        return status


def _end_session(session: int) -> None:
    """End the group that leads a session, then whoever in the session has a group of his own, as a judge has."""
    import psutil

    os.killpg(session, signal.SIGKILL)
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
