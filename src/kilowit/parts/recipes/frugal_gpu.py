"""frugal_gpu: frugal, launched as CUDA graphs, with the loss and the vocabulary head in one.

What it does   bf16_weights and packing as in frugal; cuda_graph records forward and backward for 6 lengths of row;
               fused_loss widens a vocabulary of an odd size for its products. Recording is on the bill.
When to use    BART, mBART, PEGASUS and T5 on one NVIDIA GPU, from a hundred steps on.
When not       On a CPU; in trainings of a few steps; where memory is short (graphs keep theirs).
Trade-off      One H100 (torch 2.11), bart-large on SAMSum, 3 epochs, one run, all in one call: 30.6 s, 19.0 kJ; frugal
               40.1 s, 22.0 kJ; the stock trainer in bf16 62.8 s and 26.0 kJ for one epoch of the three. 3.1 s of it
               are warm-up. Validation loss 5.179, frugal's 5.182.
Source         ours: every version tried is in docs/results/train-frugal.md.
"""

from __future__ import annotations

from typing import Any, Final

METHODS: Final[tuple[str | dict[str, dict[str, Any]], ...]] = (
    "bf16_weights",
    "packing",
    "balanced",
    {"fused_loss": {"chunk_tokens": 8192}},
    {"cuda_graph": {"num_shapes": 6}},
)
