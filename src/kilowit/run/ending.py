"""Why a worker ended that left no record: told from its exit status, the kernel's counters and its last words."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kilowit.errors import ErrorKind
from kilowit.parts.executor import Loss
from kilowit.store import RunFolder

_DISK_FULL_WORDS: Final = ("No space left on device", "Errno 28", "Disk quota exceeded", "disk is full")
_LOG_TAIL_BYTE: Final = 4096


@dataclass(frozen=True)
class Ending:
    """How a worker ended: its exit status (negative = signal) and why we made it end, if we did."""

    exit_status: int
    asked: ErrorKind | None = None  # interrupted | timeout
    num_oom_kills: int = 0  # by the kernel, while it ran
    loss: Loss | None = None  # nobody saw it end: the node or the job is gone


@dataclass(frozen=True)
class Cause:
    """What goes into the record."""

    kind: ErrorKind
    message: str


def cause_of(ending: Ending, folder: RunFolder) -> Cause:
    """Tell why a worker left no record."""
    if ending.asked is not None:
        how = "had to be killed" if ending.exit_status == -signal.SIGKILL else "wrote no record"
        why = "longer than measure.timeout_second" if ending.asked == "timeout" else "the study was interrupted"
        return Cause(ending.asked, f"{why}; the worker {how}")
    if ending.loss is not None:
        return Cause(ending.loss.kind, ending.loss.message)
    words = last_words(folder)
    if ending.exit_status < 0:
        name = _signal_name(-ending.exit_status)
        if ending.exit_status == -signal.SIGKILL and ending.num_oom_kills > 0:
            return Cause("out_of_memory_host", "the kernel's out-of-memory killer ended the worker (SIGKILL)")
        return Cause("killed", f"the worker died of {name}" + (f"; its last words: {words}" if words else ""))
    if any(said in words for said in _DISK_FULL_WORDS):
        return Cause("disk_full", f"the worker ended with exit status {ending.exit_status}: {words}")
    said = f"its last words: {words}" if words else "it printed nothing"
    return Cause("error", f"the worker ended with exit status {ending.exit_status} and no record; {said}")


def last_words(folder: RunFolder) -> str:
    """Return the last non-empty line of worker.log, at most 300 characters."""
    try:
        with folder.log_path.open("rb") as log:
            log.seek(max(0, folder.log_path.stat().st_size - _LOG_TAIL_BYTE))
            lines = log.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[-300:] for line in reversed(lines) if line.strip()), "")


def count_oom_kills(cgroup_file: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how often the kernel's out-of-memory killer struck in our control group, else on this machine.

    Source: memory.events (cgroup v2), memory.oom_control (v1): kernel docs admin-guide/cgroup-v2 and cgroup-v1/memory.
    """
    for path in [*_counter_files(cgroup_file, root), Path("/proc/vmstat")]:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        if counts:
            return counts[0]
    return 0


def _counter_files(cgroup_file: Path, root: Path) -> list[Path]:
    try:
        lines = cgroup_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        inside = name.lstrip("/")
        if not controllers:
            files.append(root / inside / "memory.events")
        elif "memory" in controllers.split(","):
            files += [root / "memory" / inside / "memory.oom_control", root / "memory" / "memory.oom_control"]
    return files


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
