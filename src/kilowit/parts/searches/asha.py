"""asha: successive halving: many trials are begun, the better ones are trained on (Hyperband's inner loop).

What it does   Each configuration first trains for a small share of the whole, 1 / reduction_factor^(num_rungs - 1). As
               soon as a rung holds reduction_factor trials for each one promoted, its best goes on to the next rung
               from the model that it left; else a new configuration begins. The best of the highest rung wins.
When to use    When early validation tells good from bad: learning rates, batch sizes, warm-up.
When not       When the best start slowly (low learning rates with long schedules), or the space has the length itself.
Trade-off      search.energy_total_joule x0.2-0.6 of as many whole trials | may stop a late bloomer
Options        reduction_factor (3), num_rungs (3)
Goals          one. A failed trial is never promoted.
Source         Li et al. 2020, "A system for massively parallel hyperparameter tuning", arXiv 1810.05934, algorithm 2;
               Hyperband: Li et al. 2018, arXiv 1603.06560. A model that goes on keeps its weights alone: optimizer and
               schedule begin anew in each rung, and its data are drawn in another order (ours: that is what a model
               folder holds). train.schedule: constant is nearest to uninterrupted training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from kilowit.parts.search import Dimension, Goal, Parameters, Proposal, Searcher, Trials, draw, stream
from kilowit.settings import Block

CONTINUES: Final = True
MAX_OBJECTIVES: Final = 1


class Options(Block):
    """How hard each rung selects."""

    reduction_factor: Annotated[int, Field(ge=2, le=10)] = Field(3, description="one in so many goes on")
    num_rungs: Annotated[int, Field(ge=2, le=6)] = Field(3, description="the last trains to the study's full length")


def searcher(space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> Searcher:
    """Return the search."""
    return _Halving(space, options, goals, seed)


class _Halving(Trials):
    def __init__(self, space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> None:
        super().__init__(goals)
        self._space, self._options, self._seed = space, options, seed
        self._num_begun = 0

    def ask(self, known: Parameters | None = None) -> Proposal | None:
        number = len(self.proposals)
        promoted = self._promotable()
        if promoted is not None:
            before = self.proposals[promoted]
            rung = before.rung + 1
            share = self._reached(rung) - self._reached(before.rung)
            return self.propose(Proposal(number, before.parameters, rung, promoted, share))
        parameters = known or draw(self._space, stream(self._seed, self._num_begun))
        self._num_begun += 1
        return self.propose(Proposal(number, parameters, 0, None, self._reached(0)))

    def winners(self) -> list[int]:
        """Return the best trial of the highest rung that any has finished."""
        finished = [p for p in self.proposals if self.values.get(p.number) is not None]
        top = max((p.rung for p in finished), default=0)
        return self.best([p.number for p in finished if p.rung == top])[:1]

    def _reached(self, rung: int) -> float:
        """The share of the whole training that a model has had after a rung."""
        return float(self._options.reduction_factor) ** (rung - self._options.num_rungs + 1)

    def _promotable(self) -> int | None:
        gone_on = {p.continues for p in self.proposals}
        for rung in reversed(range(self._options.num_rungs - 1)):
            told = [p.number for p in self.proposals if p.rung == rung and p.number in self.values]
            best = self.best(told)[: len(told) // self._options.reduction_factor]
            waiting = [number for number in best if number not in gone_on]
            if waiting:
                return waiting[0]
        return None
