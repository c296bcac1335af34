"""Searches as the records tell them: what each reached, for how much energy, and what its winner costs alone.

The bill of a search is everything that was run for it: every trial, failed and repeated ones, reading and writing the
models that trials go on from, and the winner's last run. Energy is counted in the order of the trials.

Source: expected best of k trials: J. Dodge et al., "Show Your Work: Improved Reporting of Experimental Results", EMNLP
2019, equation 1; its bias: R. Tang et al., "Showing Your Work Doesn't Always Work", ACL 2020.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from kilowit.record import Record
from kilowit.report.read_runs import RunSource, read_runs
from kilowit.report.runs import Run, known_energy, model_label
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval, ratio_interval

COSTS: Final = ("validation_loss", "energy_kwh", "wall_hour")  # objectives that are to be low
DRAWN_ALONE: Final = ("random", "grid")  # whose trials do not depend on one another
_COPIES: Final = "load"


def is_trial(record: Record) -> bool:
    """Whether a record is a trial: a step of a search, judged on the validation split, and no choice of its own."""
    return (record.cell.get("search") or {}).get("role") == "trial"


def expected_best(values: Sequence[float], k: int, *, is_high_better: bool = True) -> float:
    """Return the expected best of k trials drawn from those seen, with replacement.

    >>> expected_best([1.0, 2.0], 2)
    1.75
    """
    ordered = sorted(values, reverse=not is_high_better)
    num = len(ordered)
    return math.fsum(value * (((i + 1) / num) ** k - (i / num) ** k) for i, value in enumerate(ordered))


@dataclass(frozen=True)
class Step:
    """What a search had spent and reached after one trial; `best` is None until a trial has a value."""

    energy_joule: float
    flop: float
    best: float | None


@dataclass(frozen=True)
class SearchRuns:
    """One search: one seed of the study."""

    records: tuple[Record, ...]  # all of it, oldest first

    @cached_property
    def asked(self) -> Mapping[str, Any]:
        """What its cells say of it."""
        asked: Mapping[str, Any] = self.records[0].cell["search"]
        return asked

    @property
    def seed(self) -> int:
        """The seed of the template."""
        return int(self.asked["seed"])

    @property
    def objective(self) -> str:
        """The first objective."""
        return str(self.asked["objective"][0])

    @property
    def is_high_better(self) -> bool:
        """Whether the first objective is to be high."""
        return self.objective not in COSTS

    @cached_property
    def trials(self) -> dict[int, list[Record]]:
        """The records of each trial, repeated attempts included."""
        found: dict[int, list[Record]] = {}
        for record in self.records:
            if is_trial(record):
                found.setdefault(int(record.cell["search"]["trial"]), []).append(record)
        return dict(sorted(found.items()))

    @cached_property
    def winners(self) -> list[Record]:
        """The finished runs of the winners on the test split; of the same trial the latest."""
        found = {r.cell["search"]["trial"]: r for r in self.records if not is_trial(r) and r.status == "finished"}
        return list(found.values())

    def value(self, records: Sequence[Record]) -> float | None:
        """Return the objective of a trial, None if it failed."""
        finished = [record for record in records if record.status == "finished"]
        return None if not finished else _objective(finished[-1], self.objective)

    @cached_property
    def values(self) -> list[float]:
        """The objective of every trial that has one, in order."""
        return [value for records in self.trials.values() if (value := self.value(records)) is not None]

    @cached_property
    def steps(self) -> list[Step]:
        """What was spent and reached, trial by trial."""
        energy, flop, best = 0.0, 0.0, None
        found = []
        for records in self.trials.values():
            energy += energy_of(records)
            flop += math.fsum(p.flop_total for r in records for p in r.phases if p.flop_total is not None)
            value = self.value(records)
            if value is not None and (best is None or (value > best) == self.is_high_better):
                best = value
            found.append(Step(energy, flop, best))
        return found

    @property
    def energy_joule(self) -> float:
        """The whole bill."""
        return energy_of(self.records)

    @property
    def winner(self) -> Record | None:
        """The run of the best trial on the test split; None while the search is unfinished."""
        return self.winners[0] if self.winners else None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the winner was set to, by the names of the search space; empty while the search is unfinished."""
        found: Mapping[str, Any] = {} if self.winner is None else self.winner.cell["search"]["parameters"]
        return found

    @property
    def num_failed(self) -> int:
        """Trials without a result."""
        return sum(self.value(records) is None for records in self.trials.values())

    @property
    def energy_of_copies_joule(self) -> float:
        """Writing models for later trials, and reading them there."""
        rows = [
            phase
            for record in self.records
            for phase in record.phases
            if phase.phase == "save" or (phase.phase == _COPIES and record.cell["search"].get("continues") is not None)
        ]
        return known_energy(rows) or 0.0

    def energy_of_winner(self, winner: Record) -> float:
        """Return what the winner takes alone: its own run and those of the models that it goes on from."""
        energy, before = energy_of([winner]), winner.cell["search"].get("continues")
        while before is not None:
            records = [r for r in self.trials.get(int(before), []) if r.status == "finished"]
            energy += energy_of(records[-1:])
            before = records[-1].cell["search"].get("continues") if records else None
        return energy

    def spent_to_reach(self, target: float, what: str = "energy_joule") -> float | None:
        """Return what the search had spent when it first was as good as a target; None = it never was."""
        for step in self.steps:
            if step.best is not None and (step.best >= target if self.is_high_better else step.best <= target):
                return float(getattr(step, what))
        return None


