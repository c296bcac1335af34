"""ort_training: training through ONNX Runtime's graph (not available; compile replaces it).

What it does   Exports the model to ONNX and runs forward and backward pass in ONNX Runtime's fused kernels (ORTModule),
               or trains an exported artefact on a device (the on-device training API).
When to use    Not in kilowit: torch.compile fuses the same operations in the process that trains.
When not       Always. onnxruntime-training 1.19.2 is the last release; it has no wheel for Python 3.12 and later.
Trade-off      none promised
Options        none
Works with     nothing here.   Conflicts with  nothing.
Source         github.com/pytorch/ort issue 199 and github.com/microsoft/onnxruntime pull request 28058 (its end). Ours,
               2026-11, on a CPU: ORTModule fails to import on torch 2.13 (jit_utils) and gives torch's losses only
               beside torch 2.4.1, transformers 4.44.2, onnx 1.16.2, numpy 1.26. The on-device API trains a tiny BART
               exported from torch 2.13 (TorchScript exporter, opset 16, dropout 0, onnx 1.17.0) with torch's losses, 25
               ms a step; opset 17 and the new exporter fail (the gradient of LayerNorm needs three outputs).
"""

from __future__ import annotations

from typing import Final

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
EXPECTS: Final = ()
UNAVAILABLE: Final = (
    "ORTModule (onnxruntime-training 1.19.2, the last release) does not import beside torch 2.13 and has no wheel for "
    "Python 3.12; the on-device API trains exported graphs without dropout only"
)
SUCCESSOR: Final = "compile"
