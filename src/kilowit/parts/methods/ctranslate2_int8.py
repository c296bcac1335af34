"""ctranslate2_int8: predict with weights in 8 bits, by CTranslate2 on the CPU.

What it does   Converts the trained model to CTranslate2, a C++ engine, with its matrices and embeddings as 8-bit
               integers. Prediction runs in it, without torch and with its own beam search.
When to use    On a CPU where memory is short. In CPU time int8_dynamic takes less, greedy and with beams.
When not       On a GPU; where the beams have to be those of transformers, for its rules differ in when a beam ends.
Trade-off      predict.energy_total_joule x0.1-0.6 | predict.wall_second x0.1-0.6 | rouge2 -0.02..+0.02
Options        none
Works with     all others.
               Conflicts with  ensemble, fp16_export, int8_dynamic, int8_static, prune, sparse_attention.
Source         Klein et al. 2020, aclanthology.org/2020.ngt-1.25 (its makers). Ranges ours: benchmarks/runtimes.py.
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

CONFLICTS_WITH: Final = conflicts_of("ctranslate2_int8", "prune")
FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("ctranslate2",)
EXPECTS: Final = expect_on_cpu(0.1, 0.6, 0.02, "ours: benchmarks/runtimes.py, one thread")


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Let CTranslate2 predict in 8 bits."""
    return predict_with(settings, "ctranslate2", "int8", "ctranslate2_int8")


def on_data(data: TrainingData, options: NoOptions, facts: dict[str, Any]) -> TrainingData:
    """Note a document to try the export on."""
    return note_sources(data, 1, facts)


def compress_trained(model: Path, folder: Path, options: NoOptions, facts: dict[str, Any]) -> None:
    """Convert the trained model, and see what it takes."""
    from kilowit.parts.ctranslate2_export import export_ctranslate2

    export_ctranslate2(model, folder, "int8")
    note_sizes(model, folder, facts)


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show bytes on disk and in memory."""
    return smaller_evidence(run.facts)
