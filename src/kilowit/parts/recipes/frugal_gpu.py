"""frugal_gpu: frugal, and each layer compiled.

What it does   bf16_weights and packing as in frugal; compile turns each layer's norms, dropout, activations and
               residual sums into fused kernels. Compilation is on the bill.
When to use    BART and PEGASUS on one NVIDIA GPU, in trainings of minutes and more.
When not       On a CPU; in trainings shorter than the compilation (10 to 90 s on a cold cache).
Trade-off      Not measured yet: no GPU could be had. docs/results/train-frugal.md has the prediction and the command.
Source         ours: docs/results/train-frugal.md.
"""

from __future__ import annotations

from typing import Any, Final

METHODS: Final[tuple[str | dict[str, dict[str, Any]], ...]] = ("bf16_weights", "packing", "compile")
