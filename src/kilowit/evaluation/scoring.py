"""Run metrics over texts, each named as in a study, and say what each took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kilowit.errors import DataError, StudyError
from kilowit.evaluation.texts import Texts
from kilowit.meter import Meter
from kilowit.parts import names as part_names
from kilowit.parts.metric import MetricCall, Written, repeated_score
from kilowit.record import PhaseFigures, Score

DEFAULT_METRICS: Final = ("rouge",)
PHASE: Final = "score"
# What describes a summary without saying that more is better.
DESCRIPTIVE: Final = frozenset({"length", "novelty", "repetition", "extractiveness", "source_similarity"})


@dataclass(frozen=True)
class Scored:
    """What metrics said of one system: corpus scores, and by score one value per example."""

    scores: tuple[Score, ...]
    per_example: dict[str, list[float]]
    metric_of: dict[str, str]  # by score the label of its metric
    contributions: dict[str, list[float]] = field(default_factory=dict)  # of the scores that are no means
    costs: dict[str, PhaseFigures] = field(default_factory=dict)  # by label of a metric


def check_metrics(metrics: Sequence[Written]) -> tuple[MetricCall, ...]:
    """Return metrics that can be computed here, each once.

    Raises:
        StudyError: none, an unknown one, or two that give the same score.
        PartError: an option is wrong, or what a metric needs is not here.
    """
    calls: list[MetricCall] = []
    for call in map(MetricCall.of, metrics):
        if call not in calls:
            call.require_packages()
            call.check()
            calls.append(call)
    if not calls:
        known = ", ".join(part_names("metrics"))
        raise StudyError("no metric to score with", place="--metrics", hint=f"Known: {known}.")
    if twin := repeated_score(calls):
        raise StudyError(f'two metrics give "{twin[0]}"', place="--metrics", hint=f'Leave one "{twin[1]}" out.')
    return tuple(calls)


def score_texts(texts: Texts, calls: Sequence[MetricCall], meter: Meter) -> Scored:
    """Score texts with every metric, each in a block of the phase ``score``.

    Raises:
        DataError: a metric needs the sources, and there are none.
        PartError: a metric needs a package that is not installed.
    """
    scored = Scored((), {}, {})
    for call in calls:
        if call.needs_source and texts.sources is None:
            raise DataError(
                f'the metric "{call.name}" needs the sources',
                place=texts.name,
                hint='Give every row its document as "source", or leave the metric out.',
            )
        with meter.phase(PHASE) as block:
            result = call.score(texts.predictions, texts.references, texts.sources)
        scored = Scored(
            scored.scores + result.scores,
            scored.per_example | result.per_example,
            scored.metric_of | dict.fromkeys(result.per_example, call.label),
            scored.contributions | result.contributions,
            scored.costs | ({call.label: block.result} if block.result else {}),
        )
    return scored
