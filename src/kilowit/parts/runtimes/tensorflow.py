"""tensorflow: the TensorFlow classes of transformers (not available; onnxruntime replaces them).

What it does   Ran the same weights as TensorFlow graphs, with XLA on a GPU or TPU.
When to use    Not in kilowit: onnxruntime serves without torch just as well, on the families that people serve.
When not       Always. No maintained route from a fine-tuned checkpoint to TensorFlow is left.
Families       none
Source         Ours, 2026-11: transformers 5.23 holds no TensorFlow or Flax model file. keras-hub 0.32 has BART alone of
               our families, takes 2.3 GB with tensorflow 2.21, and reads no config.json. onnx2tf 2.6 converts graphs,
               not a beam search.
"""

from __future__ import annotations

from typing import Final

UNAVAILABLE: Final = (
    "transformers 5 dropped its TensorFlow models, keras-hub 0.32 has BART alone and does not read a fine-tuned "
    "folder; onnxruntime is the runtime without torch that took its place"
)
