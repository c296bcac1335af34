"""Means, intervals, ratios and the Pareto front: what the report may claim, and how surely. Pure functions.

All intervals are 95 %. Energy, time and money are compared as ratios on the log scale, scores as differences,
both paired by seed where the seeds are the same. Fewer than three repeats give no interval over repeats.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MIN_REPEATS: Final = 3  # with two, the t interval is 4.5 means wide at a spread of 10 %: it says nothing

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
# Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, upper-tail 0.975.
_T95: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z95: Final = 1.960  # the same for the normal distribution; t with 31 degrees of freedom is 2.040


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, and from how many repeats. No interval: `low` and `high` are None."""

    value: float
    low: float | None = None
    high: float | None = None
    num_repeats: int = 1

    @property
    def is_known(self) -> bool:
        """Whether there is an interval at all."""
        return self.low is not None and self.high is not None

    def excludes(self, value: float) -> bool:
        """Whether the interval is known and `value` lies outside of it."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def t95(degrees_of_freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t; above 30 degrees the value for 30, which is wider.

    >>> t95(2)
    4.303
    """
    if degrees_of_freedom < 1:
        raise ValueError(f"t distribution needs 1 degree of freedom or more, got {degrees_of_freedom}")
    return _T95[min(degrees_of_freedom, len(_T95)) - 1]


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the t interval of the mean, or None for fewer than three values."""
    if len(values) < MIN_REPEATS:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return t95(len(values) - 1) * math.sqrt(variance / len(values))


def mean_interval(values: Sequence[float], *, extra_half_width: float | None = None) -> Interval:
    """Return the mean with its t interval over repeats.

    Args:
        values: one per repeat; at least one.
        extra_half_width: of a noise that the repeats do not show (the choice of test examples); added in
            quadrature, and used alone when there are too few repeats.
    """
    mean, over_repeats = statistics.fmean(values), half_width(values)
    if over_repeats is None and extra_half_width is None:
        return Interval(mean, num_repeats=len(values))
    half = math.hypot(over_repeats or 0.0, extra_half_width or 0.0)
    return Interval(mean, mean - half, mean + half, len(values))


def ratio_interval(pairs: Sequence[tuple[float, float]]) -> Interval | None:
    """Return the geometric mean of a / b over pairs with its t interval on the log scale.

    None when no pair has two positive values.

    >>> ratio_interval([(2.0, 1.0), (2.0, 1.0), (2.0, 1.0)]).value
    2.0
    """
    logs = [math.log(a / b) for a, b in pairs if a > 0 and b > 0]
    if not logs:
        return None
    of_logs = mean_interval(logs)
    if of_logs.low is None or of_logs.high is None:
        return Interval(math.exp(of_logs.value), num_repeats=len(logs))
    return Interval(math.exp(of_logs.value), math.exp(of_logs.low), math.exp(of_logs.high), len(logs))


def ratio_of_means(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """Return mean(a) / mean(b) of unpaired repeats, with the interval of two independent means of logs.

    None when a value is not positive; no interval when either has fewer than three.
    """
    if not a or not b or min(*a, *b) <= 0:
        return None
    log_a, log_b = [math.log(v) for v in a], [math.log(v) for v in b]
    centre, num = statistics.fmean(log_a) - statistics.fmean(log_b), min(len(a), len(b))
    half_a, half_b = half_width(log_a), half_width(log_b)
    if half_a is None or half_b is None:
        return Interval(math.exp(centre), num_repeats=num)
    half = math.hypot(half_a, half_b)
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half), num)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of points (cost, gain) that no other beats, from the cheapest to the best.

    A point is beaten by one that costs no more and gains no less, and is better in one of the two.

    >>> pareto_front([(1.0, 1.0), (2.0, 0.5), (3.0, 2.0)])
    [0, 2]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
        elif front and points[index] == points[front[-1]]:
            front.append(index)  # an exact tie: neither beats the other
    return front
