"""Quality against cost: the front, how surely each point is on it, the volume it spans.

A point is on the front if none costs no more and gains no less. Noise must not decide that, so membership is a
probability: the share of joint draws of all points in which the point is on the front of that draw.

Source: hypervolume: E. Zitzler and L. Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the
Strength Pareto Approach", IEEE Transactions on Evolutionary Computation 3, 1999.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kilowit.statistics.interval import MIN_REPEATS
from kilowit.statistics.means import variance_of_mean
from kilowit.statistics.resample import SEED

Point = tuple[float, float]  # cost, gain


def pareto_front(points: Sequence[Point]) -> list[int]:
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


def hypervolume(points: Sequence[Point], reference: Point, ideal: Point) -> float:
    """Return the share of the rectangle from a reference point to an ideal one that the points dominate.

    Args:
        points: cost and gain; what is worse than the reference in either adds nothing.
        reference: the highest cost and the lowest gain that count.
        ideal: the lowest cost and the highest gain.

    >>> hypervolume([(1.0, 1.0)], reference=(2.0, 0.0), ideal=(0.0, 2.0))
    0.25
    """
    area = (reference[0] - ideal[0]) * (ideal[1] - reference[1])
    if area <= 0:
        return 0.0
    inside = [p for p in points if p[0] < reference[0] and p[1] > reference[1]]
    total, gained = 0.0, reference[1]
    for index in pareto_front(inside):
        cost, gain = max(inside[index][0], ideal[0]), min(inside[index][1], ideal[1])
        total += (reference[0] - cost) * max(0.0, gain - gained)
        gained = max(gained, gain)
    return total / area


@dataclass(frozen=True)
class Draws:
    """One system in all joint draws."""

    costs: list[float]
    gains: list[float]


def membership(systems: Sequence[Draws]) -> list[float]:
    """Return for each system the share of draws in which it is on the front."""
    counts = [0] * len(systems)
    num_draws = len(systems[0].costs) if systems else 0
    costs = list(zip(*(s.costs for s in systems), strict=True))
    gains = list(zip(*(s.gains for s in systems), strict=True))
    for cost, gain in zip(costs, gains, strict=True):
        for index in pareto_front(list(zip(cost, gain, strict=True))):
            counts[index] += 1
    return [count / num_draws for count in counts]


def drawn_cost(values: Sequence[float], num_draws: int, stream: int) -> list[float]:
    """Draw the mean of a positive cost as its repeats leave it open: Student's t on the log scale.

    Fewer than three repeats leave nothing to draw from: the mean itself, in every draw.

    Args:
        values: one per repeat.
        num_draws: how many.
        stream: tells the draws of one system from those of another.
    """
    mean = math.fsum(values) / len(values)
    if len(values) < MIN_REPEATS or min(values) <= 0:
        return [mean] * num_draws
    error = math.sqrt(variance_of_mean([math.log(value) for value in values]))
    largest = math.log(sys.float_info.max) - max(0.0, math.log(mean)) - 1  # three wild repeats can ask for more
    return [mean * math.exp(min(error * t, largest)) for t in student_draws(len(values) - 1, num_draws, stream)]


def student_draws(degrees_of_freedom: int, num_draws: int, stream: int) -> list[float]:
    """Return draws of Student's t; the same arguments give the same draws."""
    generator = random.Random((SEED << 32) + stream)
    half = degrees_of_freedom / 2
    return [generator.gauss(0.0, 1.0) / math.sqrt(generator.gammavariate(half, 1 / half)) for _ in range(num_draws)]
