"""What Linux tells of processes and the machine under /proc, read directly.

psutil tells the same (a test compares the two), but importing it takes 15 ms and 2 MB and a reading four times the
CPU, which is most of what a meter at 1 Hz may use. Elsewhere than on Linux, psutil is used (`host.py`).

Source: proc(5): /proc/PID/statm, /proc/PID/io, /proc/PID/stat, /proc/stat, /proc/net/dev.
"""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

SCAN_SHARE: Final = 0.00002  # of one core, spent on walking the process table in search of grandchildren
PAGE_BYTE: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Columns of the first line of /proc/stat: user nice system idle iowait irq softirq steal ...
BUSY_COLUMNS: Final = (1, 2, 3, 6, 7)
READ_BYTE: Final = 1 << 16
SAME_SECOND: Final = 0.005  # readings closer than half a clock tick are one reading


class KeptFile:
    """A file under /proc that is opened once and read from its start again and again: half the cost of opening it.

    Args:
        path: what to read; a process's own files fail with ESRCH once it is gone.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def read(self) -> bytes:
        """Return the file as it is now.

        Raises:
            OSError: it cannot be opened or read; the next call tries anew.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(self._fd, READ_BYTE, 0)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; reading opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


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
        self._root_statm, self._root_io = KeptFile(f"/proc/{root_pid}/statm"), KeptFile(f"/proc/{root_pid}/io")
        self._root_children = KeptFile(f"/proc/{root_pid}/task/{root_pid}/children")
        self._children = b""

    def use(self) -> TreeUse:
        """Return resident bytes now, and bytes moved so far; a process that has ended keeps what it moved.

        Raises:
            OSError: the root process is gone.
        """
        self._scan()
        resident_byte = 0
        for pid in list(self._pids):
            try:
                statm = self._root_statm.read() if pid == self.root_pid else _read(f"/proc/{pid}/statm")
                resident_byte += int(statm.split(None, 2)[1]) * PAGE_BYTE
                self._count_disk(pid)
            except (OSError, IndexError):
                if pid == self.root_pid:
                    raise
                self._pids.discard(pid)  # ended since the last look; its number may be given to another
                self._seen.pop(pid, None)
        return TreeUse(resident_byte, self._read_byte, self._written_byte)

    def close(self) -> None:
        """Close what is held open."""
        self._root_statm.close()
        self._root_io.close()
        self._root_children.close()

    def _scan(self) -> None:
        """Walk the process table when the main thread has other children than before, else as `SCAN_SHARE` allows."""
        started_second = time.monotonic()
        children = self._children_of_main_thread()
        if children == self._children and started_second < self._scan_due_second:
            return
        self._children = children
        cpu_second = time.thread_time()
        self._pids = {self.root_pid, *descendants(self.root_pid)}
        self._scan_due_second = started_second + (time.thread_time() - cpu_second) / SCAN_SHARE

    def _children_of_main_thread(self) -> bytes:
        try:
            return self._root_children.read()
        except OSError:  # a kernel without CONFIG_PROC_CHILDREN: the table is walked now and then
            return b""

    def _count_disk(self, pid: int) -> None:
        try:
            moved = _moved_byte(self._root_io.read() if pid == self.root_pid else _read(f"/proc/{pid}/io"))
        except PermissionError:
            return  # a child that changed its user; its memory was counted all the same
        before = self._seen.get(pid, (0, 0))
        self._read_byte += max(0, moved[0] - before[0])
        self._written_byte += max(0, moved[1] - before[1])
        self._seen[pid] = moved


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


_STAT = KeptFile("/proc/stat")
_NETWORK = KeptFile("/proc/net/dev")
_busy_cpu = (-1.0, 0.0)  # when it was read, and what it was


def read_busy_cpu_second() -> float:
    """Return the seconds that all CPUs have been busy, summed, since boot."""
    global _busy_cpu
    now_second = time.monotonic()
    if now_second - _busy_cpu[0] > SAME_SECOND:
        columns = _STAT.read().split(None, 8)
        _busy_cpu = (now_second, sum(int(columns[i]) for i in BUSY_COLUMNS) / TICKS_PER_SECOND)
    return _busy_cpu[1]


def read_network_byte() -> tuple[int, int]:
    """Return the bytes received and sent by all interfaces but the loopback, since boot."""
    received_byte = sent_byte = 0
    for line in _NETWORK.read().splitlines()[2:]:
        name, _, rest = line.partition(b":")
        if name.strip() != b"lo":
            columns = rest.split()
            received_byte += int(columns[0])
            sent_byte += int(columns[8])
    return received_byte, sent_byte


def _moved_byte(io: bytes) -> tuple[int, int]:
    """Return bytes read from and written to storage, out of /proc/PID/io."""
    _, _, rest = io.partition(b"\nread_bytes: ")
    read_byte, _, rest = rest.partition(b"\nwrite_bytes: ")
    return int(read_byte), int(rest.partition(b"\n")[0])


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, READ_BYTE)
    finally:
        os.close(fd)
