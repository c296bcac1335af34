"""frugal_gpu: frugal, launched as CUDA graphs, with the loss and the vocabulary head in one.

What it does   bf16_weights and packing as in frugal; balanced makes rows of one length, for which cuda_graph records
               forward and backward; fused_loss widens a vocabulary of an odd size for its products. Recording is on
               the bill.
When to use    BART, mBART, PEGASUS and T5 on one NVIDIA GPU, from a hundred steps on.
When not       On a CPU; in trainings of a few steps; where memory is short (graphs keep theirs).
Trade-off      One H100 (torch 2.11), bart-large on SAMSum, 3 epochs, one run: 29.3 s, 17.9 kJ; the stock trainer in
               bf16 63.1 s and 26.6 kJ for one epoch of the three, in the same call. 3.9 s of it are warm-up.
               Validation loss 5.183.
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
