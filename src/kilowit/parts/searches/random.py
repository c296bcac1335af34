"""random: settings drawn at random from their ranges.

What it does   Draws each setting on its own, evenly on its scale. Trial k is the same whatever came before it.
When to use    As the fair reference of every cleverer search; with many settings of which few matter.
When not       Where each trial is dear and there are more than about ten: tpe learns from them.
Trade-off      search.energy_total_joule as num_trials | no trial depends on another, so all may run at once
Options        none
Goals          one. A failed trial is left out.
Source         Bergstra and Bengio 2012, "Random search for hyper-parameter optimization", JMLR 13.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.parts.search import Dimension, Goal, Parameters, Proposal, Searcher, Trials, draw, stream
from kilowit.settings import Block

CONTINUES: Final = False
MAX_OBJECTIVES: Final = 1


class Options(Block):
    """Random search has none."""


def searcher(space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> Searcher:
    """Return the search."""
    return _Random(space, goals, seed)


class _Random(Trials):
    def __init__(self, space: Sequence[Dimension], goals: Sequence[Goal], seed: int) -> None:
        super().__init__(goals)
        self._space, self._seed = space, seed

    def ask(self, known: Parameters | None = None) -> Proposal | None:
        number = len(self.proposals)
        return self.propose(Proposal(number, known or draw(self._space, stream(self._seed, number))))
