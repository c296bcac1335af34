"""CodeCarbon: a second opinion on GPU, CPU and memory, beside our sensors and on no bill.

What it reads  CodeCarbon's offline tracker on this machine: NVML for GPUs; RAPL for CPUs where it may, else a share of
               the processor's TDP by load; memory by a guess of watts per module
Interval       none: it gives none
Left out       CO2e where the study names no region, or one whose country CodeCarbon's table does not have
Source         codecarbon >= 3.3 (extra codecarbon), in a process of its own that may not reach the network
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kilowit.parts.sensors._opinion import OpinionSensor


def default() -> None:
    """Return nothing: it is asked for by ``measure.second_opinions``."""


def opinion(country: str = "") -> OpinionSensor:
    """Return the sensor; `country` is where its own grid factor is taken from."""
    from kilowit.parts.sensors._opinion import OpinionSensor  # the meter loads every sensor, and starts in 25 ms

    return OpinionSensor("codecarbon", country)
