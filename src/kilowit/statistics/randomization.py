"""Approximate randomisation: could the sign of each example's difference as well have been the other?

If two systems are alike, swapping their outputs on an example changes nothing, so each difference has either sign with
equal chance. The p-value is the share of random sign patterns whose sum is at least as far from 0 as the one seen.
Signs are bits of one stream and sums are sums of whole numbers, so that numpy changes the speed alone (see
`resample`).

Source: E. W. Noreen, "Computer-Intensive Methods for Testing Hypotheses", 1989; Riezler and Maxwell 2005,
aclanthology.org/W05-0908; p = (r + 1) / (R + 1): Phipson and Smyth 2010, doi.org/10.2202/1544-6115.1585.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from kilowit.errors import DataError
from kilowit.statistics.resample import SEED, Engine, fixed_point, has_numpy

NUM_FLIPS: Final = 10_000
_MAX_BITS_AT_ONCE: Final = 4_000_000


def sign_flip_p(
    differences: Sequence[float], *, num_flips: int = NUM_FLIPS, seed: int = SEED, engine: Engine = "auto"
) -> float:
    """Return the two-sided p-value of paired differences.

    Args:
        differences: one per example, A less B.
        num_flips: random sign patterns.
        seed: of the stream of signs.
        engine: "auto" takes numpy if it is installed; the result is the same.

    Raises:
        DataError: no difference, or one that is not finite.

    >>> sign_flip_p([0.0] * 20)
    1.0
    """
    if not differences:
        raise DataError("no examples to compare", hint="Give both sides the same examples, one or more.")
    column = fixed_point(differences)
    signed = [value + column.least for value in column.whole]
    count = _extreme_by_numpy if has_numpy(engine) else _extreme_by_tables
    return (count(signed, num_flips, random.Random(seed)) + 1) / (num_flips + 1)


def _num_byte(num: int) -> int:
    """Return how many bytes a pattern of signs takes; whole words, so that the stream has no gaps."""
    return (num + 31) // 32 * 4


def _extreme_by_tables(values: Sequence[int], num_flips: int, generator: random.Random) -> int:
    """Count patterns at least as extreme; a byte of signs is looked up in a table of its 256 sums."""
    total = sum(values)
    tables = [_sums_of_byte(values[start : start + 8]) for start in range(0, len(values), 8)]
    size = _num_byte(len(values))
    extreme = 0
    for _ in range(num_flips):
        flipped = sum(map(list.__getitem__, tables, generator.randbytes(size)))
        extreme += abs(total - 2 * flipped) >= abs(total)
    return extreme


def _sums_of_byte(values: Sequence[int]) -> list[int]:
    """Return the sum of the values whose bit is set, for every byte; bits without a value add nothing."""
    sums = [0]
    for place in range(8):
        value = values[place] if place < len(values) else 0
        sums += [known + value for known in sums]
    return sums


def _extreme_by_numpy(values: Sequence[int], num_flips: int, generator: random.Random) -> int:
    import numpy as np

    values_N = np.array(values, dtype=np.float64)
    total, size, extreme = sum(values), _num_byte(len(values)), 0
    at_once = max(1, _MAX_BITS_AT_ONCE // (8 * size))
    for start in range(0, num_flips, at_once):
        rows = min(at_once, num_flips - start)
        bytes_BS = np.frombuffer(generator.randbytes(rows * size), dtype=np.uint8).reshape(rows, size)
        signs_BN = np.unpackbits(bytes_BS, axis=1, bitorder="little", count=len(values)).astype(np.float64)
        extreme += int(np.count_nonzero(np.abs(total - 2 * (signs_BN @ values_N)) >= abs(total)))
    return extreme
