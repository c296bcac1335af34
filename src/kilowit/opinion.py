"""What a record says of second opinions: other meters that ran beside ours, and are on no bill.

Part of the schema of `kilowit.record`, whose rules of naming hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SecondOpinion:
    """What another tool counted over the same stretch: from the start of our meter to its end.

    A figure that it does not give is None. It runs in a process of its own, whose start is before our meter's.
    """

    tool: str  # codecarbon | zeus
    version: str | None = None
    basis: str = ""  # what it reads or assumes, in its own words
    energy_gpu_joule: float | None = None
    energy_cpu_joule: float | None = None
    energy_dram_joule: float | None = None
    co2e_kg: float | None = None  # by its own factor for the country of the study's region
    cpu_second: float | None = None  # processor time that it took meanwhile: part of what we metered
    startup_second: float | None = None  # before the meter started, on no bill
    startup_cpu_second: float | None = None
    why_not: str | None = None  # why it says nothing; None = it did
