"""Compare two sides: two runs, recipes, models, stores or studies. Figure by figure, paired, with intervals.

The sides are paired over what they have in common: comparing two recipes pairs runs of the same model, dataset and
seed. What lies on one side alone is left out and counted.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kilowit.errors import StudyError
from kilowit.record import Record
from kilowit.report.conditions import Condition, parse_condition
from kilowit.report.effects import METRIC_LABELS
from kilowit.report.examples import ExampleScores
from kilowit.report.quantity import Kind
from kilowit.report.read_runs import RunSource, read_runs
from kilowit.report.runs import Run, choices_of
from kilowit.report.selection import select
from kilowit.statistics.contrast import Contrast, System, contrast_of_systems, judged
from kilowit.statistics.interval import MIN_REPEATS, Interval, verdict
from kilowit.statistics.means import mean_interval, ratio_interval, variance_of_mean
from kilowit.statistics.resample import resampled_means
from kilowit.statistics.two_level import Runs, Spread

Side = str | Path | Sequence[Record]

_AXES: Final = ("model", "dataset", "recipe", "methods", "hardware", "settings", "seed")

# What is always compared, in the order of the table, with how it is shown and which way is good.
FIGURES: Final[tuple[tuple[str, str, Kind], ...]] = (
    ("run.energy_total_joule", "Energy of a run", "energy_wh"),
    ("train.energy_total_joule", "Energy, training", "energy_wh"),
    ("predict.energy_total_joule", "Energy, prediction", "energy_wh"),
    ("run.wall_second", "Time of a run", "time"),
    ("train.wall_second", "Time, training", "time"),
    ("predict.wall_second", "Time, prediction", "time"),
    ("train.examples_per_second", "Throughput, training", "rate"),
    ("predict.examples_per_second", "Throughput, prediction", "rate"),
    ("run.memory_gpu_max_byte", "VRAM, peak", "byte"),
    ("run.memory_host_max_byte", "RAM, peak", "byte"),
    ("run.flop_total", "Computed", "flop"),
    ("num_trainable_parameters", "Trainable parameters", "count"),
    ("train.loss_last", "Loss, training", "loss"),
    ("validate.loss_last", "Loss, validation", "loss"),
)


@dataclass(frozen=True)
class Compared:
    """One figure on both sides. `effect` is a ratio B / A, or for scores a difference B - A."""

    figure: str
    label: str
    kind: Kind
    a: float
    b: float
    effect: Interval
    is_difference: bool
    num_pairs: int
    contrast: Contrast | None = None  # of scores

    @property
    def verdict(self) -> str:
        """higher, lower, not distinguishable, or single run; of scores corrected for their number."""
        if self.contrast is not None:
            word = self.contrast.verdict
        else:
            word = verdict(self.effect, 0.0 if self.is_difference else 1.0, higher_is_better=True)
        return {"better": "higher", "worse": "lower"}.get(word, word)


@dataclass(frozen=True)
class Violation:
    """A condition of ``--fail-if`` that holds."""

    condition: Condition
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Two sides, figure by figure."""

    name_a: str
    name_b: str
    num_pairs: int
    num_unpaired: int
    rows: tuple[Compared, ...]
    conditions: tuple[Condition, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 when a condition of ``--fail-if`` is violated, else 0."""
        return 1 if self.violations else 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for machines."""
        rows = [
            {
                "figure": row.figure,
                "a": row.a,
                "b": row.b,
                "difference" if row.is_difference else "ratio": row.effect.value,
                "ci95_low": row.effect.low,
                "ci95_high": row.effect.high,
                "num_pairs": row.num_pairs,
                "verdict": row.verdict,
                **_contrast_values(row.contrast),
            }
            for row in self.rows
        ]
        violations = [{"fail_if": v.condition.text, "a": v.a, "b": v.b} for v in self.violations]
        return {
            "a": self.name_a,
            "b": self.name_b,
            "num_pairs": self.num_pairs,
            "num_unpaired": self.num_unpaired,
            "figures": rows,
            "violations": violations,
        }


def compare(
    a: Side,
    b: Side,
    *,
    records: RunSource = (),
    fail_if: Sequence[str] = (),
    name_a: str | None = None,
    name_b: str | None = None,
    predictions: Mapping[str, Path] | None = None,
) -> Comparison:
    """Compare B with A.

    Scores are judged over pairs (seeds) and test examples, corrected for the number of scores; costs by the t interval
    of their ratio over pairs.

    Args:
        a: records, or a selection (see `kilowit.report.selection`): a folder, ``recipe=bf16``, a run id, a label.
        b: the same.
        records: what selections that are not folders choose from: records, a store or its folder.
        fail_if: conditions such as ``train.energy_total_joule>+5%`` (see `kilowit.report.conditions`).
        name_a: what to call side A; None = the selection.
        name_b: what to call side B.
        predictions: ``predictions.jsonl`` by run id; scores are then paired by example, and wins counted. A store
            knows its own.

    Raises:
        StudyError: a selection without a run, nothing to pair, or a condition that cannot be judged.
    """
    known, files = read_runs(records, predictions=predictions)
    sides = [_finished(side, known) for side in (a, b)]
    names = [name or _name(side, default) for name, side, default in ((name_a, a, "A"), (name_b, b, "B"))]
    metrics = list(dict.fromkeys(s.metric for side in sides for run in side for s in run.record.scores))
    conditions = tuple(parse_condition(text, metrics) for text in fail_if)
    pairs = _pairs(sides[0], sides[1])
    if not pairs:
        raise StudyError(
            f"{names[0]} and {names[1]} have no cell in common to compare",
            hint="Compare sides that share model, dataset or recipe, and differ in the rest.",
        )
    rows = [row for figure, label, kind in _figures(metrics) if (row := _compared(figure, label, kind, pairs, metrics))]
    rows = _judged(rows, pairs, ExampleScores(files))
    violations = tuple(v for c in conditions if (v := _judge(c, pairs)) is not None)
    num_paired = sum(len(left) + len(right) for left, right in pairs)
    unpaired = sum(len(side) for side in sides) - num_paired
    return Comparison(names[0], names[1], len(pairs), unpaired, tuple(rows), conditions, violations)


Pair = tuple[list[Run], list[Run]]


def _finished(side: Side, records: Sequence[Record]) -> list[Run]:
    """The latest finished run of each cell of a side."""
    found = select(str(side), records) if isinstance(side, str | Path) else list(side)
    runs = [run for choice in choices_of(found) for run in choice.finished]
    if not runs and found and all(record.imported is not None for record in found):
        hint = "They were not measured as ours are; `kilowit report` sets them apart."
        raise StudyError(f"{_name(side, 'a side')} has imported runs alone", hint=hint)
    if not runs:
        raise StudyError(f"{_name(side, 'a side')} has no finished run", hint="See `kilowit status` for what failed.")
    return runs


def _name(side: Side, default: str) -> str:
    return str(side) if isinstance(side, str | Path) else default


def _axis(run: Run, axis: str) -> str:
    cell = run.record.cell
    value = cell.get(axis)
    if axis == "settings" and isinstance(value, dict):
        value = {key: value[key] for key in ("train", "predict") if key in value}
    return json.dumps(value, sort_keys=True, default=str)


def _pairs(side_a: Sequence[Run], side_b: Sequence[Run]) -> list[Pair]:
    """Pair runs that agree in every axis of the study on which the sides overlap."""
    if len(side_a) == len(side_b) == 1:
        return [([side_a[0]], [side_b[0]])]
    shared = [x for x in _AXES if {_axis(r, x) for r in side_a} & {_axis(r, x) for r in side_b}]

    def groups(side: Sequence[Run]) -> dict[tuple[str, ...], list[Run]]:
        found: dict[tuple[str, ...], list[Run]] = {}
        for run in side:
            found.setdefault(tuple(_axis(run, axis) for axis in shared), []).append(run)
        return found

    of_a, of_b = groups(side_a), groups(side_b)
    return [(of_a[key], of_b[key]) for key in of_a if key in of_b]


def _figures(metrics: Sequence[str]) -> list[tuple[str, str, Kind]]:
    return [*((m, METRIC_LABELS.get(m, m), _SCORE) for m in metrics), *FIGURES]


_SCORE: Final[Kind] = "score"


def _values(figure: str, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """The figure on both sides of each pair that knows it; several runs of one side are averaged."""
    found = []
    for left, right in pairs:
        a = [v for run in left if (v := run.value(figure)) is not None]
        b = [v for run in right if (v := run.value(figure)) is not None]
        if a and b:
            found.append((statistics.fmean(a), statistics.fmean(b)))
    return found


def _compared(figure: str, label: str, kind: Kind, pairs: Sequence[Pair], metrics: Sequence[str]) -> Compared | None:
    values = _values(figure, pairs)
    if not values:
        return None
    mean_a, mean_b = (statistics.fmean(side) for side in zip(*values, strict=True))
    is_difference = figure in metrics or kind == "loss"
    effect = mean_interval([b - a for a, b in values]) if is_difference else ratio_interval([(b, a) for a, b in values])
    if effect is None:
        return None
    return Compared(figure, label, kind, mean_a, mean_b, effect, is_difference, len(values))


def _judged(rows: Sequence[Compared], pairs: Sequence[Pair], examples: ExampleScores) -> list[Compared]:
    """Give the scores among the rows their verdicts, as one family."""
    contrasts = iter(judged([_contrast(row, pairs, examples) for row in rows if row.kind == _SCORE]))
    found = []
    for row in rows:
        if row.kind == _SCORE:
            contrast = next(contrasts)
            row = replace(row, contrast=contrast, effect=contrast.difference)
        found.append(row)
    return found


def _contrast(row: Compared, pairs: Sequence[Pair], examples: ExampleScores) -> Contrast:
    """Compare a score of B with that of A: over pairs and examples, or over pairs alone without scores of examples."""
    paired = _paired_examples(row.figure, pairs, examples)
    if paired is not None:
        runs_a, runs_b = paired
        means = resampled_means([*runs_a, *runs_b])
        of_a, of_b = ([examples.alone(pair[side], row.figure)[0] for pair in pairs] for side in (0, 1))
        a, b = System(runs_a, means[: len(runs_a)], alone=of_a), System(runs_b, means[len(runs_a) :], alone=of_b)
        return contrast_of_systems(b, a, paired=True)
    values = [b - a for a, b in _values(row.figure, pairs)]
    if len(values) < MIN_REPEATS:
        return Contrast(row.effect)
    p_value = Spread(variance_of_mean(values), len(values) - 1, 0.0, 0).p_value(row.effect.value)
    return Contrast(row.effect, p_method=p_value)


def _paired_examples(figure: str, pairs: Sequence[Pair], examples: ExampleScores) -> tuple[Runs, Runs] | None:
    """The score by pair and example on both sides; None unless all runs have it for the same examples."""
    ids = examples.ids(pairs[0][0][0])
    sides: list[list[Sequence[float]]] = []
    for side in (0, 1):
        tables = [examples.table(pair[side], figure, ids) for pair in pairs if len(pair[side]) == 1]
        sides.append([table[0] for table in tables if table is not None])
    return (sides[0], sides[1]) if len(sides[0]) == len(sides[1]) == len(pairs) else None


def _contrast_values(contrast: Contrast | None) -> dict[str, float | int | None]:
    if contrast is None:
        return {}
    return {
        "p_outputs": contrast.p_outputs,
        "p_method": contrast.p_method,
        "p_method_holm": contrast.p_method_holm,
        "num_wins": contrast.num_wins,
        "num_ties": contrast.num_ties,
        "num_losses": contrast.num_losses,
    }


def _judge(condition: Condition, pairs: Sequence[Pair]) -> Violation | None:
    values = _values(condition.figure, pairs)
    if not values:
        raise StudyError(
            f'"{condition.figure}" is unknown on a side, so the condition cannot be judged',
            place="--fail-if",
            hint="Name a figure that both sides have; `kilowit show RUN` lists them.",
        )
    a, b = (statistics.fmean(side) for side in zip(*values, strict=True))
    if condition.kind == "relative" and (ratio := ratio_interval([(y, x) for x, y in values])) is not None:
        violated = condition.is_violated(1.0, ratio.value)  # the ratio that the table shows
    else:
        violated = condition.is_violated(a, b)
    return Violation(condition, a, b) if violated else None
