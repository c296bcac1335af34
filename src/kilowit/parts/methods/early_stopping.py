"""early_stopping: end training when the validation loss stops falling, and keep the best weights.

What it does   After each validation compares its loss with the best so far; after `patience` validations in a row
               without a gain of more than `threshold`, training ends. The weights of the best
               validation are kept in host memory and put back at the end (`restore_best`), whether or not training
               ended early.
When to use    When the number of epochs is a guess and validations are cheap beside the epochs that they save.
When not       With a schedule tuned to end at zero: stopping at a high learning rate can lose more than it saves.
Trade-off      train.energy_total_joule x0.3-1.05 | rouge2 -0.01..+0.01; host memory + the size of the model
Options        patience (1), threshold (0.0, absolute loss), restore_best (true)
Works with     all others.   Conflicts with  fsdp, zero, zero_offload (the best weights would
               be parts of weights). Needs train.num_validations of at least patience + 2.
Source         Prechelt 1998, Early Stopping - But When?, Lecture Notes in Computer Science 1524. Ranges ours.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.settings import Block, Count, NonNegative, Settings

CONFLICTS_WITH: Final = ("fsdp", "zero", "zero_offload")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: an estimate; the upper end is more validations and no early end"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.3, 1.05, source=_OURS),
    Expectation("rouge2", -0.01, 0.01, kind="difference", source=_OURS),
)


class Options(Block):
    """When to stop."""

    patience: Count = Field(1, description="validations in a row without gain")
    threshold: NonNegative = Field(0.0, description="fall of the loss that counts as gain")
    restore_best: bool = Field(True, description="end with the weights of the best validation")


def plan(settings: Settings, options: Options) -> Settings:
    """Check that there are validations enough to stop before the end.

    Raises:
        PartError: there are not.
    """
    needed = options.patience + 2
    if settings.train.num_validations < needed:
        raise PartError(
            f'method "early_stopping" with patience {options.patience} cannot stop before the last of '
            f"{settings.train.num_validations} validations",
            hint=f"Set train.num_validations to {needed} or more.",
        )
    return settings


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch the validations."""
    return [StopWhenFlat(options.patience, options.threshold, options.restore_best, facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the validations seen, the best one, and where training ended."""
    numbers = {**run.facts, "num_steps": run.num_steps}
    return Evidence(numbers.get("num_validations", 0) >= 1, numbers)


class StopWhenFlat(TrainingCallback):
    """Ends training after `patience` validations without gain; notes what it saw in `facts`."""

    def __init__(self, patience: int, threshold: float, restore_best: bool, facts: dict[str, Any]) -> None:
        self.patience, self.threshold, self.restore_best, self.facts = patience, threshold, restore_best, facts
        self.num_flat = 0
        self.best_weights: dict[str, Any] | None = None
        facts.update(num_validations=0, best_loss=None, best_step=None, stopped_early=False, restored_best=False)

    def on_validation(self, model: Any, num_steps: int, loss: float) -> bool:
        """Compare with the best loss; True after `patience` validations without gain."""
        self.facts["num_validations"] += 1
        best = self.facts["best_loss"]
        if best is not None and loss >= best - self.threshold:
            self.num_flat += 1
            self.facts["stopped_early"] = self.num_flat >= self.patience
            return self.num_flat >= self.patience
        self.num_flat = 0
        self.facts.update(best_loss=loss, best_step=num_steps)
        if self.restore_best:
            self.best_weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return False

    def on_train_end(self, model: Any) -> None:
        """Put the best weights back."""
        if self.best_weights is not None and self.num_flat > 0:
            model.load_state_dict(self.best_weights)
            self.facts["restored_best"] = True
        self.best_weights = None
