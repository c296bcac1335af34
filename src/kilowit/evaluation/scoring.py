"""Run metrics over texts, each named as in a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilowit import parts
from kilowit.errors import DataError, PartError, StudyError, near_name_hint
from kilowit.evaluation.texts import Texts
from kilowit.parts.metric import MetricResult
from kilowit.record import Score

DEFAULT_METRICS: Final = ("rouge",)
# What describes a summary without saying that more is better.
DESCRIPTIVE: Final = frozenset({"length", "novelty", "repetition", "extractiveness"})


@dataclass(frozen=True)
class Scored:
    """What metrics said of one system: corpus scores, and by score one value per example."""

    scores: tuple[Score, ...]
    per_example: dict[str, list[float]]
    metric_of: dict[str, str]  # by score the name of its metric


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the names of metrics, each once.

    Raises:
        StudyError: none, or an unknown one.
    """
    names = tuple(dict.fromkeys(metrics))
    known = parts.names("metrics")
    for name in names:
        if name not in known:
            raise StudyError(f'no metric "{name}"', place="--metrics", hint=near_name_hint(name, known))
    if not names:
        raise StudyError("no metric to score with", place="--metrics", hint=f"Known: {', '.join(known)}.")
    return names


def score_texts(texts: Texts, metrics: Sequence[str]) -> Scored:
    """Score texts with every metric.

    Raises:
        DataError: a metric needs the sources, and there are none.
        PartError: a metric needs a package that is not installed.
    """
    scores: list[Score] = []
    per_example: dict[str, list[float]] = {}
    metric_of: dict[str, str] = {}
    for name in metrics:
        module = parts.load("metrics", name)
        result = _score(texts, name, module)
        scores += result.scores
        per_example |= result.per_example
        metric_of |= dict.fromkeys(result.per_example, name)
    return Scored(tuple(scores), per_example, metric_of)


def _score(texts: Texts, name: str, module: Any) -> MetricResult:
    try:
        result: MetricResult = module.score(texts.predictions, texts.references, **_sources(texts, name, module))
    except ModuleNotFoundError as error:
        raise PartError(
            f'metric "{name}" needs the package {error.name}',
            hint="Install the metrics: pip install 'kilowit[metrics]'.",
        ) from error
    return result


def _sources(texts: Texts, name: str, module: Any) -> dict[str, list[str]]:
    if not getattr(module, "NEEDS_SOURCE", False):
        return {}
    if texts.sources is None:
        raise DataError(
            f'the metric "{name}" needs the sources',
            place=texts.name,
            hint='Give every row its document as "source", or leave the metric out.',
        )
    return {"sources": texts.sources}
