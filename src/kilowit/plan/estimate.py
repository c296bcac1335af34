"""What a plan says: an estimate per cell with its basis, their sum, and what breaks the budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kilowit.errors import PlanError
from kilowit.plan.interval import Interval, add_up
from kilowit.plan.life_cycle import LifeCycle

Fit = Literal["yes", "unsure", "no"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one cell, or all that are left, will take. None = unknown."""

    basis: str  # record (done) | records | probe | analytic; of a sum: all of them
    time_second: Interval | None  # with idle baseline and cool-down
    energy_total_joule: Interval | None  # of the metered phases: without cool-down
    co2e_kg: Interval | None  # operational + embodied share
    cost_usd: Interval | None  # on demand
    cost_usd_spot: Interval | None
    memory_gpu_byte: Interval | None  # peak; None where there is no GPU
    memory_host_byte: Interval | None
    disk_byte: Interval | None  # kept after the run: run folder, model, download
    phase_second: Mapping[str, Interval] = field(default_factory=dict)
    phase_joule: Mapping[str, Interval] = field(default_factory=dict)  # a phase without is unknown

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        names = [name for name in self.__dataclass_fields__ if name not in ("basis", "phase_second", "phase_joule")]
        values: dict[str, Interval | None] = {name: getattr(self, name) for name in names}
        return {
            "basis": self.basis,
            **{name: None if value is None else value.to_dict() for name, value in values.items()},
            "phase_second": {name: value.to_dict() for name, value in self.phase_second.items()},
            "phase_joule": {name: value.to_dict() for name, value in self.phase_joule.items()},
        }


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """One cell: what it will take, or took; whether it fits; what there is to know."""

    cell_label: str
    cell_key: str
    done: bool
    estimate: Estimate
    fits: Fit = "yes"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "cell_label": self.cell_label,
            "cell_key": self.cell_key,
            "done": self.done,
            "fits": self.fits,
            "notes": list(self.notes),
            "estimate": self.estimate.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit of the budget beside what was spent and what is to come."""

    name: str  # cost_usd | energy_kwh | co2e_kg | wall_hour
    limit: float
    spent: float
    planned: Interval | None  # None = unknown, and then the limit cannot be checked

    @property
    def over(self) -> float | None:
        """By how much the likely total passes the limit; negative while there is room, None if nobody can say."""
        return None if self.planned is None else self.spent + self.planned.likely - self.limit

    def __str__(self) -> str:
        spent = f"{self.spent:.3g} spent + " if self.spent else ""
        if self.planned is None or self.over is None:
            return f"{self.name}: {spent}an unknown amount planned, limit {self.limit:.3g}: cannot be checked"
        likely, low, high = self.planned.likely, self.planned.low, self.planned.high
        verb = "over by" if self.over > 0 else "room"
        return (
            f"{self.name}: {spent}{likely:.3g} planned ({low:.3g} .. {high:.3g}), limit {self.limit:.3g}, "
            f"{verb} {abs(self.over):.3g}"
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All cells of a study, and the sum of those that are left. A cell that does not fit is not in the sum."""

    study_name: str
    hardware: str  # what was planned for, in words
    cells: tuple[CellPlan, ...]
    total: Estimate
    num_done: int
    limits: tuple[Limit, ...] = ()
    factor_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    life_cycles: tuple[LifeCycle, ...] = ()  # one a choice, where the study has maintenance:

    @property
    def over_budget(self) -> tuple[Limit, ...]:
        """The limits that the likely total passes."""
        return tuple(limit for limit in self.limits if limit.over is not None and limit.over > 0)

    def require_affordable(self) -> None:
        """Refuse a plan whose likely total passes a limit of the budget.

        Raises:
            PlanError: every limit that is passed, and by how much.
        """
        if self.over_budget:
            lines = "\n  ".join(str(limit) for limit in self.over_budget)
            raise PlanError(
                f"study {self.study_name} would pass its budget\n  {lines}",
                hint="Raise the limit under budget:, or plan fewer cells or examples, e.g. --set train.num_epochs=1.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "study_name": self.study_name,
            "hardware": self.hardware,
            "num_cells": len(self.cells),
            "num_done": self.num_done,
            "total": self.total.to_dict(),
            "limits": [
                {
                    "name": limit.name,
                    "limit": limit.limit,
                    "spent": limit.spent,
                    "planned": None if limit.planned is None else limit.planned.to_dict(),
                    "over": None if limit.over is None else max(0.0, limit.over),
                }
                for limit in self.limits
            ],
            "factor_ids": list(self.factor_ids),
            "notes": list(self.notes),
            "cells": [cell.to_dict() for cell in self.cells],
            "life_cycles": [cycle.to_dict() for cycle in self.life_cycles],
        }


def total_of(estimates: Iterable[Estimate]) -> Estimate:
    """Add up estimates; memory is the largest, and a sum with an unknown part is unknown."""
    parts = list(estimates)

    def total(name: str) -> Interval | None:
        values: list[Interval | None] = [getattr(part, name) for part in parts]
        known = [value for value in values if value is not None]
        return add_up(known) if len(known) == len(values) else None

    def largest(name: str) -> Interval | None:
        known = [value for part in parts if (value := getattr(part, name)) is not None]
        peak = Interval.exactly(0.0)
        for value in known:
            peak = peak.at_least(value)
        return peak if known else None

    return Estimate(
        basis=" + ".join(sorted({part.basis for part in parts})),
        time_second=total("time_second"),
        energy_total_joule=total("energy_total_joule"),
        co2e_kg=total("co2e_kg"),
        cost_usd=total("cost_usd"),
        cost_usd_spot=total("cost_usd_spot"),
        memory_gpu_byte=largest("memory_gpu_byte"),
        memory_host_byte=largest("memory_host_byte"),
        disk_byte=total("disk_byte"),
    )
