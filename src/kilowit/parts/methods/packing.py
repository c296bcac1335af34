"""packing: several pairs a row, and no padding.

What it does   Lays each batch out as one row of sources and one row of targets. Every layer and the vocabulary head
               then compute real tokens only; attention stays within each pair, positions start anew with each. Loss and
               gradients are those of the padded batch: the same examples, the same order, the same number of steps.
When to use    Whenever lengths vary, on CPU or GPU: it computes the least that training can.
When not       Families with an attention of their own (LED, LongT5, ProphetNet, BigBird): sortish or token_budget.
Trade-off      train.energy_total_joule x0.25-0.8 | train.wall_second x0.25-0.8 | train.memory_gpu_max_byte x0.3-0.95
               | rouge2 -0.005..+0.005
Options        attention (None): fused (torch's varlen_attn on CUDA, in half precision alone; pair by pair on a CPU), or
               padded (for the attention alone: any precision, and T5's bias). None = fused, for T5 padded
Works with     bf16, bf16_weights, compile, cuda_graph, sortish, freeze, truncate, early_stopping, adafactor. The engine
               loop.
               Conflicts with  sparse_attention, token_budget.
               Fused attention leaves out dropout of attention weights (torch's kernels for it have none); all other
               dropout stays. BART from scratch has none of it, facebook/bart-large 0.1.
Source         Krell et al. 2021, arXiv 2107.02027 (packing); Zeng et al. 2022, arXiv 2208.08124, and ModernBERT, arXiv
               2412.13663, section 2.1.2 (unpadding). Padded work on SAMSum-like lengths: 2.69x the useful FLOPs in
               random batches of 16, 3.55x of 128 (ours, simulated). CPU: docs/results/train-frugal.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Block

CONFLICTS_WITH: Final = {
    "sparse_attention": "each has an attention of its own for the encoder",
    "token_budget": "packing computes no padding that batches of like lengths could save",
}
FAMILIES: Final = ("bart", "bert2bert", "mt5", "pegasus", "t5")
ENGINES: Final = ("loop",)
_OURS: Final = "ours: padded over useful FLOPs 2.69-3.55 on SAMSum-like lengths; upper end: even lengths"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.25, 0.8, source=_OURS),
    Expectation("train.wall_second", 0.25, 0.8, source=_OURS),
    Expectation(
        "train.memory_gpu_max_byte", 0.3, 0.95, source="ours: activations in proportion to the tokens computed"
    ),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="ours: loss and gradients equal to 1e-5"),
)


class Options(Block):
    """How to attend within the pairs of a row."""

    attention: Literal["fused", "padded"] | None = Field(None, description="None = fused, but padded for T5's bias")


def check(options: Options, family: str | None) -> None:
    """Refuse fused attention where it cannot be had.

    Raises:
        PartError: T5's bias is in the way.
    """
    if options.attention == "fused" and family in ("mt5", "t5"):
        raise PartError(
            f'method "packing": no fused attention takes the position bias of {family}',
            hint="Leave out attention, or set it to padded.",
        )


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Ask for packed batches; the engine lets the model read them."""
    return replace(data, is_packed=True, packed_attention=options.attention)


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch the rows that are trained on."""
    return [CountRows(facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show that no padding was computed, beside the padding that the same batches would have had."""
    numbers = {
        "padding_fraction": run.num_padding_tokens / (run.num_padding_tokens + run.num_real_tokens),
        "num_rows": run.facts.get("num_rows", 0),
        "longest_row_tokens": run.facts.get("longest_row_tokens", 0),
        "attention": run.facts.get("attention", "none"),
        "attention_dropout_left_out": run.facts.get("attention_dropout", 0.0),
    }
    longest_source = max(run.data.train.source_lengths)
    several_a_row = numbers["longest_row_tokens"] > longest_source or run.settings.train.batch_size == 1
    is_unpadded = run.num_padding_tokens == 0 or run.data.num_row_shapes is not None  # then rows are filled on purpose
    return Evidence(is_unpadded and numbers["num_rows"] > 0 and several_a_row, numbers)


class CountRows(TrainingCallback):
    """Notes the rows that were trained on, the attention, and the dropout of its weights that is left out.

    No hook: one would be compiled with the module that it watches.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def on_train_begin(self, model: Any) -> None:
        """Note how the model attends."""
        implementation = model.config._attn_implementation
        self.facts.update(num_rows=0, longest_row_tokens=0, attention=implementation.rpartition("_")[2])
        if self.facts["attention"] == "fused":
            self.facts["attention_dropout"] = float(getattr(model.config, "attention_dropout", 0.0))

    def on_loss(self, model: Any, inputs: Mapping[str, Any], outputs: Any, loss_sum: Any) -> Any:
        """Count the rows of a batch."""
        self.on_replay(model, inputs)
        return loss_sum

    def on_replay(self, model: Any, inputs: Mapping[str, Any]) -> None:
        """Count the rows of a batch that is replayed."""
        num_rows, num_tokens = inputs["input_ids"].shape
        self.facts["num_rows"] += num_rows
        self.facts["longest_row_tokens"] = max(self.facts["longest_row_tokens"], num_tokens)
