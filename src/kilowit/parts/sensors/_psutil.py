"""The same as `_procfs`, through psutil: for systems without /proc."""

from __future__ import annotations

from typing import Any

import psutil

from kilowit.parts.sensors._procfs import TreeUse


class ProcessTree:
    """A process and its descendants.

    Args:
        root_pid: the process at the top.
    """

    def __init__(self, root_pid: int) -> None:
        self.root_pid = root_pid
        self._root = psutil.Process(root_pid)
        self._seen: dict[int, tuple[int, int]] = {}
        self._moved = [0, 0]

    def use(self) -> TreeUse:
        """Return resident bytes now, and bytes moved so far (0 where psutil cannot tell).

        Raises:
            OSError: the root process is gone.
        """
        resident_byte = 0
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.Error as error:
            raise OSError(str(error)) from error
        for process in processes:
            try:
                resident_byte += process.memory_info().rss
                self._count_disk(process)
            except psutil.Error:
                continue  # ended, or changed its user, while we looked
        return TreeUse(resident_byte, *self._moved)

    def close(self) -> None:
        """Do nothing: psutil holds nothing open."""

    def _count_disk(self, process: Any) -> None:
        if not hasattr(process, "io_counters"):  # macOS
            return
        counters = process.io_counters()
        now = (counters.read_bytes, counters.write_bytes)
        before = self._seen.get(process.pid, (0, 0))
        self._moved = [moved + max(0, a - b) for moved, a, b in zip(self._moved, now, before, strict=True)]
        self._seen[process.pid] = now


def read_busy_cpu_second() -> float:
    """Return the seconds that all CPUs have been busy, summed, since boot."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")))


def read_network_byte() -> tuple[int, int]:
    """Return the bytes received and sent by all interfaces but the loopback, since boot."""
    interfaces = psutil.net_io_counters(pernic=True)
    outside = [counters for name, counters in interfaces.items() if name not in ("lo", "lo0")]
    return sum(c.bytes_recv for c in outside), sum(c.bytes_sent for c in outside)
