"""A model folder as the torch runtimes use it: loaded for inference, or written anew in another number format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.model import LoadedModel
from kilowit.parts.pretrained import load_folder
from kilowit.parts.runtime import RuntimeOptions

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_for_inference(folder: Path, options: RuntimeOptions) -> LoadedModel:
    """Load a model in evaluation mode, on its device and in its number format.

    Raises:
        PartError: no model of a supported family, no weights or tokenizer, no such device here, or a number format in
            which the family overflows.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise PartError("torch sees no NVIDIA GPU", hint="Take the device cpu.")
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    loaded = load_folder(folder)
    dtype = _dtype(options.precision or stored_precision(catalogue.read_config(folder)), loaded)
    loaded.model.to(device=options.device, dtype=dtype).eval()
    return loaded


def export_folder(model: Path, folder: Path, precision: str) -> None:
    """Write a model folder anew, weights in `precision`, with its tokenizer.

    Raises:
        PartError: see `load_for_inference`.
    """
    loaded = load_folder(model)
    loaded.model.to(dtype=_dtype(precision, loaded))
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def stored_precision(config: Mapping[str, Any]) -> str:
    """Return the number format of the weights beside a config.json; fp32 where it says nothing.

    >>> stored_precision({"dtype": "float16"}), stored_precision({})
    ('fp16', 'fp32')
    """
    stored = config.get("dtype") or config.get("torch_dtype") or "float32"
    return next((name for name, dtype in DTYPES.items() if str(dtype) == f"torch.{stored}"), "fp32")


def _dtype(precision: str, loaded: LoadedModel) -> torch.dtype:
    if precision == "fp16" and not loaded.family.fp16_trains:
        raise PartError(f"{loaded.family.name} overflows in fp16", hint="Take bf16.")
    return DTYPES[precision]
