"""What a search is: a file ``parts/searches/<name>.py`` that says which cell to run next, given how the others did.

Its docstring is its card. It defines

    Options     pydantic block of its own options
    CONTINUES   whether later cells go on from the model that an earlier one left
    MAX_OBJECTIVES   1, or more
    searcher(space, options, goals, seed) -> Searcher

A search knows nothing of cells, models or joules: it proposes parameters and is told values. It is asked and told in
one order, trial by trial, and what it proposes next follows from what it was told and from its seed alone. So a search
that was killed is rebuilt by telling it the finished trials again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

Parameters = Mapping[str, Any]
MAX_CHOICES: Final = 10_000


@dataclass(frozen=True)
class Dimension:
    """One setting that is searched: a range of numbers, or choices.

    Args:
        name: of the setting, e.g. ``train.learning_rate``.
        low: least value of a range, included.
        high: largest value of a range, included.
        is_log: the range is even on the logarithmic scale.
        is_whole: whole numbers only.
        choices: instead of a range.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False
    choices: tuple[Any, ...] = ()

    def draw(self, generator: random.Random) -> Any:
        """Draw a value."""
        return self.choices[generator.randrange(len(self.choices))] if self.choices else self.at(generator.random())

    def at(self, share: float) -> Any:
        """Return the value at a share, 0 to 1, of the range."""
        if self.is_whole and not self.is_log:
            return min(int(self.high), int(self.low + share * (self.high - self.low + 1)))
        if self.is_log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.is_whole else value

    def grid(self, num_points: int) -> tuple[Any, ...]:
        """Return the choices, or evenly spaced points of the range, both ends included."""
        if self.choices:
            return self.choices
        if self.is_whole:
            step = (self.high - self.low) / max(num_points - 1, 1)
            ends = [self.at(i / max(num_points - 1, 1)) if self.is_log else round(self.low + i * step)
                    for i in range(num_points)]  # fmt: skip
            return tuple(dict.fromkeys(ends))
        return tuple(self.at(i / max(num_points - 1, 1)) for i in range(num_points))

    def nudged(self, value: Any, factor: float) -> Any:
        """Return a value times a factor, kept in the range; of choices the one before or after."""
        if self.choices:
            place = self.choices.index(value) + (1 if factor > 1 else -1)
            return self.choices[min(max(place, 0), len(self.choices) - 1)]
        moved = min(max(value * factor, self.low), self.high)
        return round(moved) if self.is_whole else moved


@dataclass(frozen=True)
class Proposal:
    """One trial to run.

    Args:
        number: from 0, in the order of asking.
        parameters: value by name of the dimension.
        rung: how often its model has been continued.
        continues: the trial whose model it goes on from; None = from the start.
        share: of the training that the study asks for which this trial does.
    """

    number: int
    parameters: Parameters
    rung: int = 0
    continues: int | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Goal:
    """One figure that is searched for, and which way is good."""

    name: str
    is_high_better: bool


class Searcher(Protocol):
    """A search under way."""

    def ask(self, known: Parameters | None = None) -> Proposal | None:
        """Return the next trial; None = there is nothing more to try.

        Args:
            known: the parameters that this trial had when it was run before; they count, whatever would be proposed.
        """
        ...

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Say how the trial that was asked for last did: a value for each goal; None = it failed, which is no score."""
        ...

    def winners(self) -> list[int]:
        """Return the trials that won so far, best first; none if none has a value."""
        ...


class Trials:
    """What searches have in common: the trials that were proposed and what they were told.

    Args:
        goals: what is searched for.
    """

    def __init__(self, goals: Sequence[Goal]) -> None:
        self.goals = goals
        self.proposals: list[Proposal] = []
        self.values: dict[int, Sequence[float] | None] = {}

    def propose(self, proposal: Proposal) -> Proposal:
        """Note a proposal and return it."""
        self.proposals.append(proposal)
        return proposal

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Note how a trial did."""
        self.values[number] = values

    def merit(self, number: int) -> float:
        """Return the first goal of a trial, higher is better; minus infinity where it failed."""
        values = self.values.get(number)
        if values is None:
            return -math.inf
        return values[0] if self.goals[0].is_high_better else -values[0]

    def best(self, numbers: Sequence[int]) -> list[int]:
        """Return those that have a value, best first; of equals the earlier."""
        return sorted((n for n in numbers if self.values.get(n) is not None), key=lambda n: (-self.merit(n), n))

    def winners(self) -> list[int]:
        """Return the best trial."""
        return self.best(range(len(self.proposals)))[:1]


def stream(seed: int, number: int) -> random.Random:
    """Return the random numbers of one trial: they depend on nothing that was drawn before."""
    return random.Random(f"{seed}:{number}")


def draw(space: Sequence[Dimension], generator: random.Random) -> dict[str, Any]:
    """Draw a value for each dimension."""
    return {dimension.name: dimension.draw(generator) for dimension in space}
