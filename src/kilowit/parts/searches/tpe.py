"""tpe: Bayesian search by tree-structured Parzen estimators (Optuna).

What it does   After num_startup_trials at random it models where good trials lie and where the others do, and proposes
               where the ratio of the two densities is highest.
When to use    Ten to a few hundred trials of settings that matter; the default choice when trials are dear.
When not       Fewer trials than about twice num_startup_trials: until then it is random search.
Trade-off      search.energy_total_joule as num_trials | quality of the best trial >= random's on average
Options        num_startup_trials (5), num_candidates (24)
Goals          one. A failed trial is told as failed and models nothing.
Source         Bergstra et al. 2011, NeurIPS 24, section 4; Optuna 5.0 TPESampler, whose default is 10 startup trials.
               The sampler is seeded anew for every trial, so that a search goes on after a kill as if it had not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.parts.optuna_search import OptunaSearch, trial_seed
from kilowit.parts.search import Dimension, Goal, Searcher
from kilowit.settings import Block

CONTINUES: Final = False
MAX_OBJECTIVES: Final = 1


class Options(Block):
    """How TPE begins and how many candidates it weighs."""

    num_startup_trials: Annotated[int, Field(ge=1)] = Field(5, description="drawn at random first")
    num_candidates: Annotated[int, Field(ge=1)] = Field(24, description="that the next trial is the best of")


def searcher(space: Sequence[Dimension], options: Options, goals: Sequence[Goal], seed: int) -> Searcher:
    """Return the search."""
    from optuna.samplers import TPESampler

    def sampler(number: int) -> Any:
        return TPESampler(
            n_startup_trials=options.num_startup_trials,
            n_ei_candidates=options.num_candidates,
            seed=trial_seed(seed, number),
        )

    return OptunaSearch(space, goals, sampler)
