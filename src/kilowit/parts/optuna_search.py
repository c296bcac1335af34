"""A search by one of Optuna's samplers: ask, tell, and a front where there are several goals.

The study lives in memory; what is kept are the run folders. Each trial has a sampler of its own, seeded by the search's
seed and the trial's number: what it proposes follows from the trials before it, not from how often it was asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from kilowit.parts.search import Dimension, Goal, Parameters, Proposal, Trials


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of one trial's sampler: 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "little")


class OptunaSearch(Trials):
    """Asks an Optuna study for parameters and tells it values."""

    def __init__(
        self,
        space: Sequence[Dimension],
        goals: Sequence[Goal],
        sampler: Callable[[int], Any],
        *,
        num_winners: int = 1,
    ) -> None:
        super().__init__(goals)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = ["maximize" if goal.is_high_better else "minimize" for goal in goals]
        self._study = optuna.create_study(directions=directions, sampler=sampler(0))
        self._sampler, self._num_winners = sampler, num_winners
        self._trials: dict[int, int] = {}  # our number -> Optuna's
        self._distributions = {dimension.name: _distribution(dimension) for dimension in space}
        self._places = {d.name: {repr(c): i for i, c in enumerate(d.choices)} for d in space if d.choices}
        self._choices = {d.name: d.choices for d in space if d.choices}

    def ask(self, known: Parameters | None = None) -> Proposal | None:
        """Return the next trial; there is always one."""
        number = len(self.proposals)
        self._study.sampler = self._sampler(number)
        trial = self._study.ask(self._distributions)
        parameters = self._decoded(trial.params)
        if known is not None and dict(known) != parameters:  # another version of Optuna proposed it
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            self._study.enqueue_trial(self._encoded(known))
            trial, parameters = self._study.ask(self._distributions), dict(known)
        self._trials[number] = trial.number
        return self.propose(Proposal(number, parameters))

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Say how a trial did."""
        super().tell(number, values)
        if values is None:
            self._study.tell(self._trials[number], state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(self._trials[number], list(values))

    def winners(self) -> list[int]:
        """Return the best trial, or those of the front, evenly spread along the first goal from its best on."""
        if len(self.goals) == 1:
            return super().winners()
        on_front = {trial.number for trial in self._study.best_trials}
        front = self.best([number for number, trial in self._trials.items() if trial in on_front])
        if len(front) <= self._num_winners:
            return front
        step = (len(front) - 1) / max(self._num_winners - 1, 1)
        return [front[round(i * step)] for i in range(self._num_winners)]

    def _encoded(self, parameters: Parameters) -> dict[str, Any]:
        """Choices are told to Optuna by their places: it takes no lists, and confuses 1 with true."""
        return {
            name: self._places[name][repr(value)] if name in self._places else value
            for name, value in parameters.items()
        }

    def _decoded(self, parameters: Parameters) -> dict[str, Any]:
        return {
            name: self._choices[name][value] if name in self._choices else value for name, value in parameters.items()
        }


def _distribution(dimension: Dimension) -> Any:
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution(range(len(dimension.choices)))
    if dimension.is_whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.is_log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
