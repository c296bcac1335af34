"""fp16: matrix products in float16 with loss scaling, weights and optimizer in float32.

What it does   Runs every forward pass under autocast to float16 (5 bits of exponent, 11 of precision). In training the
               loss is scaled up so that small gradients do not vanish; steps with an infinite gradient are skipped.
When to use    BART on GPUs with fp16 tensor cores but no bf16: V100, T4, RTX 20.
When not       Where bf16 runs in hardware. With T5 and PEGASUS: pretrained in bfloat16, their activations overflow.
Trade-off      train.wall_second x0.3-1.6 | train.energy_total_joule x0.25-0.7 | train.memory_gpu_max_byte x0.55-0.9
               | rouge2 -0.005..+0.005 (on a GPU with fp16 tensor cores)
Options        force (false): try a family that is known to overflow; divergence is then the result
Works with     ddp, freeze, sortish, truncate, early_stopping, adafactor; the engine trainer.
               Conflicts with  bf16, bf16_weights, tf32, fsdp, zero, zero_offload.
Source         Micikevicius et al. 2018, arXiv 1710.03740. Ours, BART-base, batch 32, one H100 beside a slow host, one
               seed: x1.55 of the time, x0.63 of the energy, x0.64 of the memory (docs/results). Overflow of T5 and
               PEGASUS: github.com/huggingface/transformers issues 4586, 9295, 12225.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from kilowit import parts
from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.parts.methods.bf16 import ForwardDtype
from kilowit.settings import Block, Settings

CONFLICTS_WITH: Final = ("bf16", "bf16_weights", "tf32", "fsdp", "zero", "zero_offload")
FAMILIES: Final = None
WITHOUT_TRAINING: Final = True
REQUIRES: Final = ("nvidia_gpu",)
_MIXED: Final = "ours: BART-base on one H100, slow host: x1.55, energy x0.63; lower end as bf16, whose products it has"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.3, 1.6, source=_MIXED),
    Expectation("train.energy_total_joule", 0.25, 0.7, source=_MIXED),
    Expectation("train.memory_gpu_max_byte", 0.55, 0.9, source="ours: BART-base on one H100 x0.64; arXiv 1710.03740"),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="arXiv 1710.03740, tables 1-5: fp32 quality"),
)


class Options(Block):
    """How stubborn to be."""

    force: bool = Field(False, description="try a family that is known to overflow")


def check(options: Options, family: str | None) -> None:
    """Refuse a family that overflows.

    Raises:
        PartError: it does, and `force` is not set.
    """
    if family is None or options.force:
        return
    if not parts.load("models", family).FAMILY.fp16_trains:
        raise PartError(
            f'method "fp16" makes {family} overflow: its activations exceed 65,504',
            hint="Use bf16, or {fp16: {force: true}} to see it diverge.",
        )


def plan(settings: Settings, options: Options) -> Settings:
    """Ask for float16 in every forward pass."""
    return settings.with_precision("fp16")


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch which dtype a linear layer really computes."""
    return [ForwardDtype(facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the dtype that came out of a linear layer in training."""
    return Evidence(run.facts.get("linear_dtype") == "float16", {"linear_dtype": run.facts.get("linear_dtype")})
