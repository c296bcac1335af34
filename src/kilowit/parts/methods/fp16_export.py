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

from pathlib import Path
from typing import Any, Final

from kilowit.parts.method import Evidence, NoOptions, TrainedRun
from kilowit.parts.runtime_method import (
    conflicts_of,
    expect_on_cpu,
    note_sizes,
    note_sources,
    predict_with,
    smaller_evidence,
)
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Settings

CONFLICTS_WITH: Final = conflicts_of("fp16_export")
FAMILIES: Final = ("bart", "bigbird_pegasus", "mt5", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("onnx", "onnxruntime")
EXPECTS: Final = expect_on_cpu(0.2, 1.0, 0.003, "ours: benchmarks/runtimes.py, one thread")


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Let ONNX Runtime predict."""
    return predict_with(settings, "onnxruntime", "fp16", "fp16_export")


def on_data(data: TrainingData, options: NoOptions, facts: dict[str, Any]) -> TrainingData:
    """Note a document to try the export on."""
    return note_sources(data, 1, facts)


def compress_trained(model: Path, folder: Path, options: NoOptions, facts: dict[str, Any]) -> None:
    """Export the trained model, and see what it takes."""
    from kilowit.parts.onnx_export import export_onnx

    exported = export_onnx(model, folder, "fp16", runtime="onnxruntime")
    facts.update(num_16bit_matrices=exported.num_reduced, weights_byte_float32=exported.float32_byte)
    note_sizes(model, folder, facts)


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show bytes on disk and in memory."""
    return smaller_evidence(run.facts)
