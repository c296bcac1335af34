"""What searches reached and spent, beside what their winners take alone; and the expected best of k trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from kilowit.report.effects import METRIC_LABELS
from kilowit.report.searches import SearchGroup, bill_of, equal_quality, scores_of_winners
from kilowit.report.table import Column, Entry, Table
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval

NUM_TRIALS: Final = (1, 2, 4, 8, 16, 32)
_NO_WINNER: Final = "no winner was run on the test split"


def search_table(groups: Sequence[SearchGroup], metric: str) -> Table:
    """Return a row for each search."""
    columns = (
        Column("search", "Search"),
        Column("num_repeats", "n", "count"),
        Column("num_trials", "Trials", "plain"),
        Column("num_failed", "Failed", "plain"),
        Column("objective", "Objective"),
        Column("best", "Best trial", "plain", digits=4),
        Column("score", f"Winner, {METRIC_LABELS.get(metric, metric)}", "score"),
        Column("search.energy_total_kwh", "Energy of a search", "energy_wh"),
        Column("copies.energy_total_kwh", "of it copies", "energy_wh"),
        Column("winner.energy_total_kwh", "Winner alone", "energy_wh"),
        Column("search_over_winner_ratio", "Search / winner", "ratio"),
        Column("equal_quality_ratio", "As good as the grid for", "ratio"),
    )
    rows = tuple(_row(group, groups, metric) for group in groups)
    return Table("searches", "Searches", columns, rows, _NOTES if rows else ())


_NOTES: Final = (
    "n: repeats, each with a seed of its own for the search and the training. Best trial: by the objective on the "
    "validation split. Winner: the best trial's last run once more, on the test split.",
    "Energy of a search: everything run for it, failed and early-stopped trials, copies and the winner's run included. "
    "Winner alone: its own run and those of the models that it goes on from.",
    "As good as the grid for: the energy until a trial was as good as the best of the grid with the same seed, over "
    "all that the grid took; geometric mean over the repeats that became as good.",
)


def _row(group: SearchGroup, groups: Sequence[SearchGroup], metric: str) -> tuple[Entry, ...]:
    searches = group.repeats
    whole, copies, winner = bill_of(group)
    scores = scores_of_winners(group, metric)
    energies = mean_interval([search.energy_joule for search in searches])
    return (
        Entry(group.label),
        Entry(len(searches)),
        Entry(statistics.fmean(len(search.trials) for search in searches)),
        Entry(statistics.fmean(search.num_failed for search in searches)),
        Entry(", ".join(searches[0].asked["objective"])),
        _entry(group.best(), "no trial has a result"),
        _entry(mean_interval(scores) if scores else None, _NO_WINNER),
        _entry(energies, ""),
        Entry(copies),
        Entry(winner or None, reason=_NO_WINNER),
        Entry(whole / winner if winner else None, reason=_NO_WINNER),
        _against_grid(group, groups),
    )


def _against_grid(group: SearchGroup, groups: Sequence[SearchGroup]) -> Entry:
    grid = next((g for g in groups if g.algorithm == "grid" and g.arena == group.arena), None)
    if grid is None:
        return Entry.unknown("no grid of the same settings was run")
    ratio, num_missed = equal_quality(group, grid)
    if ratio is None:
        return Entry.unknown("never as good as the grid")
    note = f" ({num_missed} of {num_missed + ratio.num_repeats} never)" if num_missed else ""
    return Entry(ratio.value, ratio.low, ratio.high, note=note)


def _entry(interval: Interval | None, reason: str) -> Entry:
    return Entry.unknown(reason) if interval is None else Entry(interval.value, interval.low, interval.high)


def expected_best_table(groups: Sequence[SearchGroup]) -> Table:
    """Return the expected best objective after k trials, of searches whose trials do not depend on one another."""
    ks = [k for k in NUM_TRIALS if any(group.expected_best_after(k) for group in groups)]
    columns = (
        Column("search", "Search"),
        Column("objective", "Objective"),
        *(Column(f"best_of_{k}", f"k = {k}", "plain", digits=4) for k in ks),
    )
    rows = tuple(
        (
            Entry(group.label),
            Entry(group.objective),
            *(_entry(group.expected_best_after(k), "fewer trials") for k in ks),
        )
        for group in groups
        if ks and group.expected_best_after(ks[0]) is not None
    )
    return Table("expected_best", "Expected best after k trials", columns, rows, _BEST_NOTES if rows else ())


_BEST_NOTES: Final = (
    "Expected best of k trials drawn with replacement from those that were run (Dodge et al. 2019), mean over repeats; "
    "failed trials are left out. It is biased towards worse for k near the number of trials (Tang et al. 2020), and "
    "has no meaning where a trial depends on those before it: those searches are not listed.",
)
