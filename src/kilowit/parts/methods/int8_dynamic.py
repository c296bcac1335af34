"""int8_dynamic: predict with weights and activations in 8 bits, by ONNX Runtime on the CPU.

What it does   Exports the trained model to ONNX graphs whose matrices and embeddings are 8-bit integers, one scale a
               column; activations are rounded to 8 bits as they come, one scale a tensor. Prediction runs on them,
               without torch, with the search of transformers. Needs no data.
When to use    Wherever summaries are written on a CPU: the cheapest greedy search here, in a third of the memory.
When not       On a GPU. On a CPU without VNNI instructions, whose 8-bit sums may saturate.
Trade-off      predict.energy_total_joule x0.1-0.6 | predict.wall_second x0.1-0.6 | rouge2 -0.01..+0.01
Options        none
Works with     all others.   Conflicts with  ctranslate2_int8, ensemble, fp16_export, int8_static, sparse_attention.
Source         Dettmers et al. 2022, arXiv 2208.07339, section 2 (8-bit quantization). Ranges ours:
               benchmarks/runtimes.py.
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

CONFLICTS_WITH: Final = conflicts_of("int8_dynamic")
FAMILIES: Final = ("bart", "bigbird_pegasus", "mt5", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("onnx", "onnxruntime")
EXPECTS: Final = expect_on_cpu(0.1, 0.6, 0.01, "ours: benchmarks/runtimes.py, one thread")


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Let ONNX Runtime predict in 8 bits."""
    return predict_with(settings, "onnxruntime", "int8", "int8_dynamic")


def on_data(data: TrainingData, options: NoOptions, facts: dict[str, Any]) -> TrainingData:
    """Note a document to try the export on."""
    return note_sources(data, 1, facts)


def compress_trained(model: Path, folder: Path, options: NoOptions, facts: dict[str, Any]) -> None:
    """Export the trained model, and see what it takes."""
    from kilowit.parts.onnx_export import export_onnx

    exported = export_onnx(model, folder, "int8", runtime="onnxruntime")
    facts.update(num_8bit_matrices=exported.num_reduced, weights_byte_float32=exported.float32_byte)
    note_sizes(model, folder, facts)


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show bytes on disk and in memory, and how many matrices are in 8 bits."""
    return smaller_evidence(run.facts)
