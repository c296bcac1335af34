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


def _sums_by_numpy(
    columns: Sequence[Sequence[int]], num: int, num_resamples: int, generator: random.Random
) -> list[list[int]]:
    import numpy as np

    values_NK = np.array(columns, dtype=np.float64).T
    sums_RK = np.empty((num_resamples, len(columns)))
    stream = _NumpyStream(num, generator)
    at_once = max(1, _MAX_CELLS_AT_ONCE // num)
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        drawn_BN = stream.take(size * num).reshape(size, num)
        drawn_BN += np.arange(size)[:, None] * num
        counts_BN = np.bincount(drawn_BN.ravel(), minlength=size * num).reshape(size, num).astype(np.float64)
        sums_RK[start : start + size] = counts_BN @ values_NK
    return [[int(total) for total in column] for column in sums_RK.T.tolist()]


class _NumpyStream:
    """The places that `_draws` yields, as arrays."""

    def __init__(self, num: int, generator: random.Random) -> None:
        import numpy as np

        self._num, self._generator, self._limit = num, generator, _limit(num)
        self._waiting: Any = np.empty(0, dtype=np.int64)

    def take(self, size: int) -> Any:
        """Return the next `size` places."""
        import numpy as np

        kind, width = ("<u2", 2) if self._num <= _MAX_SHORT else ("<u4", 4)
        pieces, found = [self._waiting], len(self._waiting)
        while found < size:
            words = np.frombuffer(self._generator.randbytes(width * _WORDS_AT_ONCE), dtype=kind)
            pieces.append((words[words < self._limit] % self._num).astype(np.int64))
            found += len(pieces[-1])
        whole = np.concatenate(pieces)
        self._waiting = whole[size:]
        return whole[:size].copy()
