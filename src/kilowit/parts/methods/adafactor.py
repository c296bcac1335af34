"""adafactor: an optimizer whose second moments are stored as one row and one column per matrix.

What it does   Replaces AdamW by Adafactor without first moment: state of a matrix of n x m is n + m numbers, not 2 n m.
               The study's learning rate and schedule are kept (no relative steps, no parameter scaling).
When to use    When the optimizer's 8 bytes per parameter do not fit. With T5, which was pretrained with it.
When not       When memory is not short: a step is slightly slower, and AdamW is the better known quantity. Its best
               learning rate is often higher than AdamW's: try both.
Trade-off      train.memory_gpu_max_byte x0.5-0.98 | train.wall_second x0.95-1.4 | rouge2 -0.01..+0.005
Options        none
Works with     all others.   Conflicts with  adam8bit, fsdp, zero, zero_offload.
Source         Shazeer and Stern 2018, arXiv 1804.04235: state size section 3, equal quality tables
               1-2. Ours, BART-large, batch 32, bf16, one H100, two seeds: memory x0.97 (activations are most of it),
               time x1.11 and x1.34, energy x1.11 and x1.24 (docs/results/optimizer). Lower end: the state's share.
"""

from __future__ import annotations

from typing import Any, Final

from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun
from kilowit.settings import Settings

CONFLICTS_WITH: Final = ("adam8bit", "fsdp", "zero", "zero_offload")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
ADAMW_STATE_BYTE_PER_PARAMETER: Final = 8  # two moments of four bytes
_STATE: Final = "arXiv 1804.04235, section 3: state of n x m becomes n + m; range ours, from its share of memory"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.5, 0.98, source=_STATE),
    Expectation("train.wall_second", 0.95, 1.4, source="ours: x1.11 and x1.34 with BART-large on one H100"),
    Expectation("rouge2", -0.01, 0.005, kind="difference", source="arXiv 1804.04235, tables 1-2"),
)


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Choose the optimizer."""
    return settings.with_train(optimizer="adafactor")


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show the optimizer's class, and its state beside AdamW's."""
    num_trained = sum(p.numel() for group in run.optimizer.param_groups for p in group["params"])
    numbers = {
        "optimizer": type(run.optimizer).__name__,
        "state_byte": state_byte(run.optimizer),
        "adamw_state_byte": ADAMW_STATE_BYTE_PER_PARAMETER * num_trained,
    }
    smaller = 0 < numbers["state_byte"] < numbers["adamw_state_byte"]
    return Evidence(numbers["optimizer"] == "Adafactor" and smaller, numbers)


def state_byte(optimizer: Any) -> int:
    """Count the bytes of all tensors in an optimizer's state."""
    tensors = (value for state in optimizer.state.values() for value in state.values() if hasattr(value, "nbytes"))
    return sum(int(tensor.nbytes) for tensor in tensors)
