"""openvino: the graphs of the runtime onnxruntime, compiled by OpenVINO.

What it does   Reads the same two ONNX graphs, in ONNX's own operators alone, and searches with the same code;
               OpenVINO compiles them for this CPU.
When to use    In fp32 on a CPU: 0 to 13 % less CPU time there than onnxruntime, by model and search.
When not       In 8 bits, which these graphs do not gain from here; on a GPU.
Families       bart, bigbird_pegasus with full attention, mt5, pegasus, t5; pruned ones too
Precisions     fp32; fp16 halves the file, nothing else.
Source         OpenVINO, docs.openvino.ai. Ours, measured: benchmarks/runtimes.py, benchmarks/README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.parts.runtime import RuntimeOptions, TokenGenerator

FAMILIES: Final = ("bart", "bigbird_pegasus", "mt5", "pegasus", "t5")
PRECISIONS: Final = ("fp32", "fp16")
DEVICES: Final = ("cpu",)
REQUIRES: Final = ("openvino", "numpy")
EXTRA: Final = "openvino"


def export(model: Path, folder: Path, precision: str) -> None:
    """Write the graphs, tokenizer, manifest and program; needs torch, transformers, onnx and onnxruntime.

    Raises:
        PartError: the model cannot be loaded or has no graphs here, or the graphs compute something else.
    """
    from kilowit.parts.onnx_export import export_onnx

    export_onnx(model, folder, precision, runtime="openvino")


def load(folder: Path, options: RuntimeOptions) -> TokenGenerator:
    """Load an exported folder.

    Raises:
        PartError: the folder is not whole.
    """
    from kilowit.parts.engine_openvino import OpenVinoGenerator

    return OpenVinoGenerator(folder, options)
