"""The working life of a summarizer: training, retraining, drift checks, serving, idling, and their sum.

    life = training + retrainings x training + checks x check + summaries x summary + idle time x idle power

What one of each takes comes from records or from a plan (`Efforts`); how many there are from `maintenance:` in the
study. Parts add up to the total by construction, end by end: what is dear in one part is dear in the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from kilowit.plan.interval import Interval, add_up
from kilowit.plan.prices import Prices
from kilowit.settings import MaintenanceSettings

PARTS: Final = ("train", "retrain", "drift check", "serve", "idle")
_SECOND_PER_HOUR: Final = 3600.0
_HOUR_PER_DAY: Final = 24.0
_TAIL: Final = 0.025  # of the binomial number of retrainings that drift calls for, on either side
_NONE: Final = Interval.exactly(0.0)


@dataclass(frozen=True)
class Effort:
    """Seconds and joules of doing a thing once. Joules None = no sensor read them."""

    second: Interval
    joule: Interval | None

    def __mul__(self, count: Interval | float) -> Effort:
        return Effort(self.second * count, None if self.joule is None else self.joule * count)

    def __add__(self, other: Effort) -> Effort:
        joule = None if self.joule is None or other.joule is None else self.joule + other.joule
        return Effort(self.second + other.second, joule)


@dataclass(frozen=True, kw_only=True)
class Efforts:
    """What one training, one drift check, one summary and one idle second of a choice take."""

    basis: str  # measured | planned
    served_by: str  # whose figures a summary has: "onnxruntime int8, single_stream"
    training: Effort | None  # None: nothing is trained
    check_start: Effort  # a drift check loads the model ...
    check_document: Effort  # ... and writes and scores each document
    summary: Effort
    idle_watt: Interval | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LifePart:
    """One part of a life, or its total. None = unknown."""

    name: str
    num: Interval | None  # trainings, checks, summaries; None: of the total, and of idling
    time_second: Interval
    energy_total_joule: Interval | None
    co2e_kg: Interval | None  # operational + embodied share, where the machine is known
    cost_usd: Interval | None  # on demand

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        names = ("num", "time_second", "energy_total_joule", "co2e_kg", "cost_usd")
        values: dict[str, Interval | None] = {name: getattr(self, name) for name in names}
        return {"name": self.name, **{n: None if v is None else v.to_dict() for n, v in values.items()}}


@dataclass(frozen=True, kw_only=True)
class LifeCycle:
    """What a choice takes over its working life, part by part."""

    label: str
    maintenance: MaintenanceSettings
    parts: tuple[LifePart, ...]  # in the order of `PARTS`
    num_machines: Interval  # that the load needs
    basis: str
    served_by: str
    notes: tuple[str, ...] = ()

    def part(self, name: str) -> LifePart:
        """Return one of `PARTS`."""
        return self.parts[PARTS.index(name)]

    @property
    def total(self) -> LifePart:
        """The sum of all parts; a sum with an unknown part is unknown."""
        return LifePart(
            name="total", num=None, time_second=add_up(part.time_second for part in self.parts),
            energy_total_joule=self._sum("energy_total_joule"), co2e_kg=self._sum("co2e_kg"),
            cost_usd=self._sum("cost_usd"),
        )  # fmt: skip

    @property
    def num_summaries(self) -> float:
        """Summaries that are written over the whole life."""
        return self.maintenance.summaries_per_day * self.maintenance.horizon_day

    def share(self, name: str) -> float | None:
        """Return a part's share of the likely energy, from 0 to 1; None = unknown, or nothing is taken at all."""
        whole, part = self.total.energy_total_joule, self.part(name).energy_total_joule
        return None if whole is None or part is None or not whole.likely else part.likely / whole.likely

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "label": self.label,
            "basis": self.basis,
            "served_by": self.served_by,
            "maintenance": self.maintenance.model_dump(mode="json"),
            "num_machines": self.num_machines.to_dict(),
            "num_summaries": self.num_summaries,
            "parts": [part.to_dict() for part in self.parts],
            "total": self.total.to_dict(),
            "notes": list(self.notes),
        }

    def _sum(self, name: str) -> Interval | None:
        values: list[Interval | None] = [getattr(part, name) for part in self.parts]
        known = [value for value in values if value is not None]
        return add_up(known) if len(known) == len(values) else None


