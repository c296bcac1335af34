"""ctranslate2_int8: predict with weights in 8 bits, by CTranslate2 on the CPU.

What it does   Converts the trained model to CTranslate2, a C++ engine, with its matrices and embeddings as 8-bit
               integers. Prediction runs in it, without torch and with its own beam search.
When to use    On a CPU where memory is short. In CPU time int8_dynamic takes less, greedy and with beams.
When not       On a GPU; where the beams have to be those of transformers, for its rules differ in when a beam ends;
               where they have to be those of fp32: a bart-mini trained on SAMSum wrote 67 % of them the same (greedy).
Trade-off      predict.energy_total_joule x0.1-0.6 | predict.wall_second x0.1-0.6 | rouge2 -0.02..+0.02
Options        none
Works with     all others.
               Conflicts with  ensemble, fp16_export, int8_dynamic, int8_static, prune, sparse_attention.
Source         Klein et al. 2020, aclanthology.org/2020.ngt-1.25 (its makers). Ranges ours: benchmarks/runtimes.py.
"""

from __future__ import annotations

from typing import Final

from kilowit.parts.runtime_method import RuntimeMethod, conflicts_of, expect_on_cpu
from kilowit.parts.runtimes import ctranslate2

CONFLICTS_WITH: Final = conflicts_of("ctranslate2_int8", "prune")
FAMILIES: Final = ctranslate2.FAMILIES
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("ctranslate2",)
EXPECTS: Final = expect_on_cpu(0.1, 0.6, 0.02, "ours: benchmarks/runtimes.py, one thread")

_METHOD: Final = RuntimeMethod("ctranslate2_int8", "ctranslate2", "int8")
plan, on_data, compress_trained, applied = (
    _METHOD.plan, _METHOD.on_data, _METHOD.compress_trained, _METHOD.applied,
)  # fmt: skip
