"""fused_loss: vocabulary head and loss together, a few rows of logits at a time.

What it does   Takes the head's product, the softmax, the loss and their gradients in rows of `chunk_tokens` target
               tokens, and keeps the gradients instead of the logits: the logits of a batch, their softmax and its
               gradient, rows x vocabulary x 4 bytes each, are never held. Positions without a target are left out. The
               loss and its gradients are the same to rounding.
When to use    Large vocabularies, long targets or large batches: where logits decide what fits.
               Vocabularies of an odd size (BART's 50,265) in half precision: widened, their products are faster.
When not       Otherwise, to save time alone: the same products are computed, and a small batch fits anyway.
Trade-off      train.memory_gpu_max_byte x0.5-1.0 | train.wall_second x0.85-1.05 | train.energy_total_joule x0.9-1.05
               | rouge2 -0.003..+0.003
Options        chunk_tokens (1024 target tokens)
Works with     packing, token_budget, bf16, bf16_weights, compile, train.label_smoothing and all that the engine loop
               takes.   Conflicts with  distill, label_smoothing and lora, which look at the logits or at the head.
Source         Hsu et al. 2024, arXiv 2410.10989 (Liger), section 3: gradients with the forward pass, in chunks. Ranges
               ours: an estimate from 3 copies of the logits in fp32; BART-large on one H100, recorded, one chunk: 89
               to 81 ms a step.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.settings import Block, Count, Settings

CONFLICTS_WITH: Final = {
    "distill": "a teacher's distribution is compared with whole logits",
    "label_smoothing": "its evidence is read from whole logits; train.label_smoothing smooths as well",
    "lora": "the head may be one of the layers that it adapts",
}
FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
ENGINES: Final = ("loop",)
_OURS: Final = "ours: an estimate; logits of a batch, three times in fp32, against everything else"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.5, 1.0, source=_OURS),
    Expectation(
        "train.wall_second", 0.85, 1.05, source="ours: BART-large, one H100, under cuda_graph: 89 to 81 ms a step"
    ),
    Expectation("train.energy_total_joule", 0.9, 1.05, source="ours: an estimate, as the time"),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="ours: loss and gradients equal to 1e-5"),
)


class Options(Block):
    """How many rows at a time."""

    chunk_tokens: Count = Field(1024, description="target tokens whose logits are held at once")


def plan(settings: Settings, options: Options) -> Settings:
    """Ask for the loss in chunks."""
    return settings.with_loss_chunks(options.chunk_tokens)


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch what the loss is computed from."""
    return [WatchLoss(facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the chunks, the largest logits that were held, and that the head was never run over a whole batch."""
    numbers = {**run.facts, "vocabulary_size": run.model.config.vocab_size}
    in_chunks = numbers["num_chunks"] > 0 and numbers["largest_chunk_tokens"] <= options.chunk_tokens
    return Evidence(in_chunks and numbers["num_whole_logits"] == 0, numbers)


class WatchLoss(TrainingCallback):
    """Counts chunks, and calls of the head as a layer."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.handle: Any = None

    def on_train_begin(self, model: Any) -> None:
        """Hook the head."""
        self.facts.update(num_chunks=0, largest_chunk_tokens=0, num_whole_logits=0)

        def count(module: Any, inputs: Any) -> None:
            self.facts["num_whole_logits"] += 1

        self.handle = model.get_output_embeddings().register_forward_pre_hook(count)

    def on_loss(self, model: Any, inputs: Any, outputs: Any, loss_sum: Any) -> Any:
        """Count the chunks of a batch."""
        self.facts["num_chunks"] += outputs.num_chunks
        self.facts["largest_chunk_tokens"] = max(self.facts["largest_chunk_tokens"], outputs.largest_chunk_tokens)
        return loss_sum

    def on_train_end(self, model: Any) -> None:
        """Take the hook away."""
        self.handle.remove()
