"""Scores per test example, read from ``predictions.jsonl``: they make comparisons sharper, and show what was said."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kilowit.report.runs import Run
from kilowit.report.statistics import Z95

# Below this the mean of per-example differences is not near enough to normal for a z interval.
MIN_EXAMPLES = 30


@dataclass(frozen=True)
class Prediction:
    """One summary that a run wrote."""

    example_id: str
    text: str
    scores: Mapping[str, float]


class ExampleScores:
    """Per-example scores of runs, each file read once and only when a comparison asks for it."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Take the path of ``predictions.jsonl`` by run id; a path that does not exist counts as no scores."""
        self._files = dict(files)
        self._scores: dict[tuple[str, str], Mapping[str, float]] = {}

    def of(self, run: Run, metric: str) -> Mapping[str, float]:
        """Return the metric by example id; empty when the file is missing or does not have it."""
        key = (run.record.run_id, metric)
        if key not in self._scores:
            found = self._read(run.record.run_id)
            self._scores[key] = {p.example_id: p.scores[metric] for p in found if metric in p.scores}
        return self._scores[key]

    def half_width(self, a: Sequence[Run], b: Sequence[Run], metric: str) -> float | None:
        """Half the 95 % interval of the mean difference over the same test examples; None without them.

        Scores of an example are averaged over a choice's seeds first: seeds share their examples.
        Source: paired z interval; Dror et al. 2018, The Hitchhiker's Guide to Testing Statistical Significance in NLP.
        """
        mean_a, mean_b = self._mean_by_example(a, metric), self._mean_by_example(b, metric)
        common = mean_a.keys() & mean_b.keys()
        if len(common) < MIN_EXAMPLES or len(common) < max(len(mean_a), len(mean_b)):
            return None
        differences = [mean_a[i] - mean_b[i] for i in sorted(common)]
        return Z95 * statistics.stdev(differences) / math.sqrt(len(differences))

    def first(self, run: Run, num: int) -> list[Prediction]:
        """Return the first predictions of a run."""
        return self._read(run.record.run_id, num)

    def _mean_by_example(self, runs: Sequence[Run], metric: str) -> dict[str, float]:
        tables = [table for run in runs if (table := self.of(run, metric))]
        if not tables:
            return {}
        common = set(tables[0]).intersection(*tables[1:])
        return {i: statistics.fmean(table[i] for table in tables) for i in common}

    def _read(self, run_id: str, num: int | None = None) -> list[Prediction]:
        path = self._files.get(run_id)
        if path is None or not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            return [p for line in islice(file, num) if (p := _parse(line)) is not None]


def _parse(line: str) -> Prediction | None:
    """Read one line; None for one that a killed worker left unfinished."""
    try:
        value = json.loads(line)
        scores = {str(k): float(v) for k, v in (value.get("scores") or {}).items()}
        return Prediction(str(value["id"]), str(value["prediction"]), scores)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