@dataclass(frozen=True)
class SearchGroup:
    """The repeats of one search: the same but for the seed."""

    label: str
    repeats: tuple[SearchRuns, ...]

    @property
    def algorithm(self) -> str:
        """Its name among the searches."""
        return str(self.repeats[0].asked["algorithm"])

    @property
    def objective(self) -> str:
        """The first objective."""
        return self.repeats[0].objective

    @property
    def arena(self) -> str:
        """What searches must share to be compared: model, data, recipe, objective."""
        return _arena(self.repeats[0])

    def best(self) -> Interval | None:
        """Return the objective of the best trial, over repeats."""
        finals = [search.steps[-1].best for search in self.repeats if search.steps]
        known = [value for value in finals if value is not None]
        return mean_interval(known) if known else None

    def best_within(self, energy_joule: float) -> list[float]:
        """Return the best that each repeat had reached within an energy, of those that had a value by then."""
        found = []
        for search in self.repeats:
            bests = [s.best for s in search.steps if s.energy_joule <= energy_joule and s.best is not None]
            found += bests[-1:]
        return found

    def expected_best_after(self, k: int) -> Interval | None:
        """Return the expected best of k trials, over repeats; None where trials are not drawn alone, or fewer."""
        if self.algorithm not in DRAWN_ALONE or min(len(s.values) for s in self.repeats) < k:
            return None
        return mean_interval([expected_best(s.values, k, is_high_better=s.is_high_better) for s in self.repeats])


def searches(runs: RunSource) -> list[SearchRuns]:
    """Return every search of a store, its folder or records: trials, winner, parameters, the whole bill.

    Example:
        >>> searches("runs")[0].parameters  # doctest: +SKIP
        {'train.learning_rate': 0.0021}
    """
    records, _ = read_runs(runs)
    return [search for group in search_groups(records) for search in group.repeats]


def search_groups(records: Sequence[Record]) -> list[SearchGroup]:
    """Group the records of searches by search and then by all but the seed."""
    searches: dict[str, list[Record]] = {}
    for record in records:
        if record.cell.get("search"):
            searches.setdefault(str(record.cell["search"]["search_key"]), []).append(record)
    groups: dict[str, list[SearchRuns]] = {}
    for own in searches.values():
        search = SearchRuns(tuple(own))
        asked = search.asked
        key = json.dumps([_arena(search), asked["algorithm"], asked["options"], asked["space"]], sort_keys=True)
        groups.setdefault(key, []).append(search)
    found = [SearchGroup(_label(g[0]), tuple(sorted(g, key=lambda s: s.seed))) for g in groups.values()]
    return sorted(found, key=lambda g: (g.arena, g.label))


def equal_quality(
    group: SearchGroup, reference: SearchGroup, what: str = "energy_joule"
) -> tuple[Interval | None, int]:
    """Return what a search spent to be as good as a reference search at its end, over all that the reference spent.

    Args:
        group: the search.
        reference: e.g. the grid on the same task; repeats are paired by seed.
        what: ``energy_joule`` or ``flop``.

    Returns:
        The geometric mean over the repeats that became as good, with its t interval; and how many did not.
    """
    of_reference = {search.seed: search for search in reference.repeats}
    pairs, num_missed = [], 0
    for search in group.repeats:
        other = of_reference.get(search.seed)
        if other is None or not other.steps or other.steps[-1].best is None:
            continue
        spent = search.spent_to_reach(other.steps[-1].best, what)
        if spent is None:
            num_missed += 1
        else:
            pairs.append((spent, float(getattr(other.steps[-1], what))))
    return (ratio_interval(pairs) if pairs else None), num_missed


def energy_of(records: Sequence[Record]) -> float:
    """Return the joules of runs, all phases; what was not read adds nothing."""
    return known_energy([phase for record in records for phase in record.phases]) or 0.0


def scores_of_winners(group: SearchGroup, metric: str) -> list[float]:
    """Return a score of the winner of each repeat, on the test split."""
    found = [value for s in group.repeats for w in s.winners[:1] if (value := Run(w).value(metric)) is not None]
    return found


def bill_of(group: SearchGroup) -> tuple[float, float, float]:
    """Return the mean joules of a search, of its copies, and of its winner alone."""
    winners = [s.energy_of_winner(w) for s in group.repeats for w in s.winners[:1]]
    return (
        statistics.fmean(s.energy_joule for s in group.repeats),
        statistics.fmean(s.energy_of_copies_joule for s in group.repeats),
        statistics.fmean(winners) if winners else 0.0,
    )


def _objective(record: Record, name: str) -> float | None:
    if name == "validation_loss":
        return Run(record).value("validate.loss_last")
    if name in ("energy_kwh", "wall_hour"):
        value = Run(record).value("run.energy_total_joule" if name == "energy_kwh" else "run.wall_second")
        return None if value is None else value / (3.6e6 if name == "energy_kwh" else 3600)
    return Run(record).value(name)


def _arena(search: SearchRuns) -> str:
    cell, asked = search.records[0].cell, search.asked
    settings = {k: v for k, v in asked["template"]["settings"].items() if k in ("train", "predict")}
    shared = [
        asked["template"]["model"],
        cell["dataset"],
        cell["recipe"],
        cell["methods"],
        settings,
        asked["objective"],
    ]
    return json.dumps([*shared, sorted(asked["space"])], sort_keys=True, default=str)


def _label(search: SearchRuns) -> str:
    cell = search.records[0].cell
    words = [model_label(search.asked["template"]["model"]), str(cell.get("recipe", "")), search.asked["algorithm"]]
    return " · ".join(word for word in words if word)
