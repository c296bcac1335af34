"""frugal_gpu: frugal, and each layer compiled.

What it does   bf16_weights and packing as in frugal; compile turns each layer's norms, dropout, activations and
               residual sums into fused kernels. Compilation is on the bill.
When to use    BART and PEGASUS on one NVIDIA GPU beside a fast host, in trainings of many minutes; measure it first.
When not       On a CPU; in trainings shorter than the compilation (10 to 90 s on a cold cache).
Trade-off      On one H100 (torch 2.11), bart-large on SAMSum, 3 epochs, one run beside frugal: 82.5 against 47.4 s,
               27.1 against 23.7 kJ. 33 s of it were compilation, and the steps were no faster (49.1 against 46.2 s):
               beside a host that is slow to launch kernels, compiled layers do not help. Same validation loss.
Source         ours: docs/results/train-frugal.md.
"""

from __future__ import annotations

from typing import Any, Final

METHODS: Final[tuple[str | dict[str, dict[str, Any]], ...]] = (
    "bf16_weights",
    "packing",
    {"fused_loss": {"chunk_tokens": 8192}},
    {"cuda_graph": {"num_shapes": 6}},
)
