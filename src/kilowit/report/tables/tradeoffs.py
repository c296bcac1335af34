"""Trade-offs: what each method's card promises beside what this study measured, paired with the recipe without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit import parts
from kilowit.errors import PartError
from kilowit.parts.method import Expectation
from kilowit.report.effects import METRIC_LABELS, cost_ratio
from kilowit.report.evidence import EvidenceBook
from kilowit.report.runs import Choice
from kilowit.report.table import Column, Entry, Table
from kilowit.statistics.interval import MIN_REPEATS, Interval

COLUMNS: Final = (
    Column("method", "Method"),
    Column("choice", "Choice"),
    Column("without", "Compared with"),
    Column("figure", "Figure"),
    Column("expected", "Expected (card)", is_figure_text=True),
    Column("measured", "Measured", is_figure_text=True),
    Column("measured_interval", "95 % interval", is_figure_text=True),
    Column("num_pairs", "n", "count"),
    Column("verdict", "Verdict"),
)

# What every method is judged by, whether or not its card speaks of it.
DEFAULT_FIGURES: Final = (
    Expectation("train.energy_total_joule", 0, 0, "ratio"),
    Expectation("train.wall_second", 0, 0, "ratio"),
    Expectation("train.memory_gpu_max_byte", 0, 0, "ratio"),
    Expectation("rouge2", 0, 0, "difference"),
)
RAM: Final = Expectation("train.memory_host_max_byte", 0, 0, "ratio")  # where there is no GPU memory to save


@dataclass(frozen=True)
class Tradeoff:
    """One figure of one method: the card's range beside the measured effect."""

    method: str
    choice: Choice
    without: Choice
    figure: str
    kind: str  # ratio | difference
    expected: tuple[float, float] | None
    no_expectation: str  # why there is none
    measured: Interval

    @property
    def verdict(self) -> str:
        """Judge the interval against the card: inside, outside, or between; one run judges nothing."""
        if not self.measured.is_known or self.measured.low is None or self.measured.high is None:
            return "single run"
        if self.expected is None:
            return "no expectation"
        low, high = self.expected
        if low <= self.measured.low and self.measured.high <= high:
            return "inside"
        if self.measured.high < low or self.measured.low > high:
            return "outside"
        return "not distinguishable"


def tradeoffs_of(choices: Sequence[Choice], book: EvidenceBook) -> list[Tradeoff]:
    """Return the trade-offs of every method that some recipe leaves out, and of every recipe of several as a whole."""
    found: list[Tradeoff] = []
    partners = {(c.without_methods_key, c.methods): c for c in choices if c.finished}
    for choice in (c for c in choices if c.finished):
        for name, options in choice.methods:
            rest = tuple(m for m in choice.methods if m != (name, options))
            if (partner := partners.get((choice.without_methods_key, rest))) is not None:
                found += _of_method(name, choice, partner, book)
        if len(choice.methods) > 1 and (plain := partners.get((choice.without_methods_key, ()))) is not None:
            together = " + ".join(name for name, _ in choice.methods)
            effects = _effects(DEFAULT_FIGURES, choice, plain, book)
            why_not = "cards speak of one method alone"
            found += [Tradeoff(together, choice, plain, e.figure, e.kind, None, why_not, i) for e, i in effects]
    return sorted(found, key=lambda t: t.method)


def tradeoff_table(tradeoffs: Sequence[Tradeoff]) -> Table:
    """Return the trade-offs as a table."""
    notes = (
        "Ratio: with the method over without it, geometric mean over pairs with the same seed, t interval on the log "
        "scale. Scores: difference × 100. Each method is set beside the recipe that lacks it alone; a recipe of "
        "several also as a whole beside plain fine-tuning.",
        "Inside: the whole interval lies in the card's range. Outside: none of it does. Not distinguishable: it lies "
        "across an end of the range. Single run: fewer than 3 seeds.",
    )
    rows = tuple(_row(t) for t in tradeoffs)
    return Table("tradeoffs", "Trade-offs of the methods", COLUMNS, rows, notes if rows else ())


def expectations(method: str) -> tuple[tuple[Expectation, ...], str]:
    """Return what a method's card expects, and if nothing, why."""
    try:
        module = parts.load("methods", method)
    except PartError as error:
        return (), f"card of {method} cannot be read here: {error.message}"
    return tuple(getattr(module, "EXPECTS", ())), "its card says nothing of this figure"


def _of_method(method: str, choice: Choice, partner: Choice, book: EvidenceBook) -> list[Tradeoff]:
    expected, why_not = expectations(method)
    cards = {e.figure: e for e in expected}
    figures = (*expected, *(d for d in DEFAULT_FIGURES if d.figure not in cards))
    return [
        Tradeoff(method, choice, partner, e.figure, e.kind, _span(cards.get(e.figure)), why_not, effect)
        for e, effect in _effects(figures, choice, partner, book)
    ]


def _span(card: Expectation | None) -> tuple[float, float] | None:
    return None if card is None else (card.low, card.high)


def _effects(
    figures: Sequence[Expectation], choice: Choice, partner: Choice, book: EvidenceBook
) -> list[tuple[Expectation, Interval]]:
    """The effects that both sides can show; RAM stands in where no GPU memory was read."""
    found = [(e, effect) for e in figures if (effect := _effect(e, choice, partner, book)) is not None]
    if not any("memory" in e.figure for e, _ in found) and (ram := _effect(RAM, choice, partner, book)) is not None:
        found.append((RAM, ram))
    return found


def _effect(expectation: Expectation, choice: Choice, partner: Choice, book: EvidenceBook) -> Interval | None:
    if expectation.kind != "difference":
        return cost_ratio(choice, partner, expectation.figure)
    metric = expectation.figure
    if not choice.values(metric) or not partner.values(metric):
        return None
    effect = book.of(choice, metric).contrast(choice, partner).difference
    # The verdict is on the method: without repeats, the interval of the test examples does not speak for it.
    return Interval(effect.value, num_repeats=effect.num_repeats) if effect.num_repeats < MIN_REPEATS else effect


def _row(tradeoff: Tradeoff) -> tuple[Entry, ...]:
    measured, span = tradeoff.measured, None
    if measured.low is not None and measured.high is not None:
        span = _range(tradeoff, measured.low, measured.high)
    expected = None if tradeoff.expected is None else _range(tradeoff, *tradeoff.expected)
    return (
        Entry(tradeoff.method),
        Entry(tradeoff.choice.label),
        Entry(tradeoff.without.label),
        Entry(METRIC_LABELS.get(tradeoff.figure, tradeoff.figure)),
        Entry(expected, reason=tradeoff.no_expectation),
        Entry(_write(tradeoff, measured.value)),
        Entry(span, reason="fewer than 3 seeds"),
        Entry(measured.num_repeats),
        Entry(tradeoff.verdict),
    )


def _range(tradeoff: Tradeoff, low: float, high: float) -> str:
    if tradeoff.kind == "difference":
        return f"{_write(tradeoff, low)} to {_write(tradeoff, high)}"
    return f"×{low:.3g}–{high:.3g}"


def _write(tradeoff: Tradeoff, value: float) -> str:
    if tradeoff.kind != "difference":
        return f"×{value:.3g}"
    scale = 100 if tradeoff.figure in METRIC_LABELS else 1
    return f"{scale * value:+.2f}".replace("-", "−")
