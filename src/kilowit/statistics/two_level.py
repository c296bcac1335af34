"""Seeds and examples together: intervals and verdicts for systems that were trained several times.

A mean over k runs of n examples is uncertain twice: other examples, other seeds. The draws of a plain two-level
bootstrap are too narrow for few seeds (with three, a nominal 95 % interval covers down to 74 %: benchmarks/
statistics_calibration.py), because a bootstrap of three values knows neither that their spread is underestimated by a
third nor that it is itself uncertain. So the draws give the shape, and the width is nearly that of Cochran and Cox:
Student's quantiles of k - 1 and n - 1 degrees, weighted by the share that seeds and examples have in the variance.
What examples and seeds share (a seed's luck with an example) is counted once.

Source: two levels: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997;
variances: crossed random effects, S. R. Searle et al., "Variance Components", 1992; quantile: W. G. Cochran
and G. M. Cox, "Experimental Designs", 1957.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

from kilowit.statistics.interval import MIN_REPEATS, Interval
from kilowit.statistics.means import welch_degrees
from kilowit.statistics.resample import SEED, percentiles
from kilowit.statistics.student import Z95, degrees_of_t95, t95, two_sided_p

Runs = Sequence[Sequence[float]]  # by run (seed), one value per example
SHARE_POWER: Final = 1.25  # Cochran and Cox: 1, which covers up to 97.1 %; with this 94.7 to 96.4 % (ADR 5)
SEED_OF_SEEDS: Final = SEED + 1  # seeds are drawn from a stream of their own


@dataclass(frozen=True)
class Spread:
    """The variance of a mean over runs and examples, by where it comes from, each with its degrees of freedom.

    0 degrees: that part is none, or is not looked at.
    """

    over_seeds: float
    degrees_of_seeds: float
    over_examples: float
    degrees_of_examples: float

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval."""
        total = self.over_seeds + self.over_examples
        if not total:
            return 0.0
        of_seeds, of_examples = (t95(d) if d else 0.0 for d in (self.degrees_of_seeds, self.degrees_of_examples))
        share: float = (self.over_seeds / total) ** SHARE_POWER
        return (share * of_seeds + (1 - share) * of_examples) * math.sqrt(total)

    def p_value(self, difference: float) -> float:
        """Return the two-sided p-value of a difference, by the t distribution whose interval is as wide."""
        error = math.sqrt(self.over_seeds + self.over_examples)
        if not error:
            return float(difference == 0)
        return two_sided_p(difference / error, degrees_of_t95(self.half_width / error))


@dataclass(frozen=True)
class _Table:
    """Variances of one table of runs by examples."""

    over_seeds: float  # of the mean
    interaction: float  # its share of the variance of the mean
    by_example: list[float]  # means over runs


def spread_of(*tables: Runs) -> Spread:
    """Return the spread of a mean, or of the difference of two.

    Args:
        tables: one for a mean or for paired differences; two for a difference of systems whose seeds do not pair up.
            All have the same examples, at least two. A table of one run is a system that seeds do not change, or of
            which only this run is to be judged.
    """
    found = [_table(runs) for runs in tables]
    num = len(found[0].by_example)
    by_example = found[0].by_example
    if len(found) == 2:
        by_example = [a - b for a, b in zip(by_example, found[1].by_example, strict=True)]
    over_examples = statistics.variance(by_example) / num - sum(table.interaction for table in found)
    replicated = [(table.over_seeds, len(runs) - 1) for table, runs in zip(found, tables, strict=True) if len(runs) > 1]
    variances, degrees = [v for v, _ in replicated], [d for _, d in replicated]
    return Spread(sum(variances), welch_degrees(variances, degrees), max(0.0, over_examples), num - 1)


def mean_with_interval(runs: Runs) -> Interval:
    """Return the mean of a system's runs with the interval over seeds (three or more) and examples."""
    value = statistics.fmean(statistics.fmean(run) for run in runs)
    if len(runs[0]) < 2:
        return Interval(value, num_repeats=len(runs))
    half = (spread_of(runs) if len(runs) >= MIN_REPEATS else spread_of([_mean_by_example(runs)])).half_width
    return Interval(value, value - half, value + half, len(runs))


def scaled_interval(value: float, draws: Sequence[float], spread: Spread, num_repeats: int) -> Interval:
    """Return the 95 % interval that has the shape of bootstrap draws and the width of a spread.

    Args:
        value: the difference seen.
        draws: the same in bootstrap resamples (see `two_level_draws`).
        spread: what the width is to be.
        num_repeats: from how many repeats.
    """
    centre, deviation = statistics.fmean(draws), statistics.pstdev(draws)
    scale = spread.half_width / (Z95 * deviation) if deviation else 0.0
    low, high = percentiles(draws, (2.5, 97.5))
    return Interval(value, value + scale * (low - centre), value + scale * (high - centre), num_repeats)


def two_level_draws(a: Runs, b: Runs, *, paired: bool) -> list[float]:
    """Return a difference of means in every resample of examples and of seeds.

    Args:
        a: by run, the mean of each resample of the examples (`resample.resampled_means`); one run: seeds play no part.
        b: the same of the other side.
        paired: whether run i of both sides has the same seed, so that both are drawn together.
    """
    generator = random.Random(SEED_OF_SEEDS)
    num_draws = len(a[0])
    weights_a = _seed_weights(len(a), num_draws, generator)
    weights_b = weights_a if paired else _seed_weights(len(b), num_draws, generator)
    drawn_a, drawn_b = _weighted(a, weights_a), _weighted(b, weights_b)
    return [x - y for x, y in zip(drawn_a, drawn_b, strict=True)]


def _seed_weights(num_runs: int, num_draws: int, generator: random.Random) -> list[list[float]]:
    """Return for every draw the share of each run among as many drawn with replacement."""
    if num_runs == 1:
        return [[1.0]] * num_draws
    one = 1 / num_runs
    found = []
    for _ in range(num_draws):
        weights = [0.0] * num_runs
        for _ in range(num_runs):
            weights[int(generator.random() * num_runs)] += one
        found.append(weights)
    return found


def _weighted(means: Runs, weights: Sequence[Sequence[float]]) -> list[float]:
    if len(means) == 1:
        return list(means[0])
    return [sum(map(mul, w, m)) for w, m in zip(weights, zip(*means, strict=True), strict=True)]


def _mean_by_example(runs: Runs) -> list[float]:
    return list(runs[0]) if len(runs) == 1 else [math.fsum(values) / len(runs) for values in zip(*runs, strict=True)]


def _table(runs: Runs) -> _Table:
    by_example = _mean_by_example(runs)
    num_runs, num = len(runs), len(by_example)
    if num_runs == 1:
        return _Table(0.0, 0.0, by_example)
    means = [math.fsum(run) / num for run in runs]
    grand = math.fsum(means) / num_runs
    squares = math.fsum(
        (value - of_example - mean + grand) ** 2
        for run, mean in zip(runs, means, strict=True)
        for value, of_example in zip(run, by_example, strict=True)
    )
    interaction = squares / ((num_runs - 1) * (num - 1)) / (num_runs * num)
    return _Table(statistics.variance(means) / num_runs, interaction, by_example)
