"""What a study has spent and may still spend: it stops before a limit, by forecast. Others that fit still run.

What is spent includes failed, interrupted and repeated runs. What a cell will take, and at most takes, is foretold by
the nearest there is: finished runs that differ from it in nothing that costs (seed, learning rate); other trials of its
search; what the plan says, corrected by what the plan said of cells that were run. A cell starts only if what it may
take, not only what it likely takes, fits. The upper end is that of a 95 % prediction interval where three runs tell; so
a study passes a limit in few cases, and then by less than one cell may take more than is likely.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilowit.cell import Cell
from kilowit.errors import StoreError, StudyError
from kilowit.factors import JOULE_PER_KWH, price
from kilowit.factors.derive import derive_figures
from kilowit.plan import Estimate, Interval
from kilowit.plan.records import REPEAT_FACTOR
from kilowit.record import Record
from kilowit.settings import BudgetSettings, FactorSettings
from kilowit.statistics.interval import MIN_REPEATS
from kilowit.statistics.student import t95
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
# Settings that change what is learnt and not what it costs; the split is about as long as the other.
_FREE: Final = frozenset(
    {"learning_rate", "schedule", "warmup_steps", "weight_decay", "max_grad_norm", "label_smoothing", "split"}
)


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
        wall_second * record.num_nodes,
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


@dataclass(frozen=True)
class Expected:
    """What a cell takes: likely, and at most."""

    likely: Spending
    most: Spending


def refusal(
    study: Study,
    cell: Cell,
    records: Sequence[Record],
    forecast: Forecast | None,
    beside: Sequence[Cell] = (),
) -> str | None:
    """Say which limit the cell would pass, or return None if it may start.

    Args:
        study: whose budget counts.
        cell: the next cell.
        records: all records of the store; those of the study count as spent.
        forecast: what the plan says of a cell that was never run.
        beside: cells that run now, which count in full.
    """
    own = [record for record in records if record.study_name == study.name]
    return passed_limit(study.budget, own, [cell, *beside], records, forecast)


def passed_limit(
    budget: BudgetSettings,
    spent_on: Sequence[Record],
    cells: Sequence[Cell],
    records: Sequence[Record],
    forecast: Forecast | None,
) -> str | None:
    """Say which limit cells would pass that are to be run together, or return None.

    Args:
        budget: the limits.
        spent_on: the records that count as spent.
        cells: what is to be run.
        records: all that there are, to foretell from.
        forecast: what the plan says of a cell.
    """
    limits = {name: value for name, value in budget.model_dump().items() if value is not None}
    if not limits:
        return None
    factors = cells[0].factors
    spent = _NOTHING
    for record in spent_on:
        spent = _add(spent, spending_of(record, factors))
    ahead = [expected(cell, records, forecast) for cell in cells]
    for name, limit in limits.items():
        used = _in_unit_of(name, spent)
        if used is None:
            return f"budget: what earlier runs took is not known, so {name} {limit:g} cannot be kept"
        likely = sum(_in_unit_of(name, one.likely) or 0.0 for one in ahead if one)
        most = sum(_in_unit_of(name, one.most) or 0.0 for one in ahead if one)
        if used >= limit or used + most > limit:
            reach = f" (up to {most:.3g})" if most > likely else ""
            return f"budget: {used:.3g} spent + {likely:.3g} expected{reach} would pass {name} {limit:g}"
    return None


def expected(cell: Cell, records: Sequence[Record], forecast: Forecast | None = None) -> Expected | None:
    """Return what a cell will take; None = nobody can say.

    Args:
        cell: the cell.
        records: of earlier runs.
        forecast: what the plan says of a cell.
    """
    asked = cell.to_dict()
    finished = [record for record in records if record.status == "finished"]
    own_search = (cell.search or {}).get("search_key")
    groups = [
        [r for r in finished if _kind(r.cell) == _kind(asked)],
        [r for r in finished if own_search and (r.cell.get("search") or {}).get("search_key") == own_search],
    ]
    for alike in groups:
        if alike:
            return _of_runs([spending_of(record, cell.factors) for record in alike])
    planned = _likely(forecast(cell)) if forecast is not None else None
    return None if planned is None or forecast is None else _corrected(planned, cell, finished, forecast)


def _of_runs(taken: Sequence[Spending]) -> Expected:
    likely: dict[str, float | None] = {}
    most: dict[str, float | None] = {}
    for name in _FIELDS:
        known = [value for one in taken if (value := getattr(one, name)) is not None]
        mean = statistics.fmean(known) if known else None
        likely[name] = mean
        most[name] = mean * _reach([value / mean for value in known]) if mean else mean
    return Expected(Spending(**likely), Spending(**most))


def _corrected(planned: Spending, cell: Cell, finished: Sequence[Record], forecast: Forecast) -> Expected:
    """Correct what the plan says by what runs of this study took over what it said of them."""
    ratios: dict[str, list[float]] = {name: [] for name in _FIELDS}
    for record in finished:
        own = _cell_of(record) if record.study_name == cell.study_name else None
        is_alike = own is not None and own.is_baseline == cell.is_baseline
        said = _likely(forecast(own)) if own is not None and is_alike else None
        took = spending_of(record, cell.factors)
        for name in _FIELDS if said is not None else ():
            a, b = getattr(took, name), getattr(said, name)
            if a and b:
                ratios[name].append(a / b)
    likely, most = {}, {}
    for name in _FIELDS:
        value, seen = getattr(planned, name), ratios[name]
        centre = math.exp(statistics.fmean(map(math.log, seen))) if seen else 1.0
        likely[name] = None if value is None else value * centre
        # Without any run of this study nothing says how far the plan is off: its likely value decides.
        most[name] = None if value is None else value * centre * (_reach([r / centre for r in seen]) if seen else 1.0)
    return Expected(Spending(**likely), Spending(**most))


def _reach(shares: Sequence[float]) -> float:
    """Return by what factor a further run may be above runs that took these shares of their mean."""
    logs = [math.log(share) for share in shares if share > 0]
    if len(logs) < MIN_REPEATS:
        return REPEAT_FACTOR
    error = statistics.stdev(logs) * math.sqrt(1 + 1 / len(logs))
    return math.exp(t95(len(logs) - 1) * error)


def _cell_of(record: Record) -> Cell | None:
    try:
        return Cell.from_dict(record.cell)
    except StoreError:
        return None  # written by another version: it cannot be planned


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


def _kind(cell: Mapping[str, Any]) -> tuple[object, ...]:
    """What makes two cells cost the same: all but the seed and settings that cost nothing."""
    settings, search = cell.get("settings"), cell.get("search") or {}
    asked = []
    if isinstance(settings, Mapping):
        asked = [
            {k: v for k, v in (settings.get(block) or {}).items() if k not in _FREE} for block in ("train", "predict")
        ]
    model = search["template"]["model"] if search else cell.get("model")
    return (model, *(cell.get(name) for name in ("dataset", "methods", "hardware")), asked)


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
