"""Percentiles of more values than memory should hold: logarithmic buckets, exact to a relative error.

Source: Masson, Rim and Lee 2019, DDSketch, VLDB 12 (12), section 2.1 (arXiv 1908.10693): a bucket between two powers of
(1 + a) / (1 - a) tells every quantile in it to the fraction a.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

ERROR_FRACTION: Final = 0.005
_LOG_GAMMA: Final = math.log((1 + ERROR_FRACTION) / (1 - ERROR_FRACTION))
_GAMMA: Final = math.exp(_LOG_GAMMA)
LEAST: Final = 1e-6  # smaller values are counted as this


class QuantileSketch:
    """Values above 0, of which it keeps how many fell where.

    >>> sketch = QuantileSketch()
    >>> for value in range(1, 101):
    ...     sketch.add(float(value))
    >>> round(sketch.quantile(0.5) or 0.0)
    50
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[math.ceil(math.log(max(value, LEAST)) / _LOG_GAMMA)] += 1

    def merge(self, other: QuantileSketch) -> None:
        """Count all that another has counted."""
        self.counts.update(other.counts)

    def quantile(self, fraction: float) -> float | None:
        """Return the value that this fraction of all values does not exceed, to `ERROR_FRACTION`; None of nothing."""
        rank = math.ceil(fraction * self.counts.total())
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return 2 * math.exp(bucket * _LOG_GAMMA) / (_GAMMA + 1)
        return None
