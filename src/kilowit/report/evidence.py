"""What the scores of one dataset prove: intervals, comparisons and joint draws of all its choices by one metric.

With scores per example, all choices are resampled together, so that a comparison is paired by example; a corpus score
such as BLEU by what each example adds to it. Without them (or for more than `MAX_RUNS` runs) the intervals of the
records stand in, as if the choices had been scored on different examples: too wide rather than too narrow.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

from kilowit.report.effects import quality, spread_of_records
from kilowit.report.examples import ExampleScores
from kilowit.report.runs import Choice
from kilowit.statistics.contrast import Contrast, System, contrast_of_systems, judged
from kilowit.statistics.interval import MIN_REPEATS, Interval
from kilowit.statistics.means import variance_of_mean, welch_degrees
from kilowit.statistics.pareto import student_draws
from kilowit.statistics.resample import NUM_RESAMPLES, SEED, resampled_means
from kilowit.statistics.two_level import Spread, mean_with_interval

MAX_RUNS: Final = 300  # whose examples are read: a minute and 20 MB at 1,000 examples each

Pair = tuple[Choice, Choice]


class Evidence:
    """The choices of one dataset, by one metric.

    Args:
        choices: all of the same dataset.
        metric: name of the score.
        examples: None = none are kept.
        num_draws: how many joint draws.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        metric: str,
        examples: ExampleScores | None = None,
        *,
        num_draws: int = NUM_RESAMPLES,
    ) -> None:
        self.choices = [choice for choice in choices if choice.values(metric)]
        self.metric, self.num_draws = metric, num_draws
        self._examples = examples
        self._contrasts: dict[tuple[int, int], Contrast] = {}

    def quality(self, choice: Choice) -> Interval | None:
        """Return the mean score over seeds with its interval over seeds and examples."""
        runs = self._tables.get(id(choice))
        if runs is None:
            return quality(choice, self.metric)
        return mean_with_interval(runs[:1] if choice.is_baseline else runs)

    def contrast(self, a: Choice, b: Choice) -> Contrast:
        """Compare `a` with `b`; its p-values are not corrected for the number of comparisons."""
        key = (id(a), id(b))
        if key not in self._contrasts:
            systems = self._systems
            if key[0] in systems and key[1] in systems:
                found = contrast_of_systems(systems[key[0]], systems[key[1]], paired=_is_paired(a, b))
            else:
                found = self._contrast_of_records(a, b)
            self._contrasts[key] = found
        return self._contrasts[key]

    def family(self, pairs: Sequence[Pair]) -> dict[tuple[int, int], Contrast]:
        """Compare pairs that are shown together, corrected for their number; by the ids of both choices."""
        distinct = list({(id(a), id(b)): (a, b) for a, b in pairs if a is not b}.values())
        contrasts = judged([self.contrast(a, b) for a, b in distinct])
        return {(id(a), id(b)): contrast for (a, b), contrast in zip(distinct, contrasts, strict=True)}

    def draws(self, choice: Choice) -> list[float]:
        """Return the mean score in joint draws: the same examples for all choices, seeds for each by Student's t.

        What the number of seeds does not tell is not drawn: fewer than three count as if no seed mattered.
        """
        values = self.draws_of_examples(choice)
        runs = choice.values(self.metric)
        if choice.is_baseline or len(runs) < MIN_REPEATS:
            return values
        error = math.sqrt(variance_of_mean(runs))
        of_seeds = student_draws(len(runs) - 1, len(values), self._stream(choice))
        return [value + error * t for value, t in zip(values, of_seeds, strict=True)]

    def draws_of_examples(self, choice: Choice) -> list[float]:
        """Return the mean score of these runs in joint draws of the examples, the same for all choices."""
        system = self._systems.get(id(choice))
        if system is not None:
            return [math.fsum(means) / len(means) for means in zip(*system.means, strict=True)]
        mean, spread = statistics.fmean(choice.values(self.metric)), spread_of_records(choice, self.metric)
        error = math.sqrt(spread.over_examples) if spread else 0.0
        generator = random.Random((SEED << 32) + (1 << 20) + self._stream(choice))
        return [generator.gauss(mean, error) for _ in range(self.num_draws)]

    def _stream(self, choice: Choice) -> int:
        return next(i for i, other in enumerate(self.choices) if other is choice)

    @cached_property
    def _tables(self) -> Mapping[int, list[Sequence[float]]]:
        """The scores by run and example of the choices whose runs have the examples that most have."""
        if self._examples is None or sum(len(c.finished) for c in self.choices) > MAX_RUNS:
            return {}
        ids = Counter(self._examples.ids(run) for choice in self.choices for run in choice.finished)
        ids.pop((), None)
        if not ids:
            return {}
        most_common = ids.most_common(1)[0][0]
        tables = {id(c): self._examples.table(c.finished, self.metric, most_common) for c in self.choices}
        return {key: runs for key, runs in tables.items() if runs is not None}

    @cached_property
    def _systems(self) -> Mapping[int, System]:
        tables = self._tables
        columns = [run for runs in tables.values() for run in runs]
        means = iter(resampled_means(columns, num_resamples=self.num_draws))
        found = {}
        for choice in (c for c in self.choices if id(c) in tables):
            runs = tables[id(choice)]
            alone = self._examples.alone(choice.finished, self.metric) if self._examples is not None else None
            found[id(choice)] = System(runs, [next(means) for _ in runs], not choice.is_baseline, alone)
        return found

    def _contrast_of_records(self, a: Choice, b: Choice) -> Contrast:
        values_a, values_b = a.values(self.metric), b.values(self.metric)
        difference = statistics.fmean(values_a) - statistics.fmean(values_b)
        num = min((len(c.values(self.metric)) for c in (a, b) if not c.is_baseline), default=1)
        sides = [spread_of_records(choice, self.metric) for choice in (a, b)]
        known = [side for side in sides if side is not None]
        if len(known) < 2:
            return Contrast(Interval(difference, num_repeats=num))
        is_repeated = all(c.is_baseline or len(c.values(self.metric)) >= MIN_REPEATS for c in (a, b))
        over_examples = sum(side.over_examples for side in known)
        degrees = min((side.degrees_of_examples for side in known if side.degrees_of_examples), default=0.0)
        over_seeds, degrees_of_seeds = self._over_seeds(a, b) if is_repeated else (0.0, 0.0)
        spread = Spread(over_seeds, degrees_of_seeds, over_examples, degrees)
        p_value, half = spread.p_value(difference), spread.half_width
        return Contrast(
            Interval(difference, difference - half, difference + half, num),
            p_outputs=Spread(0.0, 0.0, over_examples, degrees).p_value(difference) if degrees else None,
            p_method=p_value if is_repeated else None,
        )

    def _over_seeds(self, a: Choice, b: Choice) -> tuple[float, float]:
        """Return the variance of the difference over seeds and its degrees of freedom."""
        of_a, of_b = ([] if c.is_baseline else c.values(self.metric) for c in (a, b))
        if _is_paired(a, b) and of_a and len(of_a) == len(of_b):
            return variance_of_mean([x - y for x, y in zip(of_a, of_b, strict=True)]), len(of_a) - 1
        repeated = [values for values in (of_a, of_b) if values]
        variances = [variance_of_mean(values) for values in repeated]
        return sum(variances), welch_degrees(variances, [len(values) - 1 for values in repeated])


class EvidenceBook:
    """The evidence of every dataset by every metric, each computed when it is first asked for."""

    def __init__(self, groups: Iterable[Sequence[Choice]], examples: ExampleScores | None = None) -> None:
        """Take the choices by dataset."""
        self._groups = {group[0].dataset_key: group for group in groups}
        self._examples = examples
        self._pages: dict[tuple[str, str], Evidence] = {}

    def of(self, choice: Choice, metric: str) -> Evidence:
        """Return the evidence on the dataset of a choice."""
        key = (choice.dataset_key, metric)
        if key not in self._pages:
            self._pages[key] = Evidence(self._groups[choice.dataset_key], metric, self._examples)
        return self._pages[key]

    def quality(self, choice: Choice, metric: str) -> Interval | None:
        """Return the mean score of a choice with its interval, None when it has no such score."""
        return self.of(choice, metric).quality(choice)


def _is_paired(a: Choice, b: Choice) -> bool:
    """Whether both were run with the same seeds."""
    return [run.seed for run in a.finished] == [run.seed for run in b.finished] and len(a.finished) > 1
