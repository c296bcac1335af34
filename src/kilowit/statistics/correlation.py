"""Pearson, Spearman and Kendall correlation with bootstrap intervals: does a metric agree with people?

Tied ranks get their mean (Spearman), Kendall is tau-b. The interval resamples documents, all rows of one together: rows
on the same document are no independent witnesses. Pairs are resampled 1,000 times, on ranks drawn anew each time.

Source: Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945 (tau-b); W. R. Knight, "A Computer
Method for Calculating Kendall's Tau with Ungrouped Data", 1966; intervals: Deutsch, Dror and Roth 2021, arXiv
2104.00054.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from kilowit.errors import DataError
from kilowit.statistics.interval import Interval
from kilowit.statistics.resample import SEED, percentiles

NUM_RESAMPLES: Final = 1_000
Correlation = Callable[[Sequence[float], Sequence[float]], float | None]


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return the product-moment correlation; None where a side does not vary."""
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    of_x, of_y = [v - mean_x for v in x], [v - mean_y for v in y]
    norm = math.sqrt(math.fsum(v * v for v in of_x)) * math.sqrt(math.fsum(v * v for v in of_y))
    if not norm or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return math.fsum(a * b for a, b in zip(of_x, of_y, strict=True)) / norm


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return the correlation of ranks; None where a side does not vary."""
    return pearson(ranks(x), ranks(y))


def ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 1 on; equal values share the mean of theirs.

    >>> ranks([10.0, 30.0, 10.0])
    [1.5, 3.0, 1.5]
    """
    ordered = sorted(values)
    of_value = {v: (bisect_left(ordered, v) + bisect_right(ordered, v) + 1) / 2 for v in set(values)}
    return [of_value[value] for value in values]


def kendall(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Kendall's tau-b, in n log n steps; None where a side does not vary."""
    pairs = sorted(zip(x, y, strict=True))
    num = len(pairs) * (len(pairs) - 1) // 2
    tied_x, tied_y, tied_both = (_num_tied(values) for values in (x, y, pairs))
    if num in (tied_x, tied_y):
        return None
    discordant = _num_inversions([b for _, b in pairs])
    difference = num - tied_x - tied_y + tied_both - 2 * discordant
    return difference / math.sqrt(num - tied_x) / math.sqrt(num - tied_y)


def correlation_interval(
    measure: Correlation,
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval | None:
    """Return a correlation with its 95 % percentile interval; None where a side does not vary.

    Args:
        measure: `pearson`, `spearman` or `kendall`.
        x: one value per row.
        y: as many.
        groups: what each row is drawn with, e.g. its document; None = each row alone.
        num_resamples: how many; those in which a side does not vary are left out.

    Raises:
        DataError: different lengths, or fewer than three rows.
    """
    if len(x) != len(y) or len(x) < 3:
        raise DataError(f"{len(x)} values against {len(y)}", hint="A correlation needs the same rows, three or more.")
    value = measure(x, y)
    if value is None:
        return None
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups if groups is not None else range(len(x))):
        places.setdefault(group, []).append(place)
    members, generator = list(places.values()), random.Random(SEED)
    drawn: list[float] = []
    for _ in range(num_resamples):
        rows = [place for group in generator.choices(members, k=len(members)) for place in group]
        found = measure([x[i] for i in rows], [y[i] for i in rows])
        drawn += [] if found is None else [found]
    if len(drawn) < num_resamples / 2:
        return Interval(value, num_repeats=len(members))
    low, high = percentiles(drawn, (2.5, 97.5))
    return Interval(value, low, high, len(members))


def _num_tied(values: Sequence[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def _num_inversions(values: list[float]) -> int:
    """Return the number of pairs that are out of order, by merging."""
    total, width, size = 0, 1, len(values)
    while width < size:
        merged: list[float] = []
        for start in range(0, size, 2 * width):
            left, right = values[start : start + width], values[start + width : start + 2 * width]
            inverted, both = _merge(left, right)
            total += inverted
            merged += both
        values, width = merged, 2 * width
    return total


def _merge(left: Sequence[float], right: Sequence[float]) -> tuple[int, list[float]]:
    inverted, both, i = 0, [], 0
    for value in right:
        while i < len(left) and left[i] <= value:
            both.append(left[i])
            i += 1
        inverted += len(left) - i
        both.append(value)
    return inverted, [*both, *left[i:]]
