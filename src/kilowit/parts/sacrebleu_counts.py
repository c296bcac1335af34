"""BLEU and chrF are ratios of counts over the whole test set, not means: their counts, values and intervals.

sacrebleu tokenizes and counts, because its figures are what papers cite; the counts of each pair are kept here, so that
a resample of the examples is a sum of rows. For comparisons, with reports as with single files, each example gets what
it adds to the corpus score, so that a corpus score is compared as any mean is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.metric import MetricResult
from kilowit.record import Score
from kilowit.statistics.resample import resampled_sums

_NUM_PAIRS_AT_ONCE: Final = 256  # sacrebleu keeps the n-grams of all references of a call: 100 kB each for chrF


def segment_counts(metric: str, predictions: Sequence[str], references: Sequence[str], **settings: Any) -> Any:
    """Return the counts that sacrebleu's metric keeps of each pair, numpy float array of shape (pairs, counts).

    Raises:
        PartError: sacrebleu is not installed.
    """
    try:
        import numpy as np
        from sacrebleu import metrics
    except ImportError as error:
        raise PartError(
            f"{metric} needs the package sacrebleu", hint="Install the metrics: pip install 'kilowit[metrics]'."
        ) from error

    counter = getattr(metrics, metric)(**settings)
    counts: list[list[int]] = []
    for start in range(0, len(predictions), _NUM_PAIRS_AT_ONCE):
        some = slice(start, start + _NUM_PAIRS_AT_ONCE)
        counts += counter._extract_corpus_statistics(list(predictions[some]), [list(references[some])])
    return np.array(counts, dtype=np.float64)


def corpus_result(
    name: str,
    signature: str,
    counts_NK: Any,
    *,
    corpus_value: Callable[[Any], Any],
    example_value: Callable[[Any], Any],
) -> MetricResult:
    """Return the corpus score with its percentile interval, and the value of each example alone.

    Args:
        name: of the score.
        signature: of the score.
        counts_NK: N examples by K counts.
        corpus_value: from rows of summed counts to scores in [0, 1].
        example_value: the same for single examples.
    """
    import numpy as np

    low, high = None, None
    if len(counts_NK) > 1:
        low, high = map(float, np.percentile(corpus_value(resampled_sums(counts_NK)), (2.5, 97.5)))
    value = float(corpus_value(counts_NK.sum(axis=0, keepdims=True))[0])
    score = Score(
        metric=name, value=value, ci95_low=low, ci95_high=high, num_examples=len(counts_NK), signature=signature
    )
    return MetricResult(
        (score,), {name: example_value(counts_NK).tolist()}, {name: _contributions(counts_NK, value, corpus_value)}
    )


def _contributions(counts_NK: Any, value: float, corpus_value: Callable[[Any], Any]) -> list[float]:
    """Return what each example adds to a corpus score: its jackknife pseudo-value, all moved so that their mean is it.

    Source: J. Tukey 1958; B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 11.5.
    """
    num = len(counts_NK)
    without_N = corpus_value(counts_NK.sum(axis=0, keepdims=True) - counts_NK)
    pseudo_N = num * value - (num - 1) * without_N
    contributions: list[float] = (pseudo_N + (value - pseudo_N.mean())).tolist()
    return contributions
