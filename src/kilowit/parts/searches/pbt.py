"""pbt: population based training: the worst copy the best and vary their settings while they train.

What it does   `population` models train in num_intervals equal stretches. After each, those in the worst `quantile`
               take the weights of one of the best and its settings, each setting drawn anew with probability `resample`
               or else multiplied by 1.2 or 0.8. What is found is a schedule of settings; the record of each trial names
               the one whose model it copied, so that the winner's lineage can be read back.
When to use    Long trainings whose best settings change on the way: learning rate, label smoothing.
When not       Settings that cannot change mid-way, and trainings so short that an interval proves nothing.
Trade-off      search.energy_total_joule as population x one training, and the copies | no trial is wasted early
Options        population (6), num_intervals (4), quantile (0.25), resample (0.25)
Goals          one. A failed trial copies one of the best, like the worst.
Source         Jaderberg et al. 2017, arXiv 1711.09846: truncation selection, factors 1.2 and 0.8. Here weights alone
               are copied, and the optimizer begins anew in each interval (see asha). num_trials should be population
               times num_intervals: fewer end it early.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from kilowit.parts.search import Dimension, Goal, Parameters, Proposal, Searcher, Trials, draw, stream
from kilowit.settings import Block

CONTINUES: Final = True
MAX_OBJECTIVES: Final = 1
FACTORS: Final = (1.2, 0.8)


class Options(Block):
    """The population and how it renews itself."""

    population: Annotated[int, Field(ge=2, le=1000)] = Field(6, description="models that train side by side")
    num_intervals: Annotated[int, Field(ge=2, le=1000)] = Field(4, description="stretches of a training")
    quantile: Annotated[float, Field(gt=0, le=0.5)] = Field(0.25, description="share that copies, and that is copied")
    resample: Annotated[float, Field(ge=0, le=1)] = Field(0.25, description="probability that a setting is drawn anew")


def searcher(space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> Searcher:
    """Return the search."""
    return _Population(space, options, goals, seed)


class _Population(Trials):
    def __init__(self, space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> None:
        super().__init__(goals)
        self._space, self._options, self._seed = space, options, seed

    def ask(self, known: Parameters | None = None) -> Proposal | None:
        number, options = len(self.proposals), self._options
        interval, member = divmod(number, options.population)
        if interval >= options.num_intervals:
            return None
        share = 1 / options.num_intervals
        if interval == 0:
            drawn = known or draw(self._space, stream(self._seed, number))
            return self.propose(Proposal(number, drawn, share=share))
        source = self._source(interval - 1, member, number)
        if source is None:
            return None  # the whole population has failed
        parameters = self.proposals[source].parameters
        if source % options.population != member:
            parameters = self._varied(parameters, number)
        return self.propose(Proposal(number, known or parameters, interval, source, share))

    def winners(self) -> list[int]:
        """Return the best trial of the last interval that the whole population, failures aside, has finished."""
        size = self._options.population
        whole = [
            numbers
            for start in range(0, len(self.proposals), size)
            if len(numbers := range(start, min(start + size, len(self.proposals)))) == size
            and all(number in self.values for number in numbers)
        ]
        ranked = [self.best(numbers) for numbers in whole]
        last = next((numbers for numbers in reversed(ranked) if numbers), None)
        return super().winners() if last is None else last[:1]

    def _source(self, interval: int, member: int, number: int) -> int | None:
        """The trial of the interval before whose model a member goes on from: its own, or that of one of the best."""
        size = self._options.population
        ranked = self.best(range(interval * size, (interval + 1) * size))
        if not ranked:
            return None
        num = max(1, int(self._options.quantile * size))
        own = interval * size + member
        num_failed = size - len(ranked)
        worst = ranked[len(ranked) - max(0, num - num_failed) :] if num > num_failed else []
        if own in ranked and (own not in worst or own in ranked[:num]):
            return own
        best = ranked[:num]
        return best[stream(self._seed, number).randrange(len(best))]

    def _varied(self, parameters: Parameters, number: int) -> Parameters:
        generator = stream(self._seed, -number)
        return {
            dimension.name: dimension.draw(generator)
            if generator.random() < self._options.resample
            else dimension.nudged(parameters[dimension.name], FACTORS[generator.randrange(2)])
            for dimension in self._space
        }
