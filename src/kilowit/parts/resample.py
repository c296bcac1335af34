"""Intervals by resampling examples, for every metric; and the bootstrap that Hugging Face reports, digit for digit.

What is resampled is the set of test examples: the interval says how much a score would move with other examples of
the same kind, not with another training seed. All metrics see the same draws, and get the same interval with and
without numpy (`kilowit.statistics.resample`).

Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilowit.errors import DataError, PartError
from kilowit.record import Score
from kilowit.statistics.interval import Interval
from kilowit.statistics.resample import NUM_RESAMPLES, SEED, percentile_interval, resampled_means

__all__ = ["NUM_RESAMPLES", "BootstrapMedian", "hugging_face_medians", "mean_intervals", "scores_of_means"]

# Of rouge-score 0.1.2, ``BootstrapAggregator``.
_HF_NUM_RESAMPLES: Final = 1_000
_HF_CONFIDENCE: Final = 0.95
_HF_MAX_CELLS_AT_ONCE: Final = 1_000_000


def mean_intervals(
    columns: Mapping[str, Sequence[float]], *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """Return the mean of each column and the percentile interval of resampling the rows; none from a single example.

    Args:
        columns: by name one value per example; all of the same length.
        num_resamples: how many.
        seed: of the stream of draws.

    Raises:
        DataError: no example, columns of different lengths, or a value that is not finite.
    """
    num = _num_examples(columns)
    means = {name: math.fsum(values) / num for name, values in columns.items()}
    if num == 1:
        return {name: Interval(mean) for name, mean in means.items()}
    resampled = resampled_means(list(columns.values()), num_resamples=num_resamples, seed=seed)
    return {
        name: percentile_interval(mean, of_column)
        for (name, mean), of_column in zip(means.items(), resampled, strict=True)
    }


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
            value=interval.value,
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
        _num_examples({f"{name}, measure {place}": measure for place, measure in enumerate(measures)})
        table_NM = np.ascontiguousarray(np.array(measures, dtype=np.float64).T)
        if table_NM.shape[1] == 1:  # numpy adds a lone column pairwise, three of them row by row as rouge-score does
            table_NM = np.repeat(table_NM, 3, axis=1)
        means_RM = np.empty((num_resamples, table_NM.shape[1]))
        for start, stop in _batches(num_resamples, max(1, _HF_MAX_CELLS_AT_ONCE // table_NM.size)):
            drawn_BN = generator.randint(0, len(table_NM), size=(stop - start, len(table_NM)))
            means_RM[start:stop] = table_NM[drawn_BN].mean(axis=1)
        bounds_3M = np.percentile(means_RM, percentiles, axis=0)
        results[name] = tuple(BootstrapMedian(*map(float, bounds)) for bounds in bounds_3M.T[: len(measures)])
    return results


def _num_examples(columns: Mapping[str, Sequence[float]]) -> int:
    """Return how many examples the columns have.

    Raises:
        DataError: none, different numbers, or a value that is not finite.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"different numbers of examples: {lengths}", hint="Every metric needs the same examples.")
    for name, values in columns.items():
        place = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        if place is not None:
            raise DataError(f"{name} of example {place} is {values[place]}", hint="A score must be a finite number.")
    num = next(iter(lengths.values()), 0)
    if num == 0:
        raise DataError("no examples to average", hint="Score at least one pair.")
    return num


def _numpy() -> Any:
    """Import numpy, whose generator and whose order of adding that aggregation is made of."""
    try:
        import numpy
    except ImportError as error:
        raise PartError(
            "the aggregation of Hugging Face needs the package numpy", hint="pip install 'kilowit[metrics]'."
        ) from error
    return numpy


def _batches(num: int, at_once: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num, at_once):
        yield start, min(start + at_once, num)
