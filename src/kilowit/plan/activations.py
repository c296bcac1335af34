"""What a training step keeps for its backward pass, family by family, as it was counted.

Formulas of the literature (Korthikanti et al. 2022, arXiv 2205.05198, equation 1) are of one implementation of one
layer; ours differ by dropouts, norms, gates and kernels. So the bytes are counted: `benchmarks/plan_memory.py` runs a
step of every family, adds up the storages that live at once; five numbers were fitted to ten shapes, least squares of
relative errors (fp32, CPU, torch 2.13, transformers 5.23, 2026-11-23). No shape was off by more than 9 % of the whole
step, BigBird-PEGASUS apart none by more than 4 %. Feed-forwards were four times the width (Llama: 2.75, gated).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Activations(NamedTuple):
    """Bytes in fp32 that one example keeps, for each unit of what the field names."""

    source: float  # a source token in an encoder layer, per unit of width; in one stack any token
    target: float  # a target token and stream in a decoder layer, per unit of width; its part of cross-attention
    pair: float  # a pair of tokens in an attention, per head; below 1 where the CPU's fused kernel keeps no scores
    logit: float  # a target token, per word of the vocabulary
    vocabulary_gradients: float  # not per example: gradients of words x width on their way to where they are kept


COUNTED: Final = {
    "bart": Activations(73.0, 86.7, 0.6, 15.8, 1.1),
    "bert2bert": Activations(73.1, 90.2, 12.7, 16.1, 0.9),
    "bigbird_pegasus": Activations(171.1, 0.0, 1.5, 28.9, 0.0),
    "gpt2": Activations(117.6, 0.0, 12.3, 16.1, 0.4),
    "led": Activations(123.3, 63.1, 6.4, 16.8, 0.7),
    "llama": Activations(78.2, 0.0, 0.3, 16.2, 0.4),
    "longt5": Activations(143.8, 111.8, 15.2, 18.4, 0.7),
    "mbart": Activations(73.6, 84.2, 0.7, 16.1, 1.1),
    "mt5": Activations(129.6, 0.0, 12.3, 25.1, 0.0),
    "pegasus": Activations(84.3, 146.3, 13.0, 12.1, 0.0),
    "pegasus_x": Activations(68.2, 70.3, 10.2, 14.2, 1.2),
    "prophetnet": Activations(66.2, 155.0, 13.3, 22.9, 0.0),
    "t5": Activations(99.6, 115.4, 13.0, 16.4, 0.8),
    "unilm": Activations(69.2, 0.0, 12.4, 16.4, 0.4),
}
