"""Means over repeats and ratios of costs, with t intervals; ratios on the log scale.

Energy, time and money are compared as ratios: a saving of a tenth is a tenth on any machine, and their noise grows with
their size. Fewer than three repeats give no interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from kilowit.statistics.interval import MIN_REPEATS, Interval
from kilowit.statistics.student import t95


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % t interval of the mean, or None for fewer than three values."""
    if len(values) < MIN_REPEATS:
        return None
    return t95(len(values) - 1) * math.sqrt(variance_of_mean(values))


def variance_of_mean(values: Sequence[float]) -> float:
    """Return the estimated variance of the mean of two values or more."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of one value or more with its t interval over repeats."""
    mean, half = statistics.fmean(values), half_width(values)
    if half is None:
        return Interval(mean, num_repeats=len(values))
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
    return _exponential(mean_interval(logs))


def ratio_of_means(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """Return the ratio of the geometric means of unpaired repeats, with Welch's interval of two means of logs.

    None when a value is not positive; no interval when either has fewer than three.

    Source: B. L. Welch, "The generalization of Student's problem when several different population variances are
    involved", Biometrika 34, 1947.
    """
    if not a or not b or min(*a, *b) <= 0:
        return None
    log_a, log_b = [math.log(v) for v in a], [math.log(v) for v in b]
    centre, num = statistics.fmean(log_a) - statistics.fmean(log_b), min(len(a), len(b))
    if num < MIN_REPEATS:
        return Interval(math.exp(centre), num_repeats=num)
    variances = [variance_of_mean(log_a), variance_of_mean(log_b)]
    degrees = welch_degrees(variances, [len(a) - 1, len(b) - 1])
    half = t95(degrees) * math.sqrt(sum(variances)) if degrees else 0.0
    return _exponential(Interval(centre, centre - half, centre + half, num))


def welch_degrees(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of estimated variances, 0 if all are 0.

    Source: F. E. Satterthwaite, "An approximate distribution of estimates of variance components", 1946.
    """
    spread = math.fsum(v * v / d for v, d in zip(variances, degrees, strict=True) if v)
    return math.fsum(variances) ** 2 / spread if spread else 0.0


def _exponential(logs: Interval) -> Interval:
    if logs.low is None or logs.high is None:
        return Interval(math.exp(logs.value), num_repeats=logs.num_repeats)
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.num_repeats)
