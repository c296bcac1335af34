"""Which option is the right one, how surely, and what one more run would teach: the arithmetic of a recommendation.

What is known of a figure of an option is a `Belief`: the mean of its runs, and how far the truth may lie from it in
every joint draw. In each draw the right option is the one with the best objective of those within the limits; the
share of draws in which an option is right is the probability that it is. An option whose figures are noise may win many
draws: nothing is hidden by taking means first.

The worth of one more run is what it is expected to add to the highest of these probabilities: results of the run are
drawn from what is believed now, and the decision is taken again with each.

Source: value of sample information: H. Raiffa and R. Schlaifer, "Applied Statistical Decision Theory", 1961; updating
a mean and its error instead of the whole belief: H. Jalal and F. Alarid-Escudero, "A Gaussian Approximation Approach
for Value of Information Analysis", Medical Decision Making 38, 2018.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kilowit.statistics.resample import SEED

NUM_RESULTS: Final = 128  # of one more run that are imagined
NUM_DRAWS_OF_WORTH: Final = 1000  # of the joint draws that each imagined result is judged by


@dataclass(frozen=True)
class Belief:
    """What is believed of one figure of one option.

    Args:
        mean: of the runs; of a figure on the log scale the logarithm of their geometric mean.
        deviation: of a single run around the truth; 0 = runs of it do not differ, or nobody knows how far.
        num_runs: that the mean is of.
        noise: draws of Student's t, one for every joint draw; the error of the mean is a multiple of them.
        shared: what else is uncertain, one for every joint draw, and is no less so after more runs: the choice of
            test examples, the sensors, the grid. Added, or on the log scale multiplied.
        is_log: a positive cost, whose errors are ratios.
    """

    mean: float
    deviation: float
    num_runs: int
    noise: Sequence[float]
    shared: Sequence[float] | None = None
    is_log: bool = False

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.deviation / math.sqrt(self.num_runs)

    @property
    def value(self) -> float:
        """The mean in the unit of the figure."""
        return math.exp(self.mean) if self.is_log else self.mean

    def draws(self, num_draws: int | None = None) -> list[float]:
        """Return the figure in the first `num_draws` joint draws; None = in all."""
        noise = self.noise if num_draws is None else self.noise[:num_draws]
        mean, error = self.mean, self.error
        found = [mean + error * t for t in noise] if error else [mean] * len(noise)
        if self.is_log:
            found = [math.exp(value) for value in found]
        if self.shared is None:
            return found
        if self.is_log:
            return [value * factor for value, factor in zip(found, self.shared, strict=False)]
        return [value + shift for value, shift in zip(found, self.shared, strict=False)]

    def imagined(self, generator: random.Random, draw: int) -> float:
        """Return what one more run may give if the truth is that of a joint draw; on the log scale its logarithm."""
        return self.mean + self.error * self.noise[draw] + generator.gauss(0.0, self.deviation)

    def after(self, result: float) -> Belief:
        """Return the belief with one more run."""
        num = self.num_runs + 1
        return replace(self, mean=(self.mean * self.num_runs + result) / num, num_runs=num)


@dataclass(frozen=True)
class Bound:
    """A figure must not be below (`is_least`) or above a limit."""

    figure: str
    limit: float
    is_least: bool

    def is_met(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        return value >= self.limit if self.is_least else value <= self.limit

    def shortfall(self, value: float) -> float:
        """Return by what share of the limit a value misses it; 0 if it keeps it."""
        miss = self.limit - value if self.is_least else value - self.limit
        if miss <= 0:
            return 0.0
        return miss / abs(self.limit) if self.limit else math.inf


Option = Mapping[str, Belief]


@dataclass(frozen=True)
class Question:
    """What is asked of options: bounds, and a figure that is to be high or low among those that keep them."""

    bounds: Sequence[Bound]
    objective: str
    is_high_better: bool

    def worths(self, option: Option, num_draws: int | None = None) -> list[float]:
        """Return in every draw how good an option is, higher is better; minus infinity where it breaks a bound."""
        drawn = {name: option[name].draws(num_draws) for name in {self.objective, *(b.figure for b in self.bounds)}}
        sign = 1.0 if self.is_high_better else -1.0
        found = [sign * value for value in drawn[self.objective]]
        for bound in self.bounds:
            values, limit = drawn[bound.figure], bound.limit
            kept = [v >= limit for v in values] if bound.is_least else [v <= limit for v in values]
            found = [worth if keeps else -math.inf for worth, keeps in zip(found, kept, strict=True)]
        return found

    def keeps(self, option: Option) -> bool:
        """Whether an option keeps every bound by its means."""
        return all(bound.is_met(option[bound.figure].value) for bound in self.bounds)

    def probability_met(self, option: Option, bound: Bound) -> float:
        """Return the share of draws in which an option keeps one bound."""
        values = option[bound.figure].draws()
        return sum(bound.is_met(value) for value in values) / len(values)


def shares(question: Question, options: Sequence[Option]) -> list[float]:
    """Return for each option the share of draws in which it is the right one; what is missing to 1: none is."""
    counts = [0.0] * len(options)
    worths = [question.worths(option) for option in options]
    for drawn in zip(*worths, strict=True):
        best = max(drawn)
        if best == -math.inf:
            continue
        first = [i for i, worth in enumerate(drawn) if worth == best]
        for index in first:  # exact ties: copies of one another
            counts[index] += 1 / len(first)
    num = len(worths[0]) if worths else 1
    return [count / num for count in counts]


@dataclass(frozen=True)
class Worth:
    """What one more run of an option is expected to do."""

    option: int
    gain: float  # added to the probability that the answer is right
    change: float  # probability that the answer becomes another one


def worth_of_run(question: Question, options: Sequence[Option], index: int) -> Worth:
    """Return what one more run of one option is expected to add to the probability of the best answer.

    Source: see the head of this module.
    """
    num = min(NUM_DRAWS_OF_WORTH, len(next(iter(options[index].values())).noise))
    rivals = [question.worths(option, num) for i, option in enumerate(options) if i != index]
    best_rival, winner = _best_of(rivals, num)
    own = len(rivals)  # the place of the option itself in the counts

    def counted(option: Option) -> list[int]:
        counts = [0] * (own + 1)
        for worth, rival, who in zip(question.worths(option, num), best_rival, winner, strict=True):
            if worth > rival:
                counts[own] += 1
            elif who is not None:
                counts[who] += 1
        return counts

    now = counted(options[index])
    answer = now.index(max(now))
    generator = random.Random((SEED << 32) + (1 << 28) + index)
    gains, changes = [], 0
    for _ in range(NUM_RESULTS):
        draw = generator.randrange(num)
        then = counted({name: b.after(b.imagined(generator, draw)) for name, b in options[index].items()})
        # On average a result leaves the probability of today's answer as it is: what it adds is what switching adds.
        gains.append(max(then) - then[answer])
        changes += then.index(max(then)) != answer
    return Worth(index, statistics.fmean(gains) / num, changes / NUM_RESULTS)


def _best_of(rivals: Sequence[Sequence[float]], num: int) -> tuple[list[float], list[int | None]]:
    """Return in every draw the best worth and whose it is; minus infinity and None where no rival keeps the bounds."""
    best = [-math.inf] * num
    who: list[int | None] = [None] * num
    for place, worths in enumerate(rivals):
        for draw, worth in enumerate(worths):
            if worth > best[draw]:
                best[draw], who[draw] = worth, place
    return best, who


# Ours: without it stated and seen probabilities lay 0.03 to 0.08 apart in the worlds of
# benchmarks/recommend_calibration.py, with 4 0.02 to 0.03; 2 and 8 do alike.
PRIOR_DEGREES: Final = 4


def deviations(groups: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """Return for each group of repeats the deviation of a single run, and its degrees of freedom.

    A group's own variance is weighted with that of all others by degrees, theirs by at most `PRIOR_DEGREES`: with three
    seeds the others decide, with ten the group. 0 degrees: nothing was repeated anywhere.
    """
    squares = [statistics.variance(g) * (len(g) - 1) if len(g) > 1 else 0.0 for g in groups]
    own = [max(len(g) - 1, 0) for g in groups]
    total_squares, total = math.fsum(squares), sum(own)
    found = []
    for square, degrees in zip(squares, own, strict=True):
        others = total - degrees
        lent = min(others, PRIOR_DEGREES)
        of_others = max(0.0, total_squares - square) / others if others else 0.0
        known = lent + degrees
        found.append((math.sqrt((lent * of_others + square) / known) if known else 0.0, known))
    return found
