"""What serving took, by choice, runtime and scenario, over the runs of a choice; and when it outweighs training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kilowit.record import PhaseFigures
from kilowit.report.pricing import Place, Priced, Pricing
from kilowit.report.quantity import measure, number
from kilowit.report.runs import Choice, Run, known_energy
from kilowit.served import ServedRuntime, ServedScenario
from kilowit.serving.making import making_figures
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval


@dataclass(frozen=True)
class ServedRow:
    """One scenario of one runtime of one choice, in each finished run that reached it."""

    choice: Choice
    runtime: str
    scenario: str
    runs: tuple[tuple[Run, ServedScenario], ...]

    def mean(self, read: Callable[[ServedScenario], float | None]) -> Interval | None:
        """Return the mean of a figure over runs with its interval over seeds; None when no run knows it."""
        values = [value for _, row in self.runs if (value := read(row)) is not None]
        return mean_interval(values) if values else None

    @property
    def num_examples(self) -> int:
        """Summaries written, all runs together."""
        return sum(row.num_examples for _, row in self.runs)

    def priced(self, pricing: Pricing) -> Priced:
        """Price what all runs of it took together."""
        return pricing.price([(pricing.place(run.record), as_figures(row)) for run, row in self.runs])

    def joule_per_summary(self) -> Interval | None:
        """Return joules a summary, idle power included, with the interval of the sensors."""
        figures = [as_figures(row) for _, row in self.runs]
        likely, low, high = (known_energy(figures, end) for end in ("", "_low", "_high"))
        n = self.num_examples
        if likely is None or not n:
            return None
        return Interval(likely / n, None if low is None else low / n, None if high is None else high / n, len(figures))

    def second_per_summary(self) -> float | None:
        """Return wall seconds a summary."""
        total_second = math.fsum(row.wall_second for _, row in self.runs)
        return total_second / self.num_examples if self.num_examples else None


def as_figures(row: ServedScenario) -> PhaseFigures:
    """Return what a scenario took as the row of a phase, for whoever prices those."""
    return PhaseFigures(
        phase="serve",
        wall_second=row.wall_second,
        energy_total_joule=row.energy_total_joule,
        energy_total_joule_low=row.energy_total_joule_low,
        energy_total_joule_high=row.energy_total_joule_high,
        energy_total_source=row.energy_total_source,
        energy_idle_joule=row.energy_idle_joule,
    )


def served_rows(choices: Sequence[Choice]) -> list[ServedRow]:
    """Return the rows of all choices, in the order of the studies: runtimes, then scenarios."""
    rows = []
    for choice in choices:
        found: dict[tuple[str, str], list[tuple[Run, ServedScenario]]] = {}
        for run, runtime in served_runtimes(choice):
            for scenario in runtime.scenarios:
                found.setdefault((runtime.label, scenario.scenario), []).append((run, scenario))
        rows += [ServedRow(choice, *key, tuple(runs)) for key, runs in found.items()]
    return rows


def served_runtimes(choice: Choice) -> list[tuple[Run, ServedRuntime]]:
    """Return every runtime that served in a finished run of a choice."""
    return [(run, runtime) for run in choice.finished for runtime in run.record.serving]


def by_runtime(choice: Choice) -> Mapping[str, list[tuple[Run, ServedRuntime]]]:
    """Group them by the runtime's label."""
    found: dict[str, list[tuple[Run, ServedRuntime]]] = {}
    for run, runtime in served_runtimes(choice):
        found.setdefault(runtime.label, []).append((run, runtime))
    return found


@dataclass(frozen=True)
class BreakEven:
    """After how many summaries serving has taken as much as making the model did. None = unknown.

    The intervals set one end of training's sensor interval against the other end of serving's: wide on purpose.
    """

    training_joule: Interval | None
    by_energy: Interval | None
    by_carbon: Interval | None  # operational and embodied
    by_cost: float | None  # by machine time, which any price multiplies alike
    reason: str = "no sensor read its energy"


def break_even(row: ServedRow, pricing: Pricing) -> BreakEven:
    """Weigh training against serving, over the runs of a row."""
    making = [(pricing.place(run.record), making_figures(run.record)) for run, _ in row.runs]
    figures = [figure for _, figure in making]
    num_runs = len(figures)
    if row.choice.is_baseline or not num_runs:
        return BreakEven(None, None, None, None, reason="training-free")
    likely, low, high = (known_energy(figures, end) for end in ("", "_low", "_high"))
    second = math.fsum(f.wall_second for f in figures) / num_runs
    per_summary_second, per_summary = row.second_per_summary(), row.joule_per_summary()
    training = None
    if likely is not None:
        training = Interval(
            likely / num_runs, None if low is None else low / num_runs, None if high is None else high / num_runs
        )
    return BreakEven(
        training_joule=training,
        by_energy=None if training is None or per_summary is None else quotient(training, per_summary),
        by_carbon=_by_carbon(making, row, pricing, training, per_summary),
        by_cost=second / per_summary_second if per_summary_second else None,
    )


def quotient(whole: Interval, each: Interval) -> Interval | None:
    """Divide, setting opposite ends against each other; None where nothing is taken each time."""
    if each.value <= 0:
        return None
    is_known = whole.low is not None and whole.high is not None and each.low and each.high
    if not is_known:
        return Interval(whole.value / each.value)
    assert whole.low is not None and whole.high is not None and each.low and each.high
    return Interval(whole.value / each.value, whole.low / each.high, whole.high / each.low)


def _by_carbon(
    making: Iterable[tuple[Place, PhaseFigures]],
    row: ServedRow,
    pricing: Pricing,
    training: Interval | None,
    per_summary: Interval | None,
) -> Interval | None:
    """Weigh CO2e with the likely factors alone: their doubt multiplies both sides alike."""
    rows = list(making)
    whole, each = pricing.price(rows), row.priced(pricing)
    if training is None or per_summary is None:
        return None
    once = _carbon(whole, training, len(rows))
    again = _carbon(each, per_summary, row.num_examples)
    return None if once is None or again is None else quotient(once, again)


def _carbon(priced: Priced, joule: Interval, count: int) -> Interval | None:
    """Return kg a piece with the ends that the sensors warrant; the embodied share goes with time and has none."""
    operational_kg = priced.co2e_operational_kg
    if operational_kg is None or joule.value <= 0:
        return None
    embodied_kg = (priced.co2e_embodied_kg or 0.0) / count
    kg_per_joule = operational_kg / count / joule.value
    low, high = (None if end is None else end * kg_per_joule + embodied_kg for end in (joule.low, joule.high))
    return Interval(joule.value * kg_per_joule + embodied_kg, low, high)


def frugal_sentences(choices: Sequence[Choice], pricing: Pricing) -> tuple[str, ...]:
    """Say of each choice which runtime takes least a summary, and when that outweighs making the model."""
    said = []
    for choice in choices:
        known = [(joule.value, row) for row in served_rows([choice]) if (joule := row.joule_per_summary()) is not None]
        if not known:
            continue
        least_joule, row = min(known, key=lambda pair: pair[0])
        sentence = (
            f"{choice.label} takes least on {row.runtime}, {row.scenario}: {measure(least_joule, 'energy')} a summary"
        )
        found = break_even(row, pricing).by_energy
        if found is not None:
            ends = "" if found.low is None or found.high is None else f" ({number(found.low)} to {number(found.high)})"
            sentence += f"; after {number(found.value)} summaries{ends} serving outweighs making the model"
        said.append(f"{sentence}.")
    return tuple(said)
