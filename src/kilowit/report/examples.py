"""Scores per test example, read from ``predictions.jsonl``: they make comparisons sharper, and show what was said."""

from __future__ import annotations

import json
import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from kilowit.report.runs import Run

MIN_EXAMPLES: Final = 10  # with fewer, resampling them says little of other examples
_SAME: Final = 1e-5  # scores of examples are kept with six decimals


@dataclass(frozen=True)
class Prediction:
    """One summary that a run wrote."""

    example_id: str
    text: str
    scores: Mapping[str, float]
    contributions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Scores:
    """The scores of one file: ids, and by metric one value per id; of corpus scores also what each adds to them."""

    ids: tuple[str, ...] = ()
    values: dict[str, array[float]] = field(default_factory=dict)
    contributions: dict[str, array[float]] = field(default_factory=dict)


class ExampleScores:
    """Per-example scores of runs, each file read once and only when a comparison asks for it."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Take the path of ``predictions.jsonl`` by run id; a path that does not exist counts as no scores."""
        self._files = dict(files)
        self._scores: dict[str, _Scores] = {}

    def ids(self, run: Run) -> tuple[str, ...]:
        """Return the ids of the examples that are scored, in the order of the file."""
        return self._of(run).ids

    def table(self, runs: Sequence[Run], metric: str, ids: tuple[str, ...]) -> list[Sequence[float]] | None:
        """Return the metric by run and example, or None if a run does not have it for exactly these examples.

        Of a corpus score (BLEU) it is what each example adds to the score; None where a record of old lacks that.
        """
        found: list[Sequence[float]] = []
        for run in runs:
            scores, total = self._of(run), run.record.score(metric)
            values = scores.contributions.get(metric, scores.values.get(metric))
            if values is None or total is None or scores.ids != ids or len(ids) < MIN_EXAMPLES:
                return None
            if abs(statistics.fmean(values) - total.value) > _SAME * max(1.0, abs(total.value)):
                return None
            found.append(values)
        return found or None

    def alone(self, runs: Sequence[Run], metric: str) -> list[Sequence[float]]:
        """Return the metric of each example by itself, of runs that have a `table` of it."""
        return [self._of(run).values[metric] for run in runs]

    def first(self, run: Run, num: int) -> list[Prediction]:
        """Return the first predictions of a run."""
        return self._read(run.record.run_id, num)

    def _of(self, run: Run) -> _Scores:
        run_id = run.record.run_id
        if run_id not in self._scores:
            rows = [p for p in self._read(run_id) if p.scores]
            ids = tuple(p.example_id for p in rows)
            columns = [_columns([p.scores for p in rows]), _columns([p.contributions for p in rows])]
            self._scores[run_id] = _Scores(ids, *columns)
        return self._scores[run_id]

    def _read(self, run_id: str, num: int | None = None) -> list[Prediction]:
        path = self._files.get(run_id)
        if path is None or not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            return [p for line in islice(file, num) if (p := _parse(line)) is not None]


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, array[float]]:
    """Return by name the values of the rows, of the names that all of them have."""
    names = set(rows[0]).intersection(*rows) if rows else set()
    return {name: array("d", (row[name] for row in rows)) for name in sorted(names)}


def _parse(line: str) -> Prediction | None:
    """Read one line; None for one that a killed worker left unfinished."""
    try:
        value = json.loads(line)
        scores, contributions = (
            {str(k): float(v) for k, v in (value.get(kind) or {}).items()} for kind in ("scores", "contributions")
        )
        return Prediction(str(value["id"]), str(value["prediction"]), scores, contributions)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
