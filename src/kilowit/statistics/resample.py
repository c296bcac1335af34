"""The bootstrap over examples: many columns at once, the same draws for all, the same result with and without numpy.

Values become whole multiples of a power of two (2^-32 of the largest or finer than any score is printed), so that sums
are exact whatever their order; indices are 16-bit words of Python's Mersenne Twister, those past the last whole
multiple of n refused. Without numpy, all columns of an example are lanes of one long integer, and a resample is one
sum of long integers: 1 s for 10,000 resamples of 819 examples, 10 or 40 columns alike. With numpy it is a product of
matrices.

Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
"""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kilowit.errors import DataError
from kilowit.statistics.interval import Interval

NUM_RESAMPLES: Final = 10_000
SEED: Final = 20261123
Engine = Literal["auto", "numpy", "python"]

_MAX_SHORT: Final = 1 << 16  # examples that a 16-bit word can index
_EXACT_BIT: Final = 52  # whole numbers up to 2^53 are exact in a float64
_MAX_VALUE_BIT: Final = 32
_LANE_BIT: Final = 64
_WORDS_AT_ONCE: Final = 1 << 18
_MIN_LARGE: Final = 4_096  # examples: beyond, counting words is faster than looking places up
_MAX_CELLS_AT_ONCE: Final = 250_000  # of the matrix of counts: 2 MB, stays in the processor's cache


@dataclass(frozen=True)
class FixedPoint:
    """A column as whole numbers from 0 on: value i is ``(least + whole[i]) * quantum``."""

    whole: list[int]
    least: int
    quantum: float

    def mean(self, total: int, num: int) -> float:
        """Return the mean of `num` values whose whole numbers add up to `total`."""
        return (total + num * self.least) * self.quantum / num


def fixed_point(values: Sequence[float]) -> FixedPoint:
    """Return a column as whole numbers, with an error of at most half a quantum: 2^-32 of the largest value or less.

    Raises:
        DataError: a value that is not finite.
    """
    largest = max(map(abs, values), default=0.0)
    if not math.isfinite(largest) or any(value != value for value in values):
        place = next(i for i, value in enumerate(values) if not math.isfinite(value))
        raise DataError(f"value of example {place} is {values[place]}", hint="A score must be a finite number.")
    exponent = math.frexp(largest)[1] if largest else 0
    bits = min(_MAX_VALUE_BIT, _EXACT_BIT - 1 - len(values).bit_length())
    scaled = [round(math.ldexp(value, bits - exponent)) for value in values]
    least = min(scaled, default=0)
    return FixedPoint([value - least for value in scaled], least, math.ldexp(1.0, exponent - bits))


def resampled_means(
    columns: Sequence[Sequence[float]],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
    engine: Engine = "auto",
) -> list[list[float]]:
    """Return, for each column, its mean in each resample of the examples; all columns see the same resamples.

    Args:
        columns: each with one value per example, equally many.
        num_resamples: how many.
        seed: of the stream of draws.
        engine: "auto" takes numpy if it is installed; the result is the same to the last bit.

    Raises:
        DataError: no example, columns of different lengths, or a value that is not finite.
    """
    lengths = {len(column) for column in columns}
    if len(lengths) > 1 or 0 in lengths:
        raise DataError(
            f"columns of {sorted(lengths)} examples", hint="Every score needs the same examples, one or more."
        )
    if not columns:
        return []
    fixed = [fixed_point(column) for column in columns]
    num = lengths.pop()
    measure = _sums_by_numpy if has_numpy(engine) else _sums_by_integers
    totals = measure([column.whole for column in fixed], num, num_resamples, random.Random(seed))
    return [[column.mean(total, num) for total in of_column] for column, of_column in zip(fixed, totals, strict=True)]


def has_numpy(engine: Engine = "auto") -> bool:
    """Whether numpy is to be used: asked for, or there and not asked against."""
    return engine == "numpy" or (engine == "auto" and importlib.util.find_spec("numpy") is not None)


def percentile_interval(value: float, means: Sequence[float], num_repeats: int = 1) -> Interval:
    """Return the 95 % percentile interval of resampled means around a value."""
    low, high = percentiles(means, (2.5, 97.5))
    return Interval(value, low, high, num_repeats)


def percentiles(values: Sequence[float], wanted: Sequence[float]) -> list[float]:
    """Return percentiles with linear interpolation between order statistics, as numpy does by default."""
    ordered = sorted(values)
    found = []
    for percent in wanted:
        place = (len(ordered) - 1) * percent / 100
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        found.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    return found


