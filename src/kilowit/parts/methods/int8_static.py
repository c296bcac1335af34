"""int8_static: as int8_dynamic, with the encoder's activations on scales that training documents gave.

What it does   Runs the trained encoder on some training documents, notes the range of every matrix product's input, and
               keeps the scales in the graph: nothing has to be measured when a summary is written. The decoder, which
               reads one token a step, stays dynamic. Prediction runs by ONNX Runtime on the CPU.
When to use    For long documents and short summaries, where the encoder's share is large; compare with int8_dynamic.
When not       Where documents will differ from those it was calibrated on: what is beyond the range is cut off. Where
               summaries have to be those of fp32: a bart-mini trained on SAMSum wrote 56 % of them the same (greedy).
Trade-off      predict.energy_total_joule x0.1-0.6 | predict.wall_second x0.1-0.6 | rouge2 -0.004..+0.004
Options        num_documents (64): training documents that it is calibrated on
Works with     all others.   Conflicts with  ctranslate2_int8, ensemble, fp16_export, int8_dynamic, sparse_attention.
Source         Jacob et al. 2017, arXiv 1712.05877 (ranges from data). Ranges of the trade-off ours:
               benchmarks/runtimes.py; ROUGE-2 by paired intervals of 819 SAMSum dialogues, one bart-mini.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import Field

from kilowit.parts.runtime_method import RuntimeMethod, conflicts_of, expect_on_cpu, note_sources
from kilowit.parts.runtimes import onnxruntime
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Block, Count

CONFLICTS_WITH: Final = conflicts_of("int8_static")
FAMILIES: Final = onnxruntime.FAMILIES
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("onnx", "onnxruntime")
EXPECTS: Final = expect_on_cpu(0.1, 0.6, 0.004, "ours: benchmarks/runtimes.py, one thread; 819 dialogues")
_METHOD: Final = RuntimeMethod("int8_static", "onnxruntime", "int8_static")
plan, applied = _METHOD.plan, _METHOD.applied


class Options(Block):
    """What to calibrate on."""

    num_documents: Count = Field(64, description="training documents that the encoder is calibrated on")


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Note the documents to calibrate on."""
    return note_sources(data, options.num_documents, facts)


def compress_trained(model: Path, folder: Path, options: Options, facts: dict[str, Any]) -> None:
    """Calibrate, export the trained model, and see what it takes."""
    facts["num_calibration_documents"] = len(facts["sources"])
    facts["num_calibration_tokens"] = sum(map(len, facts["sources"]))
    _METHOD.compress_trained(model, folder, options, facts)
