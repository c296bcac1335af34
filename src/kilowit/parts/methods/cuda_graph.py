"""cuda_graph: forward and backward pass recorded once, and launched as one graph a batch.

What it does   Fills packed rows up to a few shapes with pairs of padding, whose labels are ignored: loss and gradients
               stay those of the row. For each shape, forward and backward are recorded once as a CUDA graph, and then
               replayed: the host launches one graph where it launched some thousand kernels. Recording is a part of the
               warm-up, on the bill. Batches with fewer examples than the others, and the optimizer, run as they did.
When to use    On a GPU that waits for its host: small models, small batches, fast GPUs, busy or slow hosts.
When not       Runs of a few dozen steps: each shape costs a step or two before the first. Where memory is short:
               gradients stay, and the graphs' pool is not shared with validation.
Trade-off      train.wall_second x0.25-1.03 | train.energy_total_joule x0.5-1.03
               | train.memory_gpu_max_byte x0.9-2.2 | rouge2 -0.005..+0.005 (beside the same recipe without it, on CUDA)
Options        num_shapes (6): row lengths to record at most; each is one that saves more padding than it takes
Works with     packing, which it needs, balanced, bf16, bf16_weights, freeze, sortish, truncate, early_stopping,
               label_smoothing, fused_loss, train.gradient_accumulation_steps; compile is not excluded and was not
               tried. The engine loop.   Conflicts with  distill, gradient_accumulation, gradient_checkpointing.
Source         PyTorch blog 2021, Accelerating PyTorch with CUDA Graphs. Ours, one H100 beside a slow host, BART-base,
               batch 32, two seeds: x0.27 and x0.30 of the time, x0.53 and x0.56 of the energy; with the warm-up x0.44
               and x0.50 of the time (docs/results/cuda-graph). BART-large, batch 128: docs/results/train-frugal.md.
               With bf16_weights the recorded layers make fewer passes over memory, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Block, Count

NEEDS: Final = {"packing": "rows without padding can be filled up to one shape, and their loss stays the same"}
CONFLICTS_WITH: Final = {
    "distill": "its teacher's pass is not recorded",
    "gradient_accumulation": "it counts passes that a replay does not take; train.gradient_accumulation_steps works",
    "gradient_checkpointing": "it saves the state of the random generator, which nothing recorded can",
}
FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
ENGINES: Final = ("loop",)
REQUIRES: Final = ("nvidia_gpu",)
_STEP: Final = "ours: BART-large, one H100, with fused_loss: x0.76, energy x0.87; small models: our estimate"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.25, 1.03, source=_STEP),
    Expectation("train.energy_total_joule", 0.5, 1.03, source=_STEP),
    Expectation(
        "train.memory_gpu_max_byte",
        0.9,
        2.2,
        source="ours: one H100, BART-base x0.92 and x0.98, BART-large x1.05; upper end: our estimate for small models",
    ),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="ours: loss and gradients equal to 1e-5"),
)


class Options(Block):
    """How many lengths."""

    num_shapes: Count = Field(6, description="row lengths to record; each costs two steps in the warm-up")


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Ask for rows of a few shapes; the engine fills and records them."""
    return replace(data, num_row_shapes=options.num_shapes)


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch what is replayed."""
    return [CountReplays(facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show how many batches were replayed, over rows of how many shapes, and what padding they cost."""
    numbers = {
        "num_replays": run.facts.get("num_replays", 0),
        "num_shapes": len(run.facts.get("shapes", ())),
        "padding_fraction": run.num_padding_tokens / (run.num_padding_tokens + run.num_real_tokens),
    }
    return Evidence(numbers["num_replays"] > 0 and numbers["num_shapes"] <= options.num_shapes, numbers)


class CountReplays(TrainingCallback):
    """Counts replays, and the shapes of what was replayed."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def on_train_begin(self, model: Any) -> None:
        """Count from nothing."""
        self.facts.update(num_replays=0, shapes=[])

    def on_replay(self, model: Any, inputs: Mapping[str, Any]) -> None:
        """Count one."""
        self.facts["num_replays"] += 1
        shape = [inputs[name].shape[1] for name in ("input_ids", "labels")]
        if shape not in self.facts["shapes"]:
            self.facts["shapes"].append(shape)
