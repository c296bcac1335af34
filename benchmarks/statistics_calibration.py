"""Whether our verdicts and intervals keep their word on simulated systems and studies whose truth is known.

    python benchmarks/statistics_calibration.py [NUM_TRIALS]

False positives: two systems are alike, their outputs and seeds are not; at most 5 % of the trials may call them
different. Coverage: 95 % intervals must hold the truth in 93 to 97 % of the studies. Scores of examples have the
spread of a published BART run on SAMSum (standard deviation of ROUGE-1: 17.6 points, 819 examples), half of it shared
by all systems; seeds move a corpus score by 0.1 to 0.7 points, as published repeats do. The bar is for those; harsher
seeds follow. Exit 1 if a bar is missed by more than chance allows (two standard errors of the share).
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kilowit.statistics.contrast import Contrast, judged
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval, ratio_interval, ratio_of_means
from kilowit.statistics.randomization import sign_flip_p
from kilowit.statistics.resample import percentile_interval, percentiles, resampled_means
from kilowit.statistics.two_level import Spread, mean_with_interval, scaled_interval, spread_of, two_level_draws

NUM_EXAMPLES = 819
SPREAD = 0.176  # of a score over examples
ALPHA, LEAST, MOST = 0.05, 0.93, 0.97

Runs = list[list[float]]


@dataclass(frozen=True)
class World:
    """Where scores come from: what examples share, what a seed adds to all, what is left to chance."""

    name: str
    num_seeds: int
    over_seeds: float
    shared: float = SPREAD / math.sqrt(2)
    own: float = SPREAD / math.sqrt(2)
    num_examples: int = NUM_EXAMPLES

    def systems(self, num: int, generator: random.Random) -> list[Runs]:
        """Return systems of the true score 0, which share their examples."""
        difficulty = [generator.gauss(0, self.shared) for _ in range(self.num_examples)]

        def run() -> list[float]:
            shift = generator.gauss(0, self.over_seeds)
            return [shift + d + generator.gauss(0, self.own) for d in difficulty]

        return [[run() for _ in range(self.num_seeds)] for _ in range(num)]


PUBLISHED = [
    World(f"{k} seeds that move it by {100 * s:.1f} points", k, s) for k in (3, 5) for s in (0.001, 0.002, 0.007)
]
HARSH = [World(f"{k} seeds that move it by {100 * s:.1f} points", k, s) for k in (3, 5) for s in (0.0, 0.02, 0.05)]


def share(name: str, trials: Iterator[bool], low: float, high: float, *, is_bar: bool = True) -> bool:
    """Print how often something was so; return whether it lies within bounds, chance allowed for."""
    started = time.monotonic()
    seen = list(trials)
    part = sum(seen) / len(seen)
    error = math.sqrt(max(part * (1 - part), 1e-4) / len(seen))
    good = low - 2 * error <= part <= high + 2 * error
    word = ("within the bar" if low <= part <= high else "within chance of it" if good else "MISSED") if is_bar else ""
    print(
        f"{name:<74} {100 * part:5.1f} %  ±{200 * error:.1f}  {time.monotonic() - started:5.1f} s  {word}", flush=True
    )
    return good or not is_bar


def outputs(a: list[float], b: list[float], trial: int) -> Contrast:
    """Compare as `contrast_of_outputs` does, with draws of this trial's own and fewer of them."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    means = resampled_means([differences], num_resamples=1000, seed=trial)[0]
    p_value = sign_flip_p(differences, num_flips=4000, seed=trial)
    return Contrast(percentile_interval(statistics.fmean(differences), means), p_outputs=p_value)


def any_differs(family: list[Contrast]) -> bool:
    """Whether any comparison of a family is called different."""
    return any(contrast.verdict_on_outputs != "not distinguishable" for contrast in judged(family))


def outputs_differ(num_trials: int) -> Iterator[bool]:
    """Compare two files of one run each by sign flips."""
    world = World("", 1, 0.0)
    for trial in range(num_trials):
        (a,), (b,) = world.systems(2, random.Random(trial))
        yield any_differs([outputs(a, b, trial)])


def methods_differ(world: World, num_trials: int) -> Iterator[bool]:
    """Compare two methods over their seeds, as reports do."""
    for trial in range(num_trials):
        a, b = world.systems(2, random.Random(trial))
        table = [[x - y for x, y in zip(*runs, strict=True)] for runs in zip(a, b, strict=True)]
        value, spread = statistics.fmean(statistics.fmean(run) for run in table), spread_of(table)
        interval = Interval(value, value - spread.half_width, value + spread.half_width, world.num_seeds)
        yield judged([Contrast(interval, p_method=spread.p_value(value))])[0].verdict != "not distinguishable"


def families_differ(num_systems: int, num_trials: int) -> Iterator[bool]:
    """Compare several alike systems with the first; wrong if any is called different."""
    world = World("", 1, 0.0)
    for trial in range(num_trials):
        first, *others = (runs[0] for runs in world.systems(num_systems, random.Random(trial)))
        yield any_differs([outputs(first, other, trial) for other in others])


