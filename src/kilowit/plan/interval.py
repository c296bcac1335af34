"""Low, likely, high: how a plan says a number that nobody has measured yet.

Sums take ends together: what is slow in one phase is slow in the next. Factors of a product are independent, so their
relative errors add in squares, as logarithms; ends alone would multiply to intervals that say nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Three non-negative numbers in order.

    >>> Interval(1, 2, 4) * 2 + 1
    Interval(low=3, likely=5, high=9)
    """

    low: float
    likely: float
    high: float

    def __post_init__(self) -> None:
        assert 0 <= self.low <= self.likely <= self.high, f"{self.low} <= {self.likely} <= {self.high}"

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """Return the interval of a known number."""
        return cls(value, value, value)

    @classmethod
    def spanning(cls, values: Iterable[float]) -> Interval:
        """Return least, median and most of some numbers, at least one."""
        known = list(values)
        return cls(min(known), statistics.median(known), max(known))

    def __add__(self, other: Interval | float) -> Interval:
        o = other if isinstance(other, Interval) else Interval.exactly(other)
        return Interval(self.low + o.low, self.likely + o.likely, self.high + o.high)

    def __mul__(self, other: Interval | float) -> Interval:
        if not isinstance(other, Interval):
            return Interval(self.low * other, self.likely * other, self.high * other)
        if self.low == 0 or other.low == 0:  # no logarithm: ends together
            return Interval(self.low * other.low, self.likely * other.likely, self.high * other.high)
        likely = self.likely * other.likely
        down = _in_squares(self.likely / self.low, other.likely / other.low)
        up = _in_squares(self.high / self.likely, other.high / other.likely)
        return Interval(likely / down, likely, likely * up)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Interval | float) -> Interval:
        if not isinstance(other, Interval):
            return self * (1 / other)
        return self * Interval(1 / other.high, 1 / other.likely, 1 / other.low)

    def at_least(self, other: Interval | float) -> Interval:
        """Return the larger of the two, end by end."""
        o = other if isinstance(other, Interval) else Interval.exactly(other)
        return Interval(max(self.low, o.low), max(self.likely, o.likely), max(self.high, o.high))

    def at_most(self, limit: float) -> Interval:
        """Return the interval cut off at a limit."""
        return Interval(min(self.low, limit), min(self.likely, limit), min(self.high, limit))

    def widened(self, factor: float) -> Interval:
        """Return an interval that reaches `factor` (at least 1) further on either side."""
        return Interval(self.low / factor, self.likely, self.high * factor)

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON."""
        return {"low": self.low, "likely": self.likely, "high": self.high}


def add_up(intervals: Iterable[Interval]) -> Interval:
    """Return the sum, end by end; of nothing, zero."""
    total = Interval.exactly(0.0)
    for interval in intervals:
        total = total + interval
    return total


def _in_squares(a: float, b: float) -> float:
    """Return the ratio that two independent ratios of at least 1 make together.

    >>> round(_in_squares(2, 1), 12)
    2.0
    """
    return math.exp(math.hypot(math.log(a), math.log(b)))
