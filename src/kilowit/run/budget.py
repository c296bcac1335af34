"""What a study has spent and may still spend. A cell that would pass a limit is not started; others may fit.

What is spent includes failed, interrupted and repeated runs. What a cell will take is the mean of the finished
runs that differ from it only in seed; without any, what the plan says.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.cell import Cell
from kilowit.errors import StudyError
from kilowit.factors import JOULE_PER_KWH, price
from kilowit.factors.derive import derive_figures
from kilowit.plan import Estimate, Interval
from kilowit.record import Record
from kilowit.settings import FactorSettings
from kilowit.study import Study

SECOND_PER_HOUR: Final = 3600


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What runs took or will take; None = nobody can say."""

    wall_second: float | None
    energy_joule: float | None
    co2e_kg: float | None  # operational and embodied
    cost_usd: float | None  # on demand


# What the plan says of a cell that was never run; None = it cannot say.
Forecast = Callable[[Cell], Estimate | None]
_NOTHING = Spending(wall_second=0.0, energy_joule=0.0, co2e_kg=0.0, cost_usd=0.0)
_FIELDS = ("wall_second", "energy_joule", "co2e_kg", "cost_usd")


def check_budget(study: Study) -> None:
    """Refuse a limit that could not be kept.

    Raises:
        StudyError: a limit in dollars for a machine without a price.
    """
    factors = study.factors
    if study.budget.cost_usd is not None and price(factors.machine, factors.region, "on_demand") is None:
        raise StudyError(
            "budget.cost_usd cannot be kept: nothing says what this machine costs",
            place=study.place,
            hint="Set factors.machine and factors.region to a pair with a price, or limit energy_kwh or wall_hour.",
        )


def spending_of(record: Record, factors: FactorSettings) -> Spending:
    """Return what one run took, priced by the study's factors."""
    known = [phase.energy_total_joule for phase in record.phases if phase.energy_total_joule is not None]
    energy_joule = sum(known) if known or not record.phases else None
    wall_second = sum(phase.wall_second for phase in record.phases)
    derived = derive_figures(
        wall_second,
        (energy_joule, None, None),
        region=factors.region,
        machine_name=factors.machine,
        pue_override=factors.pue,
    )
    operational_kg, embodied_kg = derived.co2e_operational_kg, derived.co2e_embodied_kg or 0.0
    return Spending(
        wall_second=wall_second,
        energy_joule=energy_joule,
        co2e_kg=None if operational_kg is None else operational_kg + embodied_kg,
        cost_usd=derived.cost_usd_on_demand,
    )


def refusal(study: Study, cell: Cell, records: Sequence[Record], forecast: Forecast | None) -> str | None:
    """Say which limit the cell would pass, or return None if it may start.

    Args:
        study: whose budget counts.
        cell: the next cell.
        records: all records of the store; those of the study count as spent.
        forecast: what the plan says of a cell that was never run.
    """
    limits = {name: value for name, value in study.budget.model_dump().items() if value is not None}
    if not limits:
        return None
    spent = _NOTHING
    for record in records:
        if record.study_name == study.name:
            spent = _add(spent, spending_of(record, study.factors))
    expected = _expected(cell, records, study.factors)
    if expected is None and forecast is not None:
        expected = _likely(forecast(cell))
    for name, limit in limits.items():
        used = _in_unit_of(name, spent)
        if used is None:
            return f"budget: what earlier runs took is not known, so {name} {limit:g} cannot be kept"
        ahead = (_in_unit_of(name, expected) if expected else None) or 0.0
        if used >= limit or used + ahead > limit:
            return f"budget: {used:.3g} spent + {ahead:.3g} expected would pass {name} {limit:g}"
    return None


def _expected(cell: Cell, records: Sequence[Record], factors: FactorSettings) -> Spending | None:
    kind = _kind(cell.to_dict())
    alike = [r for r in records if r.status == "finished" and _kind(r.cell) == kind]
    if not alike:
        return None
    taken = [spending_of(record, factors) for record in alike]
    return Spending(**{name: _mean([getattr(one, name) for one in taken]) for name in _FIELDS})


def _likely(estimate: Estimate | None) -> Spending | None:
    if estimate is None:
        return None
    return Spending(
        wall_second=_likely_value(estimate.time_second),
        energy_joule=_likely_value(estimate.energy_total_joule),
        co2e_kg=_likely_value(estimate.co2e_kg),
        cost_usd=_likely_value(estimate.cost_usd),
    )


def _likely_value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.likely


def _kind(cell: dict[str, object]) -> tuple[object, ...]:
    """What makes two cells cost the same: all but the seed."""
    settings = cell.get("settings")
    asked = [settings.get("train"), settings.get("predict")] if isinstance(settings, dict) else []
    return (*(cell.get(name) for name in ("model", "dataset", "methods", "hardware")), asked)


def _in_unit_of(name: str, spending: Spending) -> float | None:
    value = {
        "cost_usd": spending.cost_usd,
        "energy_kwh": spending.energy_joule,
        "co2e_kg": spending.co2e_kg,
        "wall_hour": spending.wall_second,
    }[name]
    divisor = {"energy_kwh": JOULE_PER_KWH, "wall_hour": SECOND_PER_HOUR}.get(name, 1)
    return None if value is None else value / divisor


def _add(a: Spending, b: Spending) -> Spending:
    sums = {name: _sum(getattr(a, name), getattr(b, name)) for name in _FIELDS}
    return Spending(**sums)


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
