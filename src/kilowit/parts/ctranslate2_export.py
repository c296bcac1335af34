"""Convert a trained model to CTranslate2."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ctranslate2.converters import TransformersConverter

from kilowit.errors import PartError
from kilowit.parts.engine_ctranslate2 import CTranslate2Generator
from kilowit.parts.pretrained import load_folder
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions
from kilowit.parts.standalone import leave_program
from kilowit.parts.summarizer_folder import describe

QUANTIZATION: Final = {"fp32": None, "int8": "int8"}
# Checkpoints of the hub say these two in config.json, configurations that transformers makes do not, and the converter
# cannot do without. Source: fairseq's models, as their checkpoints on the hub have them.
NORMALIZATION: Final = {
    "bart": {"normalize_before": False, "normalize_embedding": True},
    "pegasus": {"normalize_before": True, "normalize_embedding": False},
}


class _Converter(TransformersConverter):  # type: ignore[misc]  # the package has no types
    """Converts a model that is in memory already."""

    def __init__(self, path: Path, model: Any, tokenizer: Any) -> None:
        super().__init__(str(path))
        self._model, self._tokenizer = model, tokenizer

    def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
        return self._model

    def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **options: Any) -> Any:
        return self._tokenizer


def export_ctranslate2(model: Path, folder: Path, precision: str) -> None:
    """Write the converted model, tokenizer, manifest and the program that runs it.

    Raises:
        PartError: the folder cannot be loaded, or the converter does not take what it holds.
    """
    loaded = load_folder(model)
    config = loaded.model.config
    if getattr(config, "d_attention", None) or getattr(config, "max_encoder_keys", None):
        raise PartError(
            "CTranslate2 knows no pruned heads and no sparse attention",
            place=str(model),
            hint="Take the runtime onnxruntime for pruned models, torch for sparse attention.",
        )
    for name, value in NORMALIZATION.get(config.model_type, {}).items():
        setattr(config, name, getattr(config, name, value))
    folder.mkdir(parents=True, exist_ok=True)
    codec = describe(model, runtime="ctranslate2", precision=precision)
    try:
        converter = _Converter(model, loaded.model.eval(), loaded.tokenizer)
        converter.convert(str(folder), quantization=QUANTIZATION[precision], force=True)
        codec.write(folder)
        trial = [[codec.manifest.special_ids.eos[0]] * 2]  # layers that do not fit are found when they are computed
        CTranslate2Generator(folder, RuntimeOptions(num_threads=1)).generate(trial, GenerateOptions(max_new_tokens=2))
    except (ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise PartError(
            f"CTranslate2 cannot convert the model ({error})", place=str(model), hint="Take the runtime onnxruntime."
        ) from error
    leave_program(folder, "ctranslate2")
