"""What a recommendation can be asked for: figures of a run by name, with how surely each is known.

    rouge2, bleu, ...                       every score that the runs have
    energy_kwh  co2e_kg  cost_usd           of one run: without the idle baseline and downloads
    wall_hour   memory_gpu_byte   memory_host_byte   num_parameters   model_disk_byte
    latency_p50_second  latency_p95_second  latency_p99_second        of prediction
    <phase>.<field>                         any figure of a phase of the record, e.g. train.wall_second

Scores are better when higher, all others when lower. co2e_kg counts the machine's embodied share where it is known.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from kilowit.errors import StudyError, near_name_hint
from kilowit.factors import JOULE_PER_KWH
from kilowit.record import PHASES
from kilowit.report.conditions import MODEL_FIELDS, PSEUDO_PHASES
from kilowit.report.evidence import Evidence
from kilowit.report.pricing import Pricing
from kilowit.report.runs import NUMERIC_FIELDS, Choice, Run
from kilowit.statistics.decision import Belief, Bound, deviations
from kilowit.statistics.pareto import student_draws
from kilowit.statistics.resample import SEED
from kilowit.statistics.student import Z95

_SECOND_PER_HOUR: Final = 3600
_SCORES, _COSTS, _SYSTEMS = 1 << 25, 1 << 26, 1 << 27  # streams of draws, one a choice

# Name -> the figure of a run that it is, and how many of the figure's units it holds.
_SHORT: Final[Mapping[str, tuple[str, float]]] = {
    "energy_kwh": ("run.energy_total_joule", JOULE_PER_KWH),
    "wall_hour": ("run.wall_second", _SECOND_PER_HOUR),
    "memory_gpu_byte": ("run.memory_gpu_max_byte", 1),
    "memory_host_byte": ("run.memory_host_max_byte", 1),
    "latency_p50_second": ("predict.latency_p50_second", 1),
    "latency_p95_second": ("predict.latency_p95_second", 1),
    "latency_p99_second": ("predict.latency_p99_second", 1),
}
_PRICED: Final = ("co2e_kg", "cost_usd")


def bounds_of(at_least: Mapping[str, float], at_most: Mapping[str, float], metrics: Sequence[str]) -> list[Bound]:
    """Return the limits asked for.

    Raises:
        StudyError: a name that no run can have, or a limit that is no number.
    """
    asked = [(name, limit, True) for name, limit in at_least.items()]
    asked += [(name, limit, False) for name, limit in at_most.items()]
    for name, limit, is_least in asked:
        option = "--min" if is_least else "--max"
        check_name(name, metrics, option)
        if not math.isfinite(limit):
            raise StudyError(f"{name}: {limit} is no limit", place=option, hint=f"Example: {option} {name}=0.2")
    return [Bound(*one) for one in asked]


def check_name(name: str, metrics: Sequence[str], option: str) -> None:
    """Check that runs can have a figure.

    Raises:
        StudyError: they cannot; the hint names the nearest.
    """
    phase, dot, field = name.rpartition(".")
    if dot and phase in (*PSEUDO_PHASES, *PHASES) and field in NUMERIC_FIELDS:
        return
    known = [*metrics, *_SHORT, *_PRICED, *MODEL_FIELDS]
    if name not in known:
        raise StudyError(f'no figure "{name}" to recommend by', place=option, hint=near_name_hint(name, known))


@dataclass(frozen=True)
class Figures:
    """Reads figures of the choices of one dataset and says how surely they are known.

    Args:
        choices: all of one dataset.
        metrics: names of the scores.
        pricing: where they are priced.
        evidence_of: the evidence on a metric.
        num_draws: how many joint draws.
    """

    choices: Sequence[Choice]
    metrics: Sequence[str]
    pricing: Pricing
    evidence_of: Callable[[str], Evidence]
    num_draws: int

    def is_score(self, name: str) -> bool:
        """Whether a figure is a score, and so better when higher."""
        return name in self.metrics

    def values(self, name: str, choice: Choice) -> list[float]:
        """Return the figure in each finished run that knows it."""
        return [value for run in choice.finished if (value := self._value(name, run)) is not None]

    def beliefs(self, name: str, choices: Sequence[Choice]) -> list[Belief]:
        """Return what is believed of a figure of choices that all have it."""
        groups = [self.values(name, choice) for choice in choices]
        is_log = not self.is_score(name) and all(value > 0 for group in groups for value in group)
        if is_log:
            groups = [[math.log(value) for value in group] for group in groups]
        of_one_run = deviations([[] if c.is_baseline else g for c, g in zip(choices, groups, strict=True)])
        if not self.is_score(name):  # another run of a baseline scores the same, but takes another time
            of_one_run = deviations(groups)
        found = []
        for choice, group, (deviation, degrees) in zip(choices, groups, of_one_run, strict=True):
            fixed = self.is_score(name) and choice.is_baseline
            found.append(
                Belief(
                    mean=statistics.fmean(group),
                    deviation=0.0 if fixed else deviation,
                    num_runs=len(group),
                    noise=self._noise(name, choice, 0 if fixed else degrees),
                    shared=self._shared(name, choice),
                    is_log=is_log,
                )
            )
        return found

    def missing(self, name: str, choice: Choice) -> str | None:
        """Say why a choice with results lacks a figure; None if it has it."""
        if self.values(name, choice):
            return None
        if name in _PRICED:
            priced = self.pricing.price_runs(choice.finished, "run")
            reason = priced.reason_co2e if name == "co2e_kg" else priced.reason_cost
            return f"{name} is not known: {reason}"
        if name.startswith("latency_"):
            return f"{name} is not known: its prediction recorded no latencies"
        return f"{name} is not known of its runs"

    def _value(self, name: str, run: Run) -> float | None:
        if name in _PRICED:
            priced = self.pricing.price([(self.pricing.place(run.record), run.merit)])
            if name == "cost_usd":
                return priced.cost_usd_on_demand
            operational = priced.co2e_operational_kg
            return None if operational is None else operational + (priced.co2e_embodied_kg or 0.0)
        figure, size = _SHORT.get(name, (name, 1))
        value = run.value(figure)
        return None if value is None else value / size

    def _noise(self, name: str, choice: Choice, degrees: int) -> Sequence[float]:
        """Draws of Student's t; all scores of a choice move together, and so do all its costs."""
        if not degrees:
            return [0.0] * self.num_draws
        stream = (_SCORES if self.is_score(name) else _COSTS) + self._place(choice)
        key = (stream, degrees)
        if key not in self._drawn:
            self._drawn[key] = student_draws(degrees, self.num_draws, stream)
        return self._drawn[key]

    def _shared(self, name: str, choice: Choice) -> Sequence[float] | None:
        if self.is_score(name):
            evidence = self.evidence_of(name)
            mean, draws = statistics.fmean(choice.values(name)), evidence.draws_of_examples(choice)
            return [value - mean for value in draws]
        low, value, high = self._ends(name, choice)
        if not (low and value and high and low < high):
            return None
        down, up = math.log(value / low) / Z95, math.log(high / value) / Z95
        return [math.exp(z * (up if z > 0 else down)) for z in self._systems]

    def _ends(self, name: str, choice: Choice) -> tuple[float | None, float | None, float | None]:
        """The interval that sensors and grid leave open: the same error in every run of every choice."""
        if name == "co2e_kg":
            p = self.pricing.price_runs(choice.finished, "run")
            return p.co2e_operational_kg_low, p.co2e_operational_kg, p.co2e_operational_kg_high
        figure = _SHORT.get(name, (name, 1))[0]
        if not figure.endswith("_joule"):
            return None, None, None
        ends = [[run.value(f"{figure}{end}") for run in choice.finished] for end in ("_low", "", "_high")]
        low, value, high = (None if None in end else math.fsum(v for v in end if v is not None) for end in ends)
        return low, value, high

    def _place(self, choice: Choice) -> int:
        return next(i for i, other in enumerate(self.choices) if other is choice)

    @cached_property
    def _drawn(self) -> dict[tuple[int, int], Sequence[float]]:
        return {}

    @cached_property
    def _systems(self) -> Sequence[float]:
        generator = random.Random((SEED << 32) + _SYSTEMS)
        return [generator.gauss(0.0, 1.0) for _ in range(self.num_draws)]
