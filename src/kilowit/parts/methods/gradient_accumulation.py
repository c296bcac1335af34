"""gradient_accumulation: the same update from several smaller forward and backward passes.

What it does   Splits each batch of the study into `num_parts` equal ones, runs them one after another and updates once.
               The gradient is the mean over all target tokens of the update, as it was: the loss is that of the whole
               batch, to rounding. Activations are held for one part at a time.
When to use    When a batch does not fit, and its size must not change.
When not       When it fits: smaller passes use the device less well, and weights are read several times.
Trade-off      train.memory_gpu_max_byte x0.2-0.95 | train.wall_second x0.95-1.6 | train.energy_total_joule x0.9-1.4
               | rouge2 -0.003..+0.003. Small batches pad less where lengths vary: that can outweigh the rest.
Options        num_parts (2): has to divide train.batch_size
Works with     all others.   Conflicts with  cuda_graph, token_budget, and batch_size, which looks for the
               batch itself.
               Over several processes each part must still be shared out evenly.
Source         Ott et al. 2018, arXiv 1806.00187, section 3.2. The stock Trainer of transformers 5 scales this gradient
               by the number of parts; kilowit's engine does not (src/kilowit/run/engines/trainer.py). On an H100,
               bart-large on SAMSum in bf16: 64 x 2 sorted took 1.22 x the time of 128 unsorted, and 0.66 x the energy.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.settings import Block, Settings

CONFLICTS_WITH: Final = ("batch_size", "cuda_graph", "token_budget")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: an estimate; activations of one part, weights and optimizer unchanged"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.2, 0.95, source=_OURS),
    Expectation("train.wall_second", 0.95, 1.6, source=_OURS),
    Expectation("train.energy_total_joule", 0.9, 1.4, source=_OURS),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="ours: the same gradient to rounding"),
)


class Options(Block):
    """How far to split."""

    num_parts: Annotated[int, Field(ge=2)] = Field(2, description="passes that each batch is split into")


def plan(settings: Settings, options: Options) -> Settings:
    """Split the batch.

    Raises:
        PartError: the batch cannot be split evenly.
    """
    train = settings.train
    if train.batch_size % options.num_parts:
        raise PartError(
            f'method "gradient_accumulation": num_parts {options.num_parts} does not divide train.batch_size '
            f"{train.batch_size}",
            hint="The update would change its size: choose a divisor.",
        )
    return settings.with_train(
        batch_size=train.batch_size // options.num_parts,
        gradient_accumulation_steps=train.gradient_accumulation_steps * options.num_parts,
    )


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Count the forward passes and their examples."""
    return [CountForward(facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the passes per update, and the most examples that one pass had."""
    num_forward, num_rows = run.facts.get("num_forward_passes", 0), run.facts.get("num_examples_per_pass_max", 0)
    numbers = {"num_steps": run.num_steps, **run.facts}
    # The rehearsal's passes are counted too, and an epoch's last update may have one part only: see past both.
    accumulates = num_forward >= min(run.num_steps * options.num_parts, run.num_steps + 3)
    return Evidence(0 < num_rows <= run.settings.train.batch_size and accumulates, numbers)


class CountForward(TrainingCallback):
    """Counts the encoder's forward passes of training and the most rows that one had."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        facts.update(num_forward_passes=0, num_examples_per_pass_max=0)

    def on_train_begin(self, model: Any) -> None:
        """Hook the encoder; validations, which run in evaluation mode, do not count."""

        def note(module: Any, inputs: Any, output: Any) -> None:
            if module.training:
                num_rows = int(output[0].shape[0])
                self.facts["num_forward_passes"] += 1
                self.facts["num_examples_per_pass_max"] = max(self.facts["num_examples_per_pass_max"], num_rows)

        self.handle = model.get_encoder().register_forward_hook(note)

    def on_train_end(self, model: Any) -> None:
        """Take the hook away."""
        self.handle.remove()
