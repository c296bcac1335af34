"""int8_dynamic: predict with weights and activations in 8 bits, by ONNX Runtime on the CPU.

What it does   Exports the trained model to ONNX graphs whose matrices and embeddings are 8-bit integers, one scale a
               column (encoder) or block of 128 (decoder); activations are rounded to 8 bits as they come, one scale a
               row or block. Prediction runs on them, without torch, with the search of transformers. No data.
When to use    Wherever summaries are written on a CPU: the cheapest greedy search here, in a third of the memory.
When not       On a GPU. On a CPU without VNNI instructions, whose 8-bit sums may saturate. Where summaries have to be
               those of fp32: a bart-mini trained on SAMSum wrote 68 % of 819 the same greedy, 73 % with beam 4.
Trade-off      predict.energy_total_joule x0.1-0.6 | predict.wall_second x0.1-0.6 | rouge2 -0.003..+0.003
Options        none
Works with     all others.   Conflicts with  ctranslate2_int8, ensemble, fp16_export, int8_static, sparse_attention.
Source         Dettmers et al. 2022, arXiv 2208.07339, section 2 (8-bit quantization). Ranges ours:
               benchmarks/runtimes.py; ROUGE-2 by paired intervals of 819 SAMSum dialogues, one bart-mini.
"""

from __future__ import annotations

from typing import Final

from kilowit.parts.runtime_method import RuntimeMethod, conflicts_of, expect_on_cpu
from kilowit.parts.runtimes import onnxruntime

CONFLICTS_WITH: Final = conflicts_of("int8_dynamic")
FAMILIES: Final = onnxruntime.FAMILIES
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("onnx", "onnxruntime")
EXPECTS: Final = expect_on_cpu(0.1, 0.6, 0.003, "ours: benchmarks/runtimes.py, one thread; 819 dialogues")

_METHOD: Final = RuntimeMethod("int8_dynamic", "onnxruntime", "int8")
plan, on_data, compress_trained, applied = (
    _METHOD.plan, _METHOD.on_data, _METHOD.compress_trained, _METHOD.applied,
)  # fmt: skip
