"""torchao: the trained model's matrices in 8 bits within torch (not available; int8_dynamic replaces it).

What it does   Swaps the linear layers of a torch model for 8-bit ones (quantize_), with activations in 32 bits or in 8.
When to use    Not in kilowit: int8_dynamic multiplies in 8 bits for less, in a third of the memory, without torch.
When not       Always, on a CPU: uncompiled it makes a summary dearer, and compiled no cheaper than int8_dynamic.
Trade-off      none promised
Options        none
Works with     nothing here.   Conflicts with  nothing.
Source         github.com/pytorch/ao. Ours, 2026-11, torchao 0.18, torch 2.13, one thread of a shared CPU, CPU seconds:
               bart-base, 512 source tokens, greedy, generate takes 2.6 times those of fp32 with Int8WeightOnlyConfig
               and 2.0 times with Int8DynamicActivationInt8WeightConfig. Compiled with freezing, 24 linear layers of
               t5-base's size on one token: weights alone 11.0 ms, weights and activations 2.6 ms, fp32 12.9 ms; so
               compiled layers gain about what int8_dynamic gains on the whole of a summary.
"""

from __future__ import annotations

from typing import Final

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
EXPECTS: Final = ()
UNAVAILABLE: Final = (
    "on a CPU torchao 0.18 makes generate 2.0 to 2.6 times dearer than fp32 (bart-base), and compiled it gains on its "
    "linear layers what ONNX Runtime in 8 bits gains on whole summaries, without torch"
)
SUCCESSOR: Final = "int8_dynamic"
