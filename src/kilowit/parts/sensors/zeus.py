"""Zeus: a second opinion on GPU, CPU and memory, beside our sensors and on no bill.

What it reads  ZeusMonitor's window over the run: the energy counters of the GPUs (NVML) and of the CPUs (RAPL)
Interval       none: it gives none
Left out       whatever has no counter: it models nothing, and says nothing on a machine without one
Source         zeus 0.16 (extra zeus), in a process of its own that may not reach the network
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kilowit.parts.sensors._opinion import OpinionSensor


def default() -> None:
    """Return nothing: it is asked for by ``measure.second_opinions``."""


def opinion(country: str = "") -> OpinionSensor:
    """Return the sensor; it has no use for the country."""
    from kilowit.parts.sensors._opinion import OpinionSensor  # the meter loads every sensor, and starts in 25 ms

    return OpinionSensor("zeus", country)
