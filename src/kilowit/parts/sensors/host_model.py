"""Host model: CPU and DRAM joules of a machine that has no counter for them, from documented coefficients.

What it reads  busy CPU seconds of the machine (kernel) and installed memory; joules follow from
               CPU watts  = idle + (full - idle) x utilisation, for the vCPUs that this machine sees
               DRAM watts = watts per GiB x GiB that this machine sees
Interval       low and high from the spread of the published coefficients; a guest's share of its host is a guess
Left out       disks, network cards, fans, power supply, the host's other guests
Source         kilowit.factors: SPECpower per vCPU (Cloud Carbon Footprint), TDP share; DRAM by its makers' data
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.parts.sensor import ENERGY, Bounds, Channel, Component, Opening, Sweep, Value
from kilowit.parts.sensors.host import backend

BYTE_PER_GIB: Final = 1024**3
SOURCE: Final = "model:host"


class HostPower(NamedTuple):
    """Watts of this machine as (likely, low, high): all its vCPUs idle, all of them busy, all of its memory."""

    cpu_idle_watt: Bounds
    cpu_full_watt: Bounds
    dram_watt: Bounds
    basis: str


def default() -> HostModelSensor:
    """Return the model of this machine."""
    return HostModelSensor()


class HostModelSensor:
    """CPU and DRAM joules by model.

    Args:
        power: the coefficients; None = those of `kilowit.factors` for this processor and memory.
        clock: seconds that only grow.
        busy_cpu_second: gives the busy seconds of all CPUs, summed; None = asks the kernel.
        num_vcpus: how many CPUs share the load; None = those of this machine.
    """

    name = "host_model"
    may_hang = False
    components: tuple[Component, ...] = ("cpu", "dram")

    def __init__(
        self,
        power: HostPower | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        busy_cpu_second: Callable[[], float] | None = None,
        num_vcpus: int | None = None,
    ) -> None:
        self._given_power = power
        self._clock = clock
        self._busy: Callable[[], float] = busy_cpu_second or backend().read_busy_cpu_second
        self._num_vcpus = num_vcpus or os.cpu_count() or 1

    def open(self) -> Opening:
        """Look the coefficients up and remember where the clocks stand."""
        self._power = self._given_power or host_power()
        self._started_second, self._busy_at_start = self._clock(), self._busy()
        return Opening([_channel("cpu"), _channel("dram")])

    def read(self, *, cheap_only: bool) -> Sweep:
        """Return the joules since `open` as (likely, low, high)."""
        elapsed_second = self._clock() - self._started_second
        busy_second = min((self._busy() - self._busy_at_start) / self._num_vcpus, elapsed_second)
        idle_watt, full_watt, dram_watt = self._power.cpu_idle_watt, self._power.cpu_full_watt, self._power.dram_watt
        values: dict[str, Value] = {
            "host_model:cpu": _bounds(
                idle * elapsed_second + (full - idle) * busy_second
                for idle, full in zip(idle_watt, full_watt, strict=True)
            ),
            "host_model:dram": _bounds(watt * elapsed_second for watt in dram_watt),
        }
        return Sweep(values, {})

    def close(self) -> None:
        """Do nothing: the kernel's counters need no closing."""

    def describe(self) -> dict[str, Any]:
        """Say which coefficients are used."""
        return {"sensor": self.name, "reads": "model, see basis", **self._power._asdict(), "num_vcpus": self._num_vcpus}


def host_power() -> HostPower:
    """Return the coefficients of this machine from the factor tables."""
    from kilowit import factors  # tables are read when needed

    model_name, num_vcpus = cpu_model_name(), os.cpu_count() or 1
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / BYTE_PER_GIB
    cpu, dram = factors.cpu_power(model_name, num_vcpus), factors.dram_watt_per_gib()
    return HostPower(
        cpu_idle_watt=(cpu.idle_watt_likely, cpu.idle_watt_low, cpu.idle_watt_high),
        cpu_full_watt=(cpu.full_watt_likely, cpu.full_watt_low, cpu.full_watt_high),
        dram_watt=(dram.likely * memory_gib, dram.low * memory_gib, dram.high * memory_gib),
        basis=f"{model_name}, {num_vcpus} vCPUs ({cpu.basis}), {memory_gib:.1f} GiB",
    )


def cpu_model_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as the kernel gives it, or what `platform` knows."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _bounds(joules: Any) -> Bounds:
    likely, low, high = (round(joule, 4) for joule in joules)
    return likely, low, high


def _channel(component: Component) -> Channel:
    return Channel(
        f"host_model:{component}", "counter", ENERGY, f"host {component}", component, SOURCE, is_measured=False
    )
