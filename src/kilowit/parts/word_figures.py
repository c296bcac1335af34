"""The shell of the weight-free metrics that look at words alone: split the texts, ask for figures, take means.

A metric gives the figures of one summary as numbers in the order of its names. Stands below `extractiveness`,
`novelty` and `repetition`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import scores_of_means
from kilowit.parts.words import check_lengths, words

Signature = Callable[[Sequence[str]], str]


def beside_source(
    predictions: Sequence[str],
    sources: Sequence[str],
    names: Sequence[str],
    signature: Signature,
    figures: Callable[[list[str], list[str]], Sequence[float]],
) -> MetricResult:
    """Score each summary beside its source.

    Args:
        predictions: one summary per example.
        sources: as many documents.
        names: of the scores.
        signature: of some of the names.
        figures: from the words of a summary and of its source to one value a name.

    Raises:
        DataError: not one source per prediction, or none at all.
    """
    check_lengths(predictions, sources=sources)
    rows = [figures(words(summary), words(source)) for summary, source in zip(predictions, sources, strict=True)]
    return _result(rows, names, signature)


def by_itself(
    predictions: Sequence[str],
    names: Sequence[str],
    signature: Signature,
    figures: Callable[[list[str]], Sequence[float]],
) -> MetricResult:
    """Score each summary by its own words.

    Raises:
        DataError: no predictions.
    """
    check_lengths(predictions)
    return _result([figures(words(summary)) for summary in predictions], names, signature)


def _result(rows: Sequence[Sequence[float]], names: Sequence[str], signature: Signature) -> MetricResult:
    per_example = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    return MetricResult(scores_of_means(per_example, lambda name: signature([name])), per_example)
