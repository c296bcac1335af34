"""`kilowit metrics judge`: how far our metrics agree with people, on any file of human judgements.

A file is a JSON array of objects, or jsonl, in the shape that UniEval made common:

    {"source": ..., "reference": ..., "system_output": ..., "scores": {"consistency": 0.8, ...},
     "doc_id": ..., "system_id": ...}

``scores`` are the human judgements, one number a dimension, the same dimensions in every row; ``doc_id`` and
``system_id`` are optional. Rows of one document are resampled together. With three systems or more, each judged on
several documents, agreement is also given between systems: of their mean scores, which is what a leaderboard needs.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from kilowit.errors import DataError, PartError, near_name_hint
from kilowit.evaluation.scoring import check_metrics, score_texts
from kilowit.evaluation.texts import Texts
from kilowit.meter import Meter
from kilowit.parts.metric import MetricCall, Written
from kilowit.parts.table_file import MAX_LINE_BYTE, numbered_rows
from kilowit.record import PhaseFigures
from kilowit.statistics.correlation import correlation_interval, kendall, pearson, spearman
from kilowit.statistics.interval import Interval

Level = Literal["summary", "system"]
DEFAULT_METRICS: Final = ("rouge", "chrf", "extractiveness")
MIN_SYSTEMS: Final = 3
_TEXTS: Final = ("source", "reference", "system_output")
_HINT: Final = 'A row is {"source": ..., "reference": ..., "system_output": ..., "scores": {"<dimension>": number}}.'


@dataclass(frozen=True)
class Agreement:
    """Correlation of one score with one human dimension. None where a side does not vary."""

    file: str
    level: Level
    dimension: str
    metric: str
    num_rows: int  # summaries, or systems
    kendall: Interval | None
    spearman: Interval | None
    pearson: Interval | None
    scoring_second: float | None = None  # what it took to score the file's summaries with this metric, all its scores
    scoring_joule: float | None = None


@dataclass(frozen=True)
class Judged:
    """One file of human judgements: parallel lists."""

    texts: Texts
    human: dict[str, list[float]]  # by dimension
    documents: list[Hashable]
    systems: list[Hashable]


def default_metrics() -> dict[str, str | None]:
    """Return the metrics that are judged if none are named, each with why it cannot be here; None = it can."""
    reasons: dict[str, str | None] = {}
    for name in DEFAULT_METRICS:
        try:
            MetricCall(name).require_packages()
            reasons[name] = None
        except PartError as error:
            reasons[name] = f"{error.message}. {error.hint}"
    return reasons


def judge(files: Iterable[str | Path], metrics: Sequence[Written] | None = None) -> list[Agreement]:
    """Hold metrics against human judgements.

    Args:
        files: each as the module says.
        metrics: as in a study: names, or ``{name: {option: value}}``; every score of each is judged.
            None = `DEFAULT_METRICS`, of them what the installed packages allow.

    Raises:
        DataError: a file or a row is not as it should be; says file and line or row.
        StudyError: no such metric.
        PartError: an option of a metric is wrong, or what it needs is not installed.
    """
    if metrics is None:
        metrics = [name for name, reason in default_metrics().items() if reason is None]
    calls = check_metrics(metrics)
    with Meter() as meter:
        return [agreement for path in files for agreement in _judge_file(read_judged(Path(path)), calls, meter)]


def read_judged(path: Path) -> Judged:
    """Read a file of human judgements.

    Raises:
        DataError: it is not as the module says.
    """
    rows, places = _rows(path)
    if not rows:
        raise DataError("holds no judgements", place=str(path), hint=_HINT)
    dimensions = _dimensions(rows[0], places[0])
    human: dict[str, list[float]] = {name: [] for name in dimensions}
    for row, place in zip(rows, places, strict=True):
        for name in _TEXTS:
            if not isinstance(row.get(name), str):
                raise DataError(f'"{name}" is missing or not text', place=place, hint=_HINT)
        found = _dimensions(row, place)
        if set(found) != set(dimensions):
            odd = sorted(set(found) ^ set(dimensions))[0]
            raise DataError(f'dimension "{odd}" is not in every row', place=place, hint="Judge all rows alike.")
        for name, value in found.items():
            human[name].append(value)
    source, reference, output = ([str(row[name]) for row in rows] for name in _TEXTS)
    documents: list[Hashable] = [_key(row.get("doc_id", i)) for i, row in enumerate(rows)]
    texts = Texts(str(path), output, reference, source, places=places)
    return Judged(texts, human, documents, [_key(row.get("system_id")) for row in rows])


def _rows(path: Path) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the rows of a JSON array or of jsonl, and where each stands."""
    if path.suffix.lower() != ".json":
        numbered = list(numbered_rows(path))
        return [row for _, row in numbered], [f"{path}:{line}" for line, _ in numbered]
    try:
        if path.stat().st_size > 16 * MAX_LINE_BYTE:
            raise DataError("is larger than 1 GiB", place=str(path), hint="Write it as jsonl, in parts.")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", place=str(path), hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 ({error.reason})", place=str(path), hint="Convert it with iconv.") from error
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", place=str(path), hint=_HINT) from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DataError("is not a JSON array of objects", place=str(path), hint=_HINT)
    return found, [f"{path}, row {i}" for i in range(len(found))]


