"""What Linux tells of processes and the machine under /proc, read directly.

psutil tells the same (a test compares the two), but importing it takes 15 ms and 2 MB and a reading four times the
CPU, which is most of what a meter at 1 Hz may use. Elsewhere than on Linux, psutil is used (`host.py`).

Source: proc(5): /proc/PID/statm, /proc/PID/io, /proc/PID/stat, /proc/stat, /proc/net/dev.
"""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

SCAN_SHARE: Final = 0.0001  # of one core, spent on walking the process table in search of children
PAGE_BYTE: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Columns of the first line of /proc/stat: user nice system idle iowait irq softirq steal ...
BUSY_COLUMNS: Final = (1, 2, 3, 6, 7)
READ_BYTE: Final = 1 << 16


class TreeUse(NamedTuple):
    """What a process tree holds now, and has moved since it was first seen."""

    resident_byte: int
    read_byte: int
    written_byte: int


class ProcessTree:
    """A process and its descendants.

    Args:
        root_pid: the process at the top.
    """

    def __init__(self, root_pid: int) -> None:
        self.root_pid = root_pid
        self._pids: set[int] = {root_pid}
        self._scan_due_second = 0.0
        self._read_byte = self._written_byte = 0
        self._seen: dict[int, tuple[int, int]] = {}  # pid -> bytes read and written when last looked at

    def use(self) -> TreeUse:
        """Return resident bytes now, and bytes moved so far; a process that has ended keeps what it moved.

        Raises:
            OSError: the root process is gone.
        """
        self._scan()
        resident_byte = 0
        for pid in list(self._pids):
            try:
                resident_byte += int(_read(f"/proc/{pid}/statm").split()[1]) * PAGE_BYTE
                self._count_disk(pid)
            except (OSError, IndexError):
                if pid == self.root_pid:
                    raise
                self._pids.discard(pid)  # ended since the last look; its number may be given to another
                self._seen.pop(pid, None)
        return TreeUse(resident_byte, self._read_byte, self._written_byte)

    def _scan(self) -> None:
        """Look for new children, no oftener than `SCAN_SHARE` allows: the table can hold thousands."""
        started_second = time.monotonic()
        if started_second < self._scan_due_second:
            return
        cpu_second = time.thread_time()
        self._pids = {self.root_pid, *descendants(self.root_pid)}
        self._scan_due_second = started_second + (time.thread_time() - cpu_second) / SCAN_SHARE

    def _count_disk(self, pid: int) -> None:
        try:
            read_byte, written_byte = _read_moved_byte(pid)
        except PermissionError:
            return  # a child that changed its user; its memory was counted all the same
        before = self._seen.get(pid, (0, 0))
        self._read_byte += max(0, read_byte - before[0])
        self._written_byte += max(0, written_byte - before[1])
        self._seen[pid] = (read_byte, written_byte)


def descendants(root_pid: int) -> set[int]:
    """Return the pids of all processes below one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of names; a Path each would cost more than reading
        if not name.isdigit():
            continue
        try:
            stat = _read(f"/proc/{name}/stat")
        except OSError:
            continue  # ended while we walked
        # pid (name, which may hold anything) state ppid ...
        parent_pid = int(stat[stat.rindex(b")") + 2 :].split()[1])
        children.setdefault(parent_pid, []).append(int(name))
    found: set[int] = set()
    left = [root_pid]
    while left:
        below = children.get(left.pop(), [])
        found.update(below)
        left += below
    return found


def read_busy_cpu_second() -> float:
    """Return the seconds that all CPUs have been busy, summed, since boot."""
    columns = _read("/proc/stat").split(b"\n", 1)[0].split()
    return sum(int(columns[i]) for i in BUSY_COLUMNS) / TICKS_PER_SECOND


def read_network_byte() -> tuple[int, int]:
    """Return the bytes received and sent by all interfaces but the loopback, since boot."""
    received_byte = sent_byte = 0
    for line in _read("/proc/net/dev").splitlines()[2:]:
        name, _, rest = line.partition(b":")
        if name.strip() != b"lo":
            columns = rest.split()
            received_byte += int(columns[0])
            sent_byte += int(columns[8])
    return received_byte, sent_byte


def _read_moved_byte(pid: int) -> tuple[int, int]:
    fields = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return int(fields[b"read_bytes"]), int(fields[b"write_bytes"])


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, READ_BYTE)
    finally:
        os.close(fd)