def _sums_by_integers(
    columns: Sequence[Sequence[int]], num: int, num_resamples: int, generator: random.Random
) -> list[list[int]]:
    packed = [
        int.from_bytes(b"".join(value.to_bytes(_LANE_BIT // 8, "little") for value in row), "little")
        for row in zip(*columns, strict=True)
    ]
    limit = _limit(num)
    repeats = limit // num if num <= _MAX_SHORT else 1
    table = packed * repeats
    size = len(columns) * _LANE_BIT // 8
    lanes = array("Q")
    for drawn in _draws(num, num_resamples, limit, generator):
        lanes.frombytes(sum(map(table.__getitem__, drawn)).to_bytes(size, "little"))
    if sys.byteorder == "big":
        lanes.byteswap()
    return [lanes[start :: len(columns)].tolist() for start in range(len(columns))]


def _draws(num: int, num_resamples: int, limit: int, generator: random.Random) -> Iterator[list[int]]:
    """Yield the places drawn in each resample, below `limit`: of a table that repeats the examples."""
    kind, width = ("H", 2) if num <= _MAX_SHORT else ("I", 4)
    waiting: list[int] = []
    start = 0
    for _ in range(num_resamples):
        while len(waiting) - start < num:
            words = array(kind, generator.randbytes(width * _WORDS_AT_ONCE))
            if sys.byteorder == "big":
                words.byteswap()
            accepted = [word for word in words if word < limit]
            waiting = waiting[start:] + (accepted if width == 2 else [word % num for word in accepted])
            start = 0
        yield waiting[start : start + num]
        start += num


def _limit(num: int) -> int:
    """Return the first word that is refused, so that every example is equally likely."""
    words = _MAX_SHORT if num <= _MAX_SHORT else 1 << 32
    return words // num * num


def resampled_sums(table_NK: Any, *, num_resamples: int = NUM_RESAMPLES, generator: random.Random | None = None) -> Any:
    """Return the column sums of each resample, numpy array of shape (num_resamples, K); the draws of `resampled_means`.

    For scores that are no means (BLEU, chrF), K are the counts that a corpus score is computed from.

    Args:
        table_NK: numpy array, N examples by K values; sums are exact where these are whole numbers.
        num_resamples: how many.
        generator: of the stream of draws; None = a new one with `SEED`.
    """
    import numpy as np

    num = len(table_NK)
    values_NK = np.asarray(table_NK, dtype=np.float64)
    sums_RK = np.empty((num_resamples, values_NK.shape[1]))
    stream = _NumpyStream(num, generator or random.Random(SEED))
    at_once = max(1, _MAX_CELLS_AT_ONCE // num)
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        sums_RK[start : start + size] = stream.counts(size) @ values_NK
    return sums_RK


def _sums_by_numpy(
    columns: Sequence[Sequence[int]], num: int, num_resamples: int, generator: random.Random
) -> list[list[int]]:
    import numpy as np

    values_NK = np.array(columns, dtype=np.float64).T
    sums_RK = resampled_sums(values_NK, num_resamples=num_resamples, generator=generator)
    return [[int(total) for total in column] for column in sums_RK.T.tolist()]


class _NumpyStream:
    """The places that `_draws` yields, counted in arrays.

    numpy's Mersenne Twister, set to where Python's stands, gives the same words three times as fast.
    """

    def __init__(self, num: int, generator: random.Random) -> None:
        import numpy as np

        *key, position = generator.getstate()[1]
        twister = np.random.MT19937()
        twister.state = {
            "bit_generator": "MT19937", "state": {"key": np.array(key, dtype=np.uint32), "pos": position}
        }  # fmt: skip
        self._generator = np.random.Generator(twister)
        self._num, self._limit = num, _limit(num)
        self._waiting: Any = np.empty(0, dtype="<u2" if num <= _MAX_SHORT else "<u4")

    def counts(self, size: int) -> Any:
        """Return how often each example is drawn in each of the next resamples, shape (size, examples)."""
        import numpy as np

        if _MIN_LARGE <= self._num <= _MAX_SHORT:
            counts_BN = np.empty((size, self._num))
            for row in counts_BN:
                self._count_one(row)
            return counts_BN
        drawn_BN = self._take(size * self._num).reshape(size, self._num)
        drawn_BN += np.arange(size)[:, None] * self._num
        counts = np.bincount(drawn_BN.ravel(), minlength=size * self._num)
        return counts.reshape(size, self._num).astype(np.float64)

    def _count_one(self, counts_N: Any) -> None:
        """Count whole words and fold them: dearer than `_take` for few examples, twice as fast for many."""
        import numpy as np

        stop, missing = 0, self._num
        while missing:
            while stop + missing > len(self._waiting):
                self._waiting = np.concatenate([self._waiting, self._words()])
            missing, stop = int(np.count_nonzero(self._waiting[stop : stop + missing] >= self._limit)), stop + missing
        by_word = np.bincount(self._waiting[:stop], minlength=_MAX_SHORT)
        self._waiting = self._waiting[stop:]
        np.sum(by_word[: self._limit].reshape(-1, self._num), axis=0, out=counts_N)

    def _take(self, size: int) -> Any:
        """Return the next `size` places."""
        import numpy as np

        pieces, found = [self._waiting], len(self._waiting)
        while found < size:
            words = self._words()
            pieces.append((words[words < self._limit] % self._num).astype(np.int64))
            found += len(pieces[-1])
        whole = np.concatenate(pieces).astype(np.int64, copy=False)
        self._waiting = whole[size:]
        return whole[:size].copy()

    def _words(self) -> Any:
        import numpy as np

        words = self._generator.integers(0, 1 << 32, size=_WORDS_AT_ONCE // 2, dtype=np.uint32).astype("<u4")
        return words.view("<u2") if self._num <= _MAX_SHORT else words