def _dimensions(row: Mapping[str, Any], place: str) -> dict[str, float]:
    scores = row.get("scores")
    if not isinstance(scores, dict) or not scores:
        hint = f"{near_name_hint('scores', row)} {_HINT}" if row else _HINT
        raise DataError('"scores" is missing or empty', place=place, hint=hint)
    for name, value in scores.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f'human score "{name}" is {value!r:.40}', place=place, hint="A judgement is a number.")
    return {str(name): float(value) for name, value in scores.items()}


def _key(value: Any) -> Hashable:
    return value if isinstance(value, str | int | float | None) else json.dumps(value, sort_keys=True)


def _judge_file(judged: Judged, calls: Sequence[MetricCall], meter: Meter) -> list[Agreement]:
    scored = score_texts(judged.texts, calls, meter)
    cost_of = {name: scored.costs.get(metric) for name, metric in scored.metric_of.items()}
    by_system = _system_rows(judged)
    found = []
    for dimension, human in judged.human.items():
        for name, values in scored.per_example.items():
            of_name = [_agreement(judged, "summary", dimension, name, values, human, judged.documents)]
            if by_system:
                means = [[statistics.fmean(side[i] for i in rows) for rows in by_system] for side in (values, human)]
                of_name.append(_agreement(judged, "system", dimension, name, means[0], means[1], None))
            found += [_with_cost(agreement, cost_of[name]) for agreement in of_name]
    return found


def _with_cost(agreement: Agreement, cost: PhaseFigures | None) -> Agreement:
    if cost is None:
        return agreement
    return replace(agreement, scoring_second=cost.wall_second, scoring_joule=cost.energy_total_joule)


def _system_rows(judged: Judged) -> list[list[int]]:
    """The rows of each system, if there are several systems with several documents each."""
    rows: dict[Hashable, list[int]] = {}
    for row, system in enumerate(judged.systems):
        rows.setdefault(system, []).append(row)
    several = len(rows) >= MIN_SYSTEMS and min(map(len, rows.values())) > 1
    return list(rows.values()) if several else []


def _agreement(
    judged: Judged,
    level: Level,
    dimension: str,
    metric: str,
    values: Sequence[float],
    human: Sequence[float],
    groups: Sequence[Hashable] | None,
) -> Agreement:
    of_kendall, of_spearman, of_pearson = (
        correlation_interval(measure, values, human, groups) if len(values) >= MIN_SYSTEMS else None
        for measure in (kendall, spearman, pearson)
    )
    return Agreement(judged.texts.name, level, dimension, metric, len(values), of_kendall, of_spearman, of_pearson)
