"""Intervals by resampling examples, for every metric; and the bootstrap that Hugging Face reports, digit for digit.

What is resampled is the set of test examples: the interval says how much a score would move with other examples of
the same kind, not with another training seed. A resample is a count per example (how often it was drawn), so 10,000
means of any number of metrics are one matrix product. All metrics of a call see the same draws.

Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilowit.errors import DataError, PartError
from kilowit.record import Score

NUM_RESAMPLES: Final = 10_000
SEED: Final = 20261123
_PERCENTILES: Final = (2.5, 97.5)
_MAX_CELLS_AT_ONCE: Final = 250_000  # of the matrix of counts: 2 MB, stays in the processor's cache

# Of rouge-score 0.1.2, ``BootstrapAggregator``.
_HF_NUM_RESAMPLES: Final = 1_000
_HF_CONFIDENCE: Final = 0.95
_HF_MAX_CELLS_AT_ONCE: Final = 1_000_000


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its 95 % percentile interval; no interval from a single example."""

    mean: float
    low: float | None
    high: float | None


def mean_intervals(
    columns: Mapping[str, Sequence[float]], *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> dict[str, MeanInterval]:
    """Return the mean of each column and the percentile interval of resampling the rows.

    Args:
        columns: by name one value per example; all of the same length.
        num_resamples: how many.
        seed: of numpy's PCG64.

    Raises:
        DataError: no example, columns of different lengths, or a value that is not finite.
    """
    np = _numpy()
    table_NK = _table(columns)
    if not len(table_NK):
        raise DataError("no examples to average", hint="Score at least one pair.")
    means = table_NK.mean(axis=0)
    if len(table_NK) == 1:
        return {name: MeanInterval(float(mean), None, None) for name, mean in zip(columns, means, strict=True)}
    resampled_RK = resampled_sums(table_NK, num_resamples=num_resamples, seed=seed) / len(table_NK)
    low_K, high_K = np.percentile(resampled_RK, _PERCENTILES, axis=0)
    return {
        name: MeanInterval(float(mean), float(low), float(high))
        for name, mean, low, high in zip(columns, means, low_K, high_K, strict=True)
    }


def resampled_sums(table_NK: Any, *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED) -> Any:
    """Return the column sums of each resample, shape (num_resamples, K).

    For metrics that are not means (BLEU, chrF), K are the counts that a corpus score is computed from.

    Args:
        table_NK: numpy array, N examples by K values.
        num_resamples: how many.
        seed: of numpy's PCG64; the same seed and N give the same draws for any table.
    """
    np = _numpy()
    num_examples = len(table_NK)
    values_NK = np.asarray(table_NK, dtype=np.float64)
    generator = np.random.default_rng(seed)
    sums_RK = np.empty((num_resamples, values_NK.shape[1]))
    for start, stop in _batches(num_resamples, max(1, _MAX_CELLS_AT_ONCE // num_examples)):
        drawn_BN = generator.integers(0, num_examples, size=(stop - start, num_examples))
        counts_BN = np.empty(drawn_BN.shape)
        for row in range(stop - start):
            counts_BN[row] = np.bincount(drawn_BN[row], minlength=num_examples)
        sums_RK[start:stop] = counts_BN @ values_NK
    return sums_RK


def scores_of_means(per_example: Mapping[str, Sequence[float]], signature: Callable[[str], str]) -> tuple[Score, ...]:
    """Return a score with its interval for each column of per-example values.

    Args:
        per_example: by the score's name one value per example.
        signature: gives the signature of a score's name.

    Raises:
        DataError: as `mean_intervals`.
    """
    return tuple(
        Score(
            metric=name,
            value=interval.mean,
            ci95_low=interval.low,
            ci95_high=interval.high,
            num_examples=len(per_example[name]),
            signature=signature(name),
        )
        for name, interval in mean_intervals(per_example).items()
    )


@dataclass(frozen=True)
class BootstrapMedian:
    """What rouge-score's aggregator calls low, mid and high of one measure. `mid` is a median of means, not a mean."""

    low: float
    mid: float
    high: float


def hugging_face_medians(
    columns: Mapping[str, Sequence[Sequence[float]]], *, seed: int, num_resamples: int = _HF_NUM_RESAMPLES
) -> dict[str, tuple[BootstrapMedian, ...]]:
    """Return the aggregates that Hugging Face `evaluate` and `datasets` printed as ROUGE, bit for bit.

    Published scores of their training scripts are these: medians of 1,000 resampled means, from numpy's global
    generator. It was seeded with the training seed, and the types drew from it one after the other, so the order of
    the columns matters (theirs: rouge1, rouge2, rougeL, rougeLsum).

    Args:
        columns: by ROUGE type its measures (precision, recall and F1, all three or any), each with one value per
            example.
        seed: what ``numpy.random.seed`` was given.
        num_resamples: 1,000 in rouge-score.

    Raises:
        DataError: no example, or a value that is not finite.
    """
    np = _numpy()
    generator = np.random.RandomState(seed)
    delta = (1 - _HF_CONFIDENCE) / 2
    percentiles = 100 * np.array([delta, 0.5, 1 - delta])
    results = {}
    for name, measures in columns.items():
        table_NM = _table({str(place): measure for place, measure in enumerate(measures)})
        if not len(table_NM):
            raise DataError("no examples to average", hint="Score at least one pair.")
        if table_NM.shape[1] == 1:  # numpy adds a lone column pairwise, three of them row by row as rouge-score does
            table_NM = np.repeat(table_NM, 3, axis=1)
        means_RM = np.empty((num_resamples, table_NM.shape[1]))
        for start, stop in _batches(num_resamples, max(1, _HF_MAX_CELLS_AT_ONCE // table_NM.size)):
            drawn_BN = generator.randint(0, len(table_NM), size=(stop - start, len(table_NM)))
            means_RM[start:stop] = table_NM[drawn_BN].mean(axis=1)
        bounds_3M = np.percentile(means_RM, percentiles, axis=0)
        results[name] = tuple(BootstrapMedian(*map(float, bounds)) for bounds in bounds_3M.T[: len(measures)])
    return results


def _table(columns: Mapping[str, Sequence[float]]) -> Any:
    """Return the columns as one array, examples by names.

    Raises:
        DataError: different lengths, or a value that is not finite.
    """
    np = _numpy()
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"different numbers of examples: {lengths}", hint="Every metric needs the same examples.")
    table_NK = np.array(list(columns.values()), dtype=np.float64).T
    for name, values in columns.items():
        if not math.isfinite(math.fsum(values)):
            place = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise DataError(f"{name} of example {place} is {values[place]}", hint="A score must be a finite number.")
    return np.ascontiguousarray(table_NK)


def _numpy() -> Any:
    """Import numpy now: signatures, which come from the same modules, must not need it."""
    try:
        import numpy
    except ImportError as error:
        raise PartError("intervals need the package numpy", hint="pip install 'kilowit[metrics]'.") from error
    return numpy


def _batches(num: int, at_once: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num, at_once):
        yield start, min(start + at_once, num)
