"""Quality against energy as numbers: who is on the front and how surely, what a point of score costs along it.

All probabilities come from the same joint draws: test examples resampled for all choices alike, seeds by Student's t,
the energy of each choice by Student's t on the log scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from kilowit.report.comparisons import Comparisons, mean_energy
from kilowit.report.effects import ENERGY
from kilowit.report.pricing import Pricing
from kilowit.report.runs import Choice
from kilowit.statistics import carburacy
from kilowit.statistics.interval import SINGLE_RUN, Interval
from kilowit.statistics.pareto import Draws, drawn_cost, hypervolume, membership
from kilowit.statistics.resample import NUM_RESAMPLES, percentile_interval

MAX_DRAWN: Final = 60  # choices; the draws of more would take longer than the rest of the report
SUMMARIES: Final = 1000  # that energy and carbon of use are given for


@dataclass(frozen=True)
class Price:
    """What one more point of score (of 100) costs against the cheaper choice before it on the front."""

    against: str
    energy_joule: float | None
    co2e_kg: float | None
    cost_usd: float | None
    reason: str = ""  # why there is none
    reason_cost: str = ""


class Frontier:
    """The choices of one dataset that have a score and an energy."""

    def __init__(self, comparisons: Comparisons, pricing: Pricing) -> None:
        """Take the comparisons of a dataset."""
        self.of, self._pricing = comparisons, pricing
        self.choices = [choice for choice in comparisons.scored if choice.values(ENERGY)]

    @property
    def is_drawn(self) -> bool:
        """Whether there are few enough choices to draw them together."""
        return len(self.choices) <= MAX_DRAWN

    @cached_property
    def probabilities(self) -> list[float]:
        """For each choice the share of draws in which it is on the front."""
        return membership(self._draws)

    @cached_property
    def _draws(self) -> list[Draws]:
        return [
            Draws(drawn_cost(choice.values(ENERGY), NUM_RESAMPLES, stream), self.of.evidence.draws(choice))
            for stream, choice in enumerate(self.choices, start=1 << 24)
        ]

    @cached_property
    def equal_quality(self) -> list[Interval]:
        """For each choice the least energy with which any reaches its score, over its own: 1 on the front."""
        means = [(mean_energy(c), self.of.mean_quality(c)) for c in self.choices]
        ratios: list[list[float]] = [[] for _ in means]
        if self.is_drawn:
            costs, gains = (zip(*columns, strict=True) for columns in self._columns())
            for cost, gain in zip(costs, gains, strict=True):
                for found, ratio in zip(ratios, _least_cost_ratios(list(zip(cost, gain, strict=True))), strict=True):
                    found.append(ratio)
        values = _least_cost_ratios(means)
        return [
            percentile_interval(value, drawn) if drawn else Interval(value)
            for value, drawn in zip(values, ratios, strict=True)
        ]

    def _columns(self) -> tuple[list[list[float]], list[list[float]]]:
        return [d.costs for d in self._draws], [d.gains for d in self._draws]

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The corner that the volume is counted from: the energy of the dearest choice, the score of `lead`, or 0."""
        lead = self.of.lead
        return max(map(mean_energy, self.choices)), 0.0 if lead is None else self.of.mean_quality(lead)

    @cached_property
    def volume(self) -> Interval:
        """The share of the rectangle from the reference to (0 J, score 1) that the front dominates."""
        points = [(mean_energy(c), self.of.mean_quality(c)) for c in self.choices]
        value = hypervolume(points, self.reference, (0.0, 1.0))
        if not self.is_drawn:
            return Interval(value)
        costs, gains = self._columns()
        drawn = [
            hypervolume(list(zip(cost, gain, strict=True)), self.reference, (0.0, 1.0))
            for cost, gain in zip(zip(*costs, strict=True), zip(*gains, strict=True), strict=True)
        ]
        return percentile_interval(value, drawn)

    def price(self, choice: Choice) -> Price:
        """Return what a point costs that this choice has over the one before it on the front."""
        front = self.of.front
        place = next((i for i, other in enumerate(front) if other is choice), None)
        if place is None:
            return Price("", None, None, None, "beaten: another scores no less for no more energy")
        if place == 0:
            return Price("", None, None, None, "the cheapest: nothing to compare with")
        before = front[place - 1]
        judged = self.of.judge(choice, before)
        if judged != "better":
            why = "without an interval" if judged == SINGLE_RUN else judged
            return Price(before.label, None, None, None, f"score {why} from the cheaper choice on the front")
        points = 100 * (self.of.mean_quality(choice) - self.of.mean_quality(before))
        here, there = (self._pricing.price_runs(c.finished, "run") for c in (choice, before))
        extra = [
            _difference(a, len(choice.finished), b, len(before.finished))
            for a, b in (
                (here.co2e_operational_kg, there.co2e_operational_kg),
                (here.cost_usd_on_demand, there.cost_usd_on_demand),
            )
        ]
        co2e, cost = (None if value is None else value / points for value in extra)
        energy = (mean_energy(choice) - mean_energy(before)) / points
        return Price(before.label, energy, co2e, cost, here.reason_co2e, here.reason_cost)

    def energy_of_summaries(self, choice: Choice) -> list[float]:
        """Return the joules of 1,000 summaries in each run that knows them."""
        found = []
        for run in choice.finished:
            row = run.record.phase("predict")
            if row is not None and row.energy_total_joule is not None and row.num_examples:
                found.append(SUMMARIES * row.energy_total_joule / row.num_examples)
        return found

    def carburacy(self, choice: Choice) -> tuple[float | None, str]:
        """Return the Carburacy of a choice, or None and why."""
        scores = [choice.values(metric) for metric in ("rouge1", "rouge2", "rougeLsum")]
        if not all(scores):
            return None, "needs rouge1, rouge2 and rougeLsum"
        num_runs = len(choice.finished)
        use = self._pricing.price_runs(choice.finished, "predict")
        num_summaries = sum(row.num_examples or 0 for r in choice.finished if (row := r.record.phase("predict")))
        if use.co2e_operational_kg is None or not num_summaries:
            return None, use.reason_co2e
        tuning = [
            (self._pricing.place(run.record), row)
            for run in choice.finished
            for phase in _TUNING
            if (row := run.record.phase(phase)) is not None
        ]
        train_kg = (self._pricing.price(tuning).co2e_operational_kg or 0.0) / num_runs if tuning else 0.0
        test_kg = carburacy.NUM_SUMMARIES * use.co2e_operational_kg / num_summaries
        quality = carburacy.effectiveness(*(sum(values) / len(values) for values in scores))
        return carburacy.carburacy(quality, train_kg, test_kg), ""


_TUNING: Final = ("warmup", "train", "validate", "compress")


def _least_cost_ratios(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return for each point (cost, gain) the least cost of those that gain no less, over its own."""
    least, ratios = float("inf"), [1.0] * len(points)
    order = sorted(range(len(points)), key=lambda i: (-points[i][1], points[i][0]))
    for index in order:
        least = min(least, points[index][0])
        ratios[index] = least / points[index][0] if points[index][0] else 1.0
    return ratios


def _difference(a: float | None, num_a: int, b: float | None, num_b: int) -> float | None:
    return None if a is None or b is None else a / num_a - b / num_b
