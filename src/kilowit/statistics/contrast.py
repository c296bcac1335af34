"""One comparison of two systems on the same examples: all that is printed of it, and the verdict of a family of them.

Verdicts are given for a family, the comparisons that are shown together: `judged` corrects for their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kilowit.errors import DataError
from kilowit.statistics.holm import holm
from kilowit.statistics.interval import ALPHA, MIN_REPEATS, NOT_DISTINGUISHABLE, SINGLE_RUN, Interval
from kilowit.statistics.randomization import sign_flip_p
from kilowit.statistics.resample import percentile_interval, resampled_means
from kilowit.statistics.two_level import (
    Runs,
    Spread,
    scaled_interval,
    spread_of,
    two_level_draws,
)


@dataclass(frozen=True)
class Contrast:
    """A less B. P-values are two-sided; those ending in ``_holm`` are known once `judged` has seen the family."""

    difference: Interval
    p_outputs: float | None = None  # of these outputs, by sign flips: would other examples say the same?
    p_method: float | None = None  # of what made them, over seeds and examples; None for fewer than 3 seeds
    num_wins: int | None = None  # examples on which A scores higher
    num_ties: int | None = None
    num_losses: int | None = None
    p_outputs_holm: float | None = None
    p_method_holm: float | None = None

    @property
    def verdict(self) -> str:
        """Better, worse or not distinguishable, of A as a method; single run where too few seeds tell."""
        return SINGLE_RUN if self.p_method_holm is None else self._word(self.p_method_holm)

    @property
    def verdict_on_outputs(self) -> str:
        """The same of these outputs alone: what another seed would have written is left aside."""
        return NOT_DISTINGUISHABLE if self.p_outputs_holm is None else self._word(self.p_outputs_holm)

    @property
    def num_examples(self) -> int | None:
        """How many examples were compared, if they were."""
        if self.num_wins is None or self.num_ties is None or self.num_losses is None:
            return None
        return self.num_wins + self.num_ties + self.num_losses

    @property
    def reversed(self) -> Contrast:
        """The same comparison as B less A."""
        shown, low, high = self.difference, self.difference.low, self.difference.high
        swapped = Interval(
            -shown.value, None if high is None else -high, None if low is None else -low, shown.num_repeats
        )
        return replace(self, difference=swapped, num_wins=self.num_losses, num_losses=self.num_wins)

    def _word(self, p_value: float) -> str:
        if p_value > ALPHA or not self.difference.excludes(0.0):  # never a verdict that the printed interval denies
            return NOT_DISTINGUISHABLE
        return "better" if self.difference.value > 0 else "worse"


def judged(family: Sequence[Contrast]) -> list[Contrast]:
    """Return comparisons that are shown together, their p-values corrected for their number by Holm's method."""
    outputs = _adjusted([c.p_outputs for c in family])
    methods = _adjusted([c.p_method for c in family])
    return [
        replace(contrast, p_outputs_holm=of_outputs, p_method_holm=of_method)
        for contrast, of_outputs, of_method in zip(family, outputs, methods, strict=True)
    ]


def _adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    known = [p for p in p_values if p is not None]
    adjusted = iter(holm(known))
    return [None if p is None else next(adjusted) for p in p_values]


def contrast_of_outputs(
    a: Sequence[float], b: Sequence[float], *, alone: tuple[Sequence[float], Sequence[float]] | None = None
) -> Contrast:
    """Compare two lists of scores of the same examples: paired bootstrap interval, sign flips, wins.

    Args:
        a: by example; of a corpus score what each example adds to it.
        b: likewise.
        alone: the scores of the examples each by itself, for wins and losses; None = these.

    Raises:
        DataError: different numbers of examples, none, or a value that is not finite.

    Example:
        >>> contrast_of_outputs([0.5, 0.4, 0.6], [0.1, 0.4, 0.7]).num_wins
        1
    """
    if len(a) != len(b):
        raise DataError(f"{len(a)} examples against {len(b)}", hint="Compare scores of the same examples.")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    p_value = sign_flip_p(differences)
    value = math.fsum(differences) / len(differences)
    interval = Interval(value) if len(a) == 1 else percentile_interval(value, resampled_means([differences])[0])
    counted = differences if alone is None else [x - y for x, y in zip(*alone, strict=True)]
    return Contrast(interval, p_outputs=p_value, **_counts(counted))


@dataclass(frozen=True)
class System:
    """A system's scores: by run, one value per example; and the means of resamples that it shares with its rivals."""

    runs: Runs
    means: Runs  # of `resample.resampled_means`
    is_trained: bool = True  # False: no seed changes it, and one run says all
    alone: Runs | None = None  # of a corpus score, whose runs are contributions: each example by itself, for wins


def contrast_of_systems(a: System, b: System, *, paired: bool) -> Contrast:
    """Compare two systems of one or several runs each on the same examples, two or more.

    Args:
        a: the system that is judged.
        b: what it is held against.
        paired: whether run i of both has the same seed.
    """
    of_a, of_b = _by_example(a.runs), _by_example(b.runs)
    differences = [x - y for x, y in zip(of_a, of_b, strict=True)]
    value = math.fsum(differences) / len(differences)
    num_runs = [len(system.runs) for system in (a, b) if system.is_trained]
    is_repeated = not num_runs or min(num_runs) >= MIN_REPEATS
    if is_repeated:
        spread = _spread(a, b, paired)
        draws = two_level_draws(a.means, b.means, paired=paired)
    else:
        spread = spread_of([differences])
        draws = [x - y for x, y in zip(_by_example(a.means), _by_example(b.means), strict=True)]
    return Contrast(
        scaled_interval(value, draws, spread, min(num_runs, default=1)),
        p_outputs=sign_flip_p(differences),
        p_method=spread.p_value(value) if is_repeated else None,
        **_counts([x - y for x, y in zip(_by_example(a.alone or a.runs), _by_example(b.alone or b.runs), strict=True)]),
    )


def _spread(a: System, b: System, paired: bool) -> Spread:
    if paired and len(a.runs) > 1:
        return spread_of([[x - y for x, y in zip(*runs, strict=True)] for runs in zip(a.runs, b.runs, strict=True)])
    return spread_of(a.runs, b.runs)


def _by_example(runs: Runs) -> list[float]:
    return list(runs[0]) if len(runs) == 1 else [math.fsum(values) / len(runs) for values in zip(*runs, strict=True)]


def _counts(differences: Sequence[float]) -> dict[str, int]:
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return {"num_wins": wins, "num_ties": len(differences) - wins - losses, "num_losses": losses}
