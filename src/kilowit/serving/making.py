"""What it took to have a model: the side of the break-even that is paid once."""

from __future__ import annotations

import math

from kilowit.record import MAKING, PhaseFigures, Record


def making_figures(record: Record) -> PhaseFigures:
    """Return the sum of the phases `MAKING` of a run; a phase without an end of its interval counts with its value."""
    rows = [phase for phase in record.phases if phase.phase in MAKING]

    def joule(end: str) -> float | None:
        values = [
            row.energy_total_joule if (value := getattr(row, f"energy_total_joule{end}")) is None else value
            for row in rows
        ]
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    return PhaseFigures(
        phase="making",
        wall_second=math.fsum(row.wall_second for row in rows),
        energy_total_joule=joule(""),
        energy_total_joule_low=joule("_low"),
        energy_total_joule_high=joule("_high"),
    )
