"""nsga2: a genetic search for several objectives at once, e.g. quality against energy (Optuna).

What it does   Keeps a population, breeds the next from those that no other beats in all objectives, and ends with a
               front instead of one winner. num_winners of it, evenly spread, are confirmed on the test split.
When to use    Two objectives that pull apart: rouge2 against energy_kwh, over batch size, epochs, beams.
When not       Fewer trials than two populations: it is random search until the first is full.
Trade-off      search.energy_total_joule as num_trials | gives a front
Options        population (8), num_winners (3)
Goals          one or more. A failed trial is told as failed and breeds nothing.
Source         Deb et al. 2002, IEEE Transactions on Evolutionary Computation 6; Optuna 5.0 NSGAIISampler, whose default
               population is 50. The sampler is seeded anew for every trial (see tpe).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.parts.optuna_search import OptunaSearch, trial_seed
from kilowit.parts.search import Dimension, Goal, Searcher
from kilowit.settings import Block

CONTINUES: Final = False
MAX_OBJECTIVES: Final = 3


class Options(Block):
    """The size of the population and of the answer."""

    population: Annotated[int, Field(ge=2)] = Field(8, description="trials of a generation")
    num_winners: Annotated[int, Field(ge=1)] = Field(3, description="of the front, confirmed on the test split")


def searcher(space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> Searcher:
    """Return the search."""
    from optuna.samplers import NSGAIISampler

    def sampler(number: int) -> Any:
        return NSGAIISampler(population_size=options.population, seed=trial_seed(seed, number))

    return OptunaSearch(space, goals, sampler, num_winners=options.num_winners)
