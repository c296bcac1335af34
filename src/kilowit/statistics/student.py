"""Student's t: tails and quantiles for any degrees of freedom, whole or not.

Source: quantile by the expansion 26.7.5 of Abramowitz and Stegun and Newton's steps; tail by the regularised incomplete
beta function, DLMF 8.17.2 and 26.7.1 of Abramowitz and Stegun; its continued fraction DLMF 8.17.22 by Lentz's method.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Final

Z95: Final = NormalDist().inv_cdf(0.975)  # 1.959964
_TINY: Final = 1e-300
_PRECISION: Final = 1e-15
_MAX_TERMS: Final = 10_000
_NORMAL_FROM: Final = 1e6  # degrees of freedom from which t differs from the normal by less than 1e-6 of itself


def two_sided_p(t: float, degrees_of_freedom: float) -> float:
    """Return the probability that |T| is at least |t|.

    Raises:
        ValueError: no positive degrees of freedom.
    """
    if degrees_of_freedom <= 0:
        raise ValueError(f"t distribution needs positive degrees of freedom, got {degrees_of_freedom}")
    if degrees_of_freedom >= _NORMAL_FROM:
        return math.erfc(abs(t) / math.sqrt(2))
    return _incomplete_beta(degrees_of_freedom / (degrees_of_freedom + t * t), degrees_of_freedom / 2, 0.5)


@lru_cache(maxsize=4096)
def t95(degrees_of_freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t.

    Raises:
        ValueError: no positive degrees of freedom.

    >>> round(t95(2), 3)
    4.303
    """
    if degrees_of_freedom <= 0:
        raise ValueError(f"t distribution needs positive degrees of freedom, got {degrees_of_freedom}")
    if degrees_of_freedom >= _NORMAL_FROM:
        return Z95
    z, inverse = Z95, 1 / degrees_of_freedom
    t = z + (z**3 + z) / 4 * inverse + (5 * z**5 + 16 * z**3 + 3 * z) / 96 * inverse**2  # too low below 3 degrees
    for _ in range(_MAX_TERMS):  # Newton from the left: the tail is convex, so no step goes too far
        step = (two_sided_p(t, degrees_of_freedom) - 0.05) / (2 * _density(t, degrees_of_freedom))
        t += step
        if abs(step) < 1e-10 * t:
            break
    return t


def degrees_of_t95(quantile: float) -> float:
    """Return the degrees of freedom whose two-sided 95 % quantile is this: the inverse of `t95`.

    Quantiles beyond the one for 1 degree give 1, those of the normal distribution and below infinity. Rounded to three
    decimals of the quantile, so that thousands of comparisons share a few hundred inversions.
    """
    return _degrees_of(round(quantile, 3))


@lru_cache(maxsize=4096)
def _degrees_of(quantile: float) -> float:
    least, most = 1 / _NORMAL_FROM, 1.0  # of the inverse, in which the quantile is nearly a straight line
    if quantile >= t95(1):
        return 1.0
    if quantile <= t95(1 / least):
        return math.inf
    low, high = t95(1 / least) - quantile, t95(1.0) - quantile
    while most - least > 1e-5 * most:
        middle = max(least + 1e-6 * most, least - low * (most - least) / (high - low))
        miss = t95(1 / middle) - quantile
        if abs(miss) < 1e-6:
            return 1 / middle
        if miss < 0:  # the Illinois rule: an end that stays loses half its say
            least, low, high = middle, miss, high / 2
        else:
            most, high, low = middle, miss, low / 2
    return 2 / (least + most)


def _density(t: float, degrees_of_freedom: float) -> float:
    half = degrees_of_freedom / 2
    log_front = math.lgamma(half + 0.5) - math.lgamma(half) - math.log(degrees_of_freedom * math.pi) / 2
    return math.exp(log_front - (half + 0.5) * math.log1p(t * t / degrees_of_freedom))


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side only
        return 1 - front * _fraction(1 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    value, c, d = 1.0, 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
