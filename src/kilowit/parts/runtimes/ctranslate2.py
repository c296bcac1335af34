"""ctranslate2: a C++ engine for encoder-decoders, with a search of its own.

What it does   Converts the model to CTranslate2, which searches itself. In int8 it multiplies in 8 bits.
When to use    On a CPU where memory is short: it takes the least of all. In CPU time onnxruntime in int8 takes less.
When not       Where the tokens have to be those of transformers: its beam search keeps and ends beams by other rules,
               so that some summaries differ; early_stopping has no meaning in it.
Families       bart, mt5, pegasus, t5; no pruned heads
Precisions     fp32, int8
Source         CTranslate2 4.8, opennmt.net/CTranslate2. Ours, measured: benchmarks/runtimes.py, benchmarks/README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.parts.runtime import RuntimeOptions, TokenGenerator

FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
PRECISIONS: Final = ("fp32", "int8")
DEVICES: Final = ("cpu",)  # its wheel for GPUs asks for CUDA 12, torch brings 13
REQUIRES: Final = ("ctranslate2",)
EXTRA: Final = "ctranslate2"


def export(model: Path, folder: Path, precision: str) -> None:
    """Write the converted model, tokenizer, manifest and program; needs torch and transformers.

    Raises:
        PartError: the model cannot be loaded, or CTranslate2 does not take it.
    """
    from kilowit.parts.ctranslate2_export import export_ctranslate2

    export_ctranslate2(model, folder, precision)


def load(folder: Path, options: RuntimeOptions) -> TokenGenerator:
    """Load an exported folder.

    Raises:
        PartError: the folder is not whole.
    """
    from kilowit.parts.engine_ctranslate2 import CTranslate2Generator

    return CTranslate2Generator(folder, options)
