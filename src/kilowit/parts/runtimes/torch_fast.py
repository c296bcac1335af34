"""torch_fast: the tokens of transformers' generate, without what its search computes or copies in vain.

What it does   Decodes BART, PEGASUS and T5 with steps of its own over the model's weights. The source's keys and values
               are computed once for each source and read by all its beams; those of the summary are written once and
               never moved, a table of ancestors says which beam wrote what. Sources are sorted by length, encoded in
               batches of little padding, decoded together up to a memory budget, and leave when they are finished.
               Small batches on a GPU replay a CUDA graph of the step.
When to use    For every BART, PEGASUS, T5 and mT5 on torch: the same tokens in fp32, for less time and energy.
When not       On a CPU in int8 (ctranslate2, onnxruntime), or where torch is not to be installed.
Families       bart, mt5, pegasus, t5
Source         The search is that of transformers 5, generation/utils.py. Length-sorted batches: fairseq, Ott et al.
               2019, arXiv 1904.01038. Ours, measured: benchmarks/generate.py, benchmarks/README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.parts.runtime import RuntimeOptions, TokenGenerator
from kilowit.parts.runtimes import torch

FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
PRECISIONS: Final = torch.PRECISIONS  # it computes with the same folders, by steps of its own
DEVICES: Final = torch.DEVICES
REQUIRES: Final = torch.REQUIRES
READS_MODEL_FOLDER: Final = torch.READS_MODEL_FOLDER
export = torch.export


def load(folder: Path, options: RuntimeOptions) -> TokenGenerator:
    """Load a folder as save_pretrained leaves it.

    Raises:
        PartError: the folder cannot be loaded, or the device is not there.
    """
    from kilowit.parts.fast_generate import FastGenerator
    from kilowit.parts.torch_folder import load_for_inference

    return FastGenerator(load_for_inference(folder, options))
