"""onnxruntime: two ONNX graphs, a search in numpy, and no torch where summaries are written.

What it does   Builds encoder and decoder as two graphs from the weights, compares their logits with the model's, and
               runs them with a greedy and beam search that has transformers' meaning. Keys and values of the source
               are computed once and shared by the beams. The exported folder runs without kilowit.
When to use    Greedy search on a CPU, and wherever torch is not to be installed: in int8 it takes the least CPU time.
When not       On a GPU, and for the families that have no graphs here.
Families       bart, bigbird_pegasus with full attention, mt5, pegasus, t5; pruned ones too
Precisions     fp32 (the tokens of transformers); int8 (weights, embeddings and, as they come, activations in 8 bits, a
               scale a row or block; a CPU without VNNI may saturate); int8_static needs training documents: method
               int8_static. fp16 halves the file, nothing else: a CPU computes it in fp32.
Source         ONNX Runtime, onnxruntime.ai. Ours, measured: benchmarks/runtimes.py, benchmarks/README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.parts.runtime import RuntimeOptions, TokenGenerator

FAMILIES: Final = ("bart", "bigbird_pegasus", "mt5", "pegasus", "t5")
PRECISIONS: Final = ("fp32", "int8", "fp16")
DEVICES: Final = ("cpu",)
REQUIRES: Final = ("onnxruntime", "numpy")
EXTRA: Final = "onnx"


def export(model: Path, folder: Path, precision: str) -> None:
    """Write the graphs, tokenizer, manifest and program; needs torch, transformers and onnx.

    Raises:
        PartError: the model cannot be loaded or has no graphs here, or the graphs compute something else.
    """
    from kilowit.parts.onnx_export import export_onnx

    export_onnx(model, folder, precision, runtime="onnxruntime")


def load(folder: Path, options: RuntimeOptions) -> TokenGenerator:
    """Load an exported folder.

    Raises:
        PartError: the folder is not whole.
    """
    from kilowit.parts.engine_onnxruntime import OnnxRuntimeGenerator

    return OnnxRuntimeGenerator(folder, options)
