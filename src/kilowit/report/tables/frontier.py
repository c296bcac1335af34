"""The front as a table, and the comparisons behind every verdict of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.report.comparisons import Comparisons
from kilowit.report.effects import ENERGY, METRIC_LABELS
from kilowit.report.frontier import SUMMARIES, Frontier
from kilowit.report.quantity import measure
from kilowit.report.runs import Choice
from kilowit.report.table import Column, Entry, Table
from kilowit.statistics import carburacy
from kilowit.statistics.contrast import Contrast
from kilowit.statistics.interval import MIN_REPEATS
from kilowit.statistics.means import mean_interval

_TOO_MANY: Final = "too many choices to draw them together"


def frontier_table(frontiers: Sequence[Frontier]) -> Table:
    """Return every choice with its place beside the front of its dataset."""
    metric = METRIC_LABELS.get(frontiers[0].of.metric, frontiers[0].of.metric) if frontiers else ""
    columns = (
        Column("choice", "Choice"),
        Column("num_repeats", "n", "count"),
        Column("score", metric, "score"),
        Column("run.energy_total_kwh", "Energy of a run", "energy_wh"),
        Column("predict.energy_per_1000_kwh", "1,000 summaries", "energy_wh"),
        Column("on_front_fraction", "On the front, P", "fraction"),
        Column("energy_equal_quality_ratio", "Equal score for", "ratio"),
        Column("price_against", "One more point, against"),
        Column("price_energy_joule", "Energy", "energy"),
        Column("price_co2e_kg", "CO2e", "mass"),
        Column("price_cost_usd", "On demand", "money"),
        Column("carburacy", "Carburacy", "plain"),
    )
    rows = tuple(_row(frontier, i) for frontier in frontiers for i in range(len(frontier.choices)))
    notes = [note for frontier in frontiers if frontier.choices for note in _notes(frontier)]
    return Table("frontier", "The front in numbers", columns, rows, (*_NOTES, *notes) if rows else ())


_NOTES: Final = (
    "P: share of 10,000 joint draws (test examples together, seeds and energies by Student's t) in which no other "
    "choice scores no less for no more energy. With fewer than 3 seeds what another seed would change is not in it.",
    "Equal score for: the least energy with which any choice reaches this score, over this choice's own; [a, b] by the "
    "same draws.",
    "One more point: what a point of score (of 100) costs over the cheaper choice before it on the front; none where "
    "the two scores cannot be told apart.",
    f"Carburacy (Moro et al. 2023): harmonic mean of R^(1 / ln α) / (1 + β C) for training and use; R = mean / "
    f"(1 + variance) of ROUGE-1, -2 and -Lsum; α = {carburacy.ALPHA:g}; β = {carburacy.BETA_TRAIN:g} for training, C = "
    f"kg CO2e of one fine-tuning; β = {carburacy.BETA_TEST:g} for use, C = kg CO2e of {SUMMARIES:,} summaries. C is "
    "absolute and published values count other things: it compares within this report only.",
)


def _notes(frontier: Frontier) -> list[str]:
    energy, score = frontier.reference
    lead = "lead" if frontier.of.lead is not None else "0, for want of a lead baseline"
    volume = frontier.volume
    span = "" if volume.low is None or volume.high is None else f" [{100 * volume.low:.2f}, {100 * volume.high:.2f}]"
    return [
        f"{frontier.choices[0].dataset}: hypervolume {100 * volume.value:.2f} %{span} of the rectangle between the "
        f"reference point ({measure(energy, 'energy_wh')}: the dearest choice; score {100 * score:.2f}: {lead}) and "
        "(0, 100). Compare it only with a report that has the same reference point."
    ]


def _row(frontier: Frontier, index: int) -> tuple[Entry, ...]:
    choice = frontier.choices[index]
    score, energy, price = frontier.of.quality(choice), choice.interval(ENERGY), frontier.price(choice)
    assert energy is not None
    equal, served = frontier.equal_quality[index], frontier.energy_of_summaries(choice)
    chance = Entry(frontier.probabilities[index]) if frontier.is_drawn else Entry.unknown(_TOO_MANY)
    value, why = frontier.carburacy(choice)
    per_summaries = mean_interval(served) if served else None
    return (
        Entry(choice.label),
        Entry(len(choice.finished)),
        Entry(score.value, score.low, score.high),
        Entry(energy.value, energy.low, energy.high),
        Entry.unknown("the energy of prediction was not read")
        if per_summaries is None
        else Entry(per_summaries.value, per_summaries.low, per_summaries.high),
        chance,
        Entry(equal.value, equal.low, equal.high),
        Entry(price.against or None, reason=price.reason),
        Entry(price.energy_joule, reason=price.reason),
        Entry(price.co2e_kg, reason=price.reason),
        Entry(price.cost_usd, reason=price.reason_cost if price.energy_joule is not None else price.reason),
        Entry(value, reason=why),
    )


_COMPARISON_COLUMNS: Final = (
    Column("choice", "Choice"),
    Column("against", "Against"),
    Column("num_repeats", "n", "count"),
    Column("difference", "Difference", "score"),
    Column("wins_ties_losses", "Wins / ties / losses", is_figure_text=True),
    Column("p_outputs", "p, examples", "p", digits=2),
    Column("p_method", "p, method", "p", digits=2),
    Column("p_method_holm", "p, Holm", "p", digits=2),
    Column("verdict", "Verdict"),
)


def comparison_table(compared: Sequence[Comparisons]) -> Table:
    """Return the comparisons of scores that the report draws on, each dataset a family of its own."""
    rows = tuple(
        _comparison_row(a, b, comparisons.contrast(a, b)) for comparisons in compared for a, b in comparisons.pairs
    )
    metric = METRIC_LABELS.get(compared[0].metric, compared[0].metric) if compared else ""
    return Table(
        "comparisons", f"Comparisons by {metric}", _COMPARISON_COLUMNS, rows, _COMPARISON_NOTES if rows else ()
    )


_COMPARISON_NOTES: Final = (
    "Difference × 100 on the same test examples, [a, b]: 95 % interval over seeds and examples (two-level bootstrap, "
    "10,000 draws; with fewer than 3 seeds over examples alone). Wins: examples on which the choice scores "
    "higher, mean "
    "over seeds. Without scores of the same examples: from the intervals of the records, as if the examples "
    "were others.",
    "p, examples: approximate randomisation (10,000 sign flips) of these outputs. p, method: over seeds and examples. "
    "p, Holm: the latter, corrected for all comparisons of the dataset in this table; at most 0.05 gives a verdict. "
    "Single run: fewer than 3 seeds, so nothing is said of the method.",
)
_NO_EXAMPLES: Final = "no scores of the same examples"
_FEW_SEEDS: Final = f"fewer than {MIN_REPEATS} seeds"


def _comparison_row(a: Choice, b: Choice, contrast: Contrast) -> tuple[Entry, ...]:
    difference = contrast.difference
    counts = None
    if contrast.num_examples is not None:
        counts = f"{contrast.num_wins:,} / {contrast.num_ties:,} / {contrast.num_losses:,}"
    return (
        Entry(a.label),
        Entry(b.label),
        Entry(difference.num_repeats),
        Entry(difference.value, difference.low, difference.high),
        Entry(counts, reason=_NO_EXAMPLES),
        Entry(contrast.p_outputs, reason="no interval of the examples"),
        Entry(contrast.p_method, reason=_FEW_SEEDS),
        Entry(contrast.p_method_holm, reason=_FEW_SEEDS),
        Entry(contrast.verdict),
    )
