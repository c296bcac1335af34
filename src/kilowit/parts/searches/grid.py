"""grid: every combination of a few values of each setting.

What it does   Takes the choices of each setting, or num_points evenly spaced points of its range, and tries all
               combinations, in an order drawn from the seed, so that a grid that is cut short has no blind side.
When to use    One or two settings, or to publish a whole surface. As the reference that other searches are held to.
When not       More than two settings: the number of trials is a product, and most of them repeat what one matters.
Trade-off      search.energy_total_joule x1 by definition | reads a surface, spends the most
Options        num_points (3): of each range; choices are taken as they are
Goals          one. A failed trial is left out.
Source         Bergstra and Bengio 2012, JMLR 13 (why random search beats it): the order and the defaults are ours.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.search import MAX_CHOICES, Dimension, Goal, Parameters, Proposal, Searcher, Trials
from kilowit.settings import Block

CONTINUES: Final = False
MAX_OBJECTIVES: Final = 1


class Options(Block):
    """How fine the grid is."""

    num_points: Annotated[int, Field(ge=1, le=100)] = Field(3, description="of each range, ends included")


def searcher(space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> Searcher:
    """Return the grid.

    Raises:
        PartError: too many combinations.
    """
    axes = [dimension.grid(options.num_points) for dimension in space]
    num = 1
    for axis in axes:
        num *= len(axis)
    if num > MAX_CHOICES:
        raise PartError(f"a grid of {num:,} trials, more than {MAX_CHOICES:,}", hint="Fewer points, or search by tpe.")
    points = [dict(zip([d.name for d in space], values, strict=True)) for values in itertools.product(*axes)]
    random.Random(seed).shuffle(points)
    return _Grid(points, goals)


class _Grid(Trials):
    def __init__(self, points: Sequence[Parameters], goals: Sequence[Goal]) -> None:
        super().__init__(goals)
        self._points = points

    def ask(self, known: Parameters | None = None) -> Proposal | None:
        number = len(self.proposals)
        if number >= len(self._points):
            return None
        return self.propose(Proposal(number, known or self._points[number]))