def life_cycle(label: str, efforts: Efforts, maintenance: MaintenanceSettings, prices: Prices) -> LifeCycle:
    """Multiply what things take once by how often they are done, and price it."""
    num_checks = num_within(maintenance.horizon_day, maintenance.drift_check_every_day)
    num_retrainings = _retrainings(maintenance, num_checks) if efforts.training is not None else _NONE
    check = efforts.check_start + efforts.check_document * maintenance.drift_check_documents
    num_summaries = maintenance.summaries_per_day * maintenance.horizon_day
    nothing = Effort(_NONE, _NONE)
    training = efforts.training or nothing
    num_machines, idle_second = _idle(efforts.summary.second, maintenance)
    idle_joule = None if efforts.idle_watt is None else efforts.idle_watt * idle_second
    num_first = Interval.exactly(1.0 if efforts.training is not None else 0.0)
    counted = (
        (num_first, training),
        (num_retrainings, training * num_retrainings),
        (Interval.exactly(float(num_checks)), check * num_checks if num_checks else nothing),
        (Interval.exactly(num_summaries), efforts.summary * num_summaries if num_summaries else nothing),
        (None, Effort(idle_second, idle_joule if idle_second.high else _NONE)),
    )
    parts = tuple(_priced(name, num, effort, prices) for name, (num, effort) in zip(PARTS, counted, strict=True))
    notes = list(efforts.notes)
    if efforts.idle_watt is None and idle_second.high:
        notes.append("idle power unknown, so is the sum: measure it with measure: {idle_second: 10}")
    return LifeCycle(
        label=label, maintenance=maintenance, parts=parts, num_machines=num_machines, basis=efforts.basis,
        served_by=efforts.served_by, notes=tuple(notes),
    )  # fmt: skip


def num_within(horizon_day: float, every_day: float | None) -> int:
    """Return how often a thing is done that is due every so many days, neither on the first day nor at the end.

    >>> num_within(365, 90), num_within(365, 365), num_within(365, None)
    (4, 0, 0)
    """
    return 0 if every_day is None else max(0, math.ceil(horizon_day / every_day - 1e-9) - 1)


def _retrainings(maintenance: MaintenanceSettings, num_checks: int) -> Interval:
    """Those of the schedule, and those that drift calls for: a binomial number, with its 95 % interval."""
    scheduled = float(num_within(maintenance.horizon_day, maintenance.retrain_every_day))
    p = maintenance.drift_retrain_fraction
    mean = num_checks * p
    low, high = (_binomial_quantile(num_checks, p, q) for q in (_TAIL, 1 - _TAIL))
    return Interval(min(float(low), mean), mean, max(float(high), mean)) + scheduled


def _binomial_quantile(n: int, p: float, q: float) -> int:
    """Return the least k that at most k of n happen with a probability of q or more."""
    if p in (0.0, 1.0) or n == 0:
        return round(n * p)
    cumulative = 0.0
    for k in range(n + 1):
        log_ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        cumulative += math.exp(log_ways + k * math.log(p) + (n - k) * math.log1p(-p))
        if cumulative >= q:
            return k
    return n


def _idle(second_per_summary: Interval, maintenance: MaintenanceSettings) -> tuple[Interval, Interval]:
    """Return how many machines the load needs, and the seconds that they are kept up and wait, over the horizon."""
    is_kept_up = maintenance.endpoint_hour_per_day > 0
    open_second = (maintenance.endpoint_hour_per_day or _HOUR_PER_DAY) * _SECOND_PER_HOUR
    busy = second_per_summary * maintenance.summaries_per_day

    def machines(busy_second: float) -> float:
        least = 1 if is_kept_up or busy_second else 0
        return float(max(least, math.ceil(busy_second / (open_second * maintenance.max_utilization_fraction) - 1e-9)))

    ends = [(machines(b), b) for b in (busy.low, busy.likely, busy.high)]
    idle = [max(0.0, num * open_second - b) if is_kept_up else 0.0 for num, b in ends]
    days = maintenance.horizon_day
    return Interval(*(num for num, _ in ends)), Interval(min(idle), idle[1], max(idle)) * days


def _priced(name: str, num: Interval | None, effort: Effort, prices: Prices) -> LifePart:
    return LifePart(
        name=name, num=num, time_second=effort.second, energy_total_joule=effort.joule,
        co2e_kg=prices.co2e_kg(effort.joule, effort.second), cost_usd=prices.cost_usd(prices.on_demand, effort.second),
    )  # fmt: skip
