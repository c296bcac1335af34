"""A value with its interval, and the words of a verdict: all that is said of an effect is said with these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIN_REPEATS: Final = 3  # with two, the t interval is 4.5 means wide at a spread of 10 %: it says nothing
ALPHA: Final = 0.05

NOT_DISTINGUISHABLE: Final = "not distinguishable"
SINGLE_RUN: Final = "single run"


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


def verdict(effect: Interval | None, neutral: float, *, higher_is_better: bool) -> str:
    """Judge an effect by its interval; without one no judgement is made."""
    if effect is None or not effect.is_known:
        return SINGLE_RUN
    if not effect.excludes(neutral):
        return NOT_DISTINGUISHABLE
    return "better" if (effect.value > neutral) == higher_is_better else "worse"
