"""The host: memory of the worker's process tree, CPU share, disk and network bytes.

What it reads  resident bytes of this process and its children (pages that they share count once for each);
               busy CPU seconds and network bytes of the whole machine (without loopback); disk bytes of the tree
Left out       what a child moved after its last reading; children that live less than a few seconds
Cost           about 0.1 ms of CPU a reading; looking for children is rationed
Source         proc(5) on Linux, psutil elsewhere
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from kilowit.parts.sensor import Channel, Component, Opening, Sweep, Value

TREE: Final = ("memory_host_byte", "disk_read_byte", "disk_written_byte")
CPU: Final = ("cpu_busy_second",)
NETWORK: Final = ("network_received_byte", "network_sent_byte")


def default() -> HostSensor:
    """Return the sensor of this process."""
    return HostSensor()


def backend() -> ModuleType:
    """Return the module that knows this system: `_procfs` on Linux, else `_psutil`."""
    if sys.platform == "linux":
        from kilowit.parts.sensors import _procfs

        return _procfs
    from kilowit.parts.sensors import _psutil

    return _psutil


class HostSensor:
    """Gauges and counters of the process tree and the machine. No joules.

    Args:
        pid: root of the process tree; None = this process.
        system: what knows this system; None = `backend`.
    """

    name = "host"
    may_hang = False
    components: tuple[Component, ...] = ()

    def __init__(self, pid: int | None = None, system: ModuleType | None = None) -> None:
        self._pid, self._system = pid, system

    def open(self) -> Opening:
        """Probe what this system tells; what it does not is left out, with a caution."""
        system = self._system or backend()
        self._root_pid = self._pid or os.getpid()
        self._tree = system.ProcessTree(self._root_pid)
        candidates: dict[tuple[str, ...], Callable[[], tuple[float, ...]]] = {
            TREE: self._tree.use,
            CPU: lambda: (system.read_busy_cpu_second(),),
            NETWORK: system.read_network_byte,
        }
        self._readers: dict[tuple[str, ...], Callable[[], tuple[float, ...]]] = {}
        cautions = []
        for quantities, reader in candidates.items():
            try:
                reader()
            except (OSError, ValueError, IndexError, KeyError) as error:
                cautions.append(f"{', '.join(quantities)} cannot be read here: {error}")
                continue
            self._readers[quantities] = reader
        return Opening([_channel(q) for quantities in self._readers for q in quantities], cautions)

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read everything; what one quantity lacks does not stop the others."""
        values: dict[str, Value] = {}
        faults: dict[str, str] = {}
        for quantities, reader in self._readers.items():
            if cheap_only and quantities == NETWORK:
                continue
            try:
                levels = reader()
            except (OSError, ValueError, IndexError, KeyError) as error:
                faults[f"host:{quantities[0]}"] = str(error)
                continue
            values.update((f"host:{q}", float(level)) for q, level in zip(quantities, levels, strict=True))
        return Sweep(values, faults)

    def close(self) -> None:
        """Close what is held open."""
        self._tree.close()

    def describe(self) -> dict[str, Any]:
        """Say what is read."""
        return {"sensor": self.name, "reads": f"process tree of {self._root_pid}, CPUs, network", "of": sys.platform}


def _channel(quantity: str) -> Channel:
    kind: Any = "gauge" if quantity == "memory_host_byte" else "counter"
    return Channel(f"host:{quantity}", kind, quantity, "host", "host", is_cheap=quantity not in NETWORK)