def widths_cover(num_seeds: int, part: float, num_trials: int) -> Iterator[bool]:
    """The interval where seeds make a known part of the variance, from the distribution of its estimates."""
    generator = random.Random(num_seeds)
    for _ in range(num_trials):
        seeds, examples = (generator.gammavariate(d / 2, 2 / d) for d in (num_seeds - 1, NUM_EXAMPLES - 1))
        spread = Spread(part * seeds, num_seeds - 1, (1 - part) * examples, NUM_EXAMPLES - 1)
        yield abs(generator.gauss(0, 1)) <= spread.half_width


def holds(interval: Interval | None, truth: float) -> bool:
    """Whether an interval holds the truth."""
    assert interval is not None
    return not interval.excludes(truth)


def examples_cover(num: int, num_trials: int) -> Iterator[bool]:
    """The percentile interval of one run, over its examples."""
    world = World("", 1, 0.0, num_examples=num)
    for trial in range(num_trials):
        ((scores,),) = world.systems(1, random.Random(trial))
        means = resampled_means([scores], num_resamples=2000, seed=trial)[0]
        yield holds(percentile_interval(statistics.fmean(scores), means), 0.0)


def seeds_cover(world: World, num_trials: int) -> Iterator[bool]:
    """The interval of a method's score, over seeds and examples."""
    for trial in range(num_trials):
        (runs,) = world.systems(1, random.Random(trial))
        yield holds(mean_with_interval(runs), 0.0)


def differences_cover(world: World, num_trials: int) -> Iterator[bool]:
    """The two-level interval of a difference of methods, from draws."""
    for trial in range(num_trials):
        a, b = world.systems(2, random.Random(trial))
        table = [[x - y for x, y in zip(*runs, strict=True)] for runs in zip(a, b, strict=True)]
        means = resampled_means([*a, *b], num_resamples=1000, seed=trial)
        draws = two_level_draws(means[: len(a)], means[len(a) :], paired=True)
        value = statistics.fmean(statistics.fmean(run) for run in table)
        yield holds(scaled_interval(value, draws, spread_of(table), len(a)), 0.0)


def plain_draws_cover(world: World, num_trials: int) -> Iterator[bool]:
    """The same without the small-sample width: what a textbook two-level bootstrap would claim."""
    for trial in range(num_trials):
        a, b = world.systems(2, random.Random(trial))
        means = resampled_means([*a, *b], num_resamples=1000, seed=trial)
        low, high = percentiles(two_level_draws(means[: len(a)], means[len(a) :], paired=True), (2.5, 97.5))
        yield low <= 0 <= high


def costs_cover(kind: Callable[[list[float], list[float]], Interval | None], num: int, trials: int) -> Iterator[bool]:
    """An interval of energy: log-normal, 7.2 % apart, as repeats of one published run were."""
    for trial in range(trials):
        generator = random.Random(trial)
        a, b = ([math.exp(generator.gauss(5, 0.072)) for _ in range(num)] for _ in range(2))
        yield holds(kind(a, b), 1.0)


def mean_of_logs(a: list[float], b: list[float]) -> Interval:
    """The t interval of a mean, of which the truth is moved to 1."""
    return mean_interval([math.log(value) - 4 for value in a])


def main(num_trials: int) -> int:
    """Print every share; return 1 if a bar is missed."""
    met = []
    print(f"{num_trials} trials each, n = {NUM_EXAMPLES}. False positives, bar 5 %:")
    met.append(share("two outputs of alike systems, sign flips", outputs_differ(num_trials), 0, ALPHA))
    met.append(share("any of 5 comparisons with alike systems, Holm", families_differ(6, num_trials // 4), 0, ALPHA))
    for world in PUBLISHED + HARSH:
        met.append(share(f"two alike methods, {world.name}", methods_differ(world, num_trials), 0, ALPHA))
    print("Coverage of 95 % intervals, bar 93 to 97 %:")
    met.append(share("one run, 819 examples, percentile", examples_cover(NUM_EXAMPLES, num_trials), LEAST, MOST))
    met.append(share("one run, 100 examples, percentile", examples_cover(100, num_trials), LEAST, MOST))
    for world in PUBLISHED:
        met.append(share(f"score, {world.name}", seeds_cover(world, num_trials), LEAST, MOST))
        met.append(share(f"difference, {world.name}", differences_cover(world, num_trials), LEAST, MOST))
    for world in HARSH:
        met.append(share(f"score, {world.name}", seeds_cover(world, num_trials), LEAST, MOST))
    for num in (3, 5):
        for part in (0.05, 0.2, 0.5, 0.8, 0.95):
            name = f"any mean, {num} seeds that make {100 * part:.0f} % of its variance"
            met.append(share(name, widths_cover(num, part, 10 * num_trials), LEAST, MOST))
    for num in (3, 5, 10):
        met.append(share(f"mean energy of {num} runs, t", costs_cover(mean_of_logs, num, num_trials), LEAST, MOST))
        paired = costs_cover(lambda a, b: ratio_interval(list(zip(a, b, strict=True))), num, num_trials)
        met.append(share(f"energy ratio of {num} pairs, t of logs", paired, LEAST, MOST))
        unpaired = costs_cover(ratio_of_means, num, num_trials)
        met.append(share(f"energy ratio of {num} and {num} runs, Welch of logs", unpaired, LEAST, MOST))
    print("For comparison, no bar: draws of seeds and examples as they are")
    for world in (*PUBLISHED, *HARSH[1:3]):
        share(f"difference, {world.name}", plain_draws_cover(world, num_trials // 4), LEAST, MOST, is_bar=False)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
