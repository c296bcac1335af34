"""fp16_export: store the trained model in half precision, and predict with it by ONNX Runtime on the CPU.

What it does   Exports the trained model to ONNX graphs whose weights are stored in 16 bits and computed in 32: half of
               what the same graphs take in 32. Prediction runs on them, without torch, with transformers' search.
When to use    Where disk or network counts and the summaries may hardly differ: roundings are far finer than in
               8 bits.
When not       To save memory or time beyond what ONNX Runtime saves anyway: a CPU widens the weights as it loads.
Trade-off      predict.energy_total_joule x0.2-1.0 | predict.wall_second x0.2-1.0 | rouge2 -0.003..+0.003
Options        none
Works with     all others.
               Conflicts with  ctranslate2_int8, ensemble, int8_dynamic, int8_static, sparse_attention.
Source         Micikevicius et al. 2017, arXiv 1710.03740 (half precision). Ranges ours: benchmarks/runtimes.py.
"""

from __future__ import annotations

from typing import Final

from kilowit.parts.runtime_method import RuntimeMethod, conflicts_of, expect_on_cpu
from kilowit.parts.runtimes import onnxruntime

CONFLICTS_WITH: Final = conflicts_of("fp16_export")
FAMILIES: Final = onnxruntime.FAMILIES
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("onnx", "onnxruntime")
EXPECTS: Final = expect_on_cpu(0.2, 1.0, 0.003, "ours: benchmarks/runtimes.py, one thread")

_METHOD: Final = RuntimeMethod("fp16_export", "onnxruntime", "fp16")
plan, on_data, compress_trained, applied = (
    _METHOD.plan, _METHOD.on_data, _METHOD.compress_trained, _METHOD.applied,
)  # fmt: skip
