"""torch: the model as it was trained, through transformers' own generate.

What it does   Runs every family with the search of transformers, in batches of similar length. Nothing is converted.
When to use    As the reference that every other runtime is compared with, and for the families that no other takes.
When not       Where summaries are written in number: torch_fast writes the same tokens for less, ctranslate2 and
               onnxruntime need no torch.
Families       all
Source         Wolf et al. 2020, arXiv 1910.03771; the search: transformers, generation/utils.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.parts.runtime import RuntimeOptions, TokenGenerator

FAMILIES: Final = None
PRECISIONS: Final = ("fp32", "bf16", "fp16")
DEVICES: Final = ("cpu", "cuda")
REQUIRES: Final = ("torch", "transformers")
READS_MODEL_FOLDER: Final = True


def export(model: Path, folder: Path, precision: str) -> None:
    """Leave a copy of the folder with its weights in `precision`.

    Raises:
        PartError: the folder cannot be loaded.
    """
    from kilowit.parts.torch_folder import export_folder

    export_folder(model, folder, precision)


def load(folder: Path, options: RuntimeOptions) -> TokenGenerator:
    """Load a folder as save_pretrained leaves it.

    Raises:
        PartError: the folder cannot be loaded, or the device is not there.
    """
    from kilowit.parts.stock_generate import StockGenerator
    from kilowit.parts.torch_folder import load_for_inference

    return StockGenerator(load_for_inference(folder, options))
