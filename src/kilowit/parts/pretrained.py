"""Put a model in memory, ready to train and to generate: from the hub, from a folder, or from nothing.

Only the worker imports this module: it needs torch. Whatever is built is the same for the same seed and versions.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.dataset import Corpus
from kilowit.parts.hub import download_model
from kilowit.parts.model import Family, LoadedModel
from kilowit.parts.narrow import load_narrowed
from kilowit.parts.tokenizer import train_tokenizer

_KEPT_IDS: Final = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id",
)  # fmt: skip
_TOKENIZER_FILES: Final = ("tokenizer.json", "spiece.model", "vocab.json", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class ModelFiles:
    """A folder that a model is loaded from, and what to call it."""

    folder: Path
    name: str
    source: str


def load_model(
    spec: Mapping[str, Any], *, corpus: Corpus, seed: int, max_source_tokens: int, max_target_tokens: int
) -> LoadedModel:
    """Load or build the model that a canonical spec names, with its tokenizer and generation defaults.

    Random weights are drawn from `seed`; torch's global generator is left seeded with it.

    Args:
        spec: ``{"hub": ...}``, ``{"folder": ...}`` or ``{"scratch": ...}`` with their options.
        corpus: trains the vocabulary of a model from scratch, and chooses the generation defaults.
        max_source_tokens: longest source that will be fed; positions are made to suffice for a model from scratch.
        max_target_tokens: likewise of the target.

    Raises:
        PartError: no such model, an unsupported family, no weights, no tokenizer, or too few positions.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    catalogue.check_model(spec)
    torch.manual_seed(seed)
    max_positions = max(max_source_tokens, max_target_tokens)
    if "scratch" in spec:
        loaded = _from_scratch(spec, corpus, max_positions)
    else:
        loaded = _from_folder(spec, fetch(spec), max_positions)
    loaded.model.generation_config = _generation_config(loaded.model, loaded.family, corpus.name)
    return loaded


def fetch(spec: Mapping[str, Any]) -> ModelFiles:
    """Make sure that a hub model's files are on this machine; the download apart from the loading.

    Raises:
        PartError: no such model or folder.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    if "hub" in spec:
        with_weights = spec.get("weights") != "random"
        snapshot = download_model(spec["hub"], spec.get("revision"), with_weights=with_weights)
        name = str(spec["hub"]).rpartition("/")[2]
        return ModelFiles(snapshot.folder, name, f"hub:{spec['hub']}@{snapshot.commit}")
    folder = Path(spec["folder"]).expanduser()
    return ModelFiles(folder, folder.name, f"folder:{folder.name}")


def _from_scratch(spec: Mapping[str, Any], corpus: Corpus, max_positions: int) -> LoadedModel:
    name = spec["scratch"]
    family = catalogue.scratch_family(name)
    size = dict(family.sizes[name])
    if spec.get("tokenizer"):
        tokenizer = load_tokenizer(Path(spec["tokenizer"]))
        size["vocab_size"] = len(tokenizer)
    else:
        size["vocab_size"] = spec.get("vocabulary_size") or size["vocab_size"]
        tokenizer = train_tokenizer(
            corpus,
            vocabulary_size=size["vocab_size"],
            special_tokens=family.special_tokens,
            max_positions=max(max_positions, size.get("max_position_embeddings", 0)),
        )
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "pad_token_id", "eos_token_id")}
    known_ids = {key: value for key, value in ids.items() if value is not None}
    config = family.build_config({**size, **known_ids}, max_positions)
    model = AutoModelForSeq2SeqLM.from_config(config)
    return LoadedModel(model, tokenizer, family, f"scratch:{name}", name)


def _from_folder(spec: Mapping[str, Any], source: ModelFiles, max_positions: int) -> LoadedModel:
    config = catalogue.read_config(source.folder)
    family = catalogue.family_of(config, place=str(source.folder))
    _check_positions(config, max_positions, source)
    tokenizer = load_tokenizer(Path(spec["tokenizer"]) if spec.get("tokenizer") else source.folder)
    described = source.source
    if spec.get("weights") == "random":
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(source.folder))
        described = f"{described} (random weights)"
    else:
        model = _load_weights(source)
    if len(tokenizer) > model.config.vocab_size:
        raise PartError(
            f"the tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}",
            place=str(source.folder),
            hint="Name the tokenizer that the model was trained with.",
        )
    return LoadedModel(model, tokenizer, family, described, source.name)


def _load_weights(source: ModelFiles) -> Any:
    if not catalogue.has_weights(source.folder):
        raise PartError(
            "the folder has a configuration but no weights",
            place=str(source.folder),
            hint="Copy model.safetensors into it, or write `weights: random` to start from random weights.",
        )
    try:
        config = AutoConfig.from_pretrained(source.folder)
        if getattr(config, "d_attention", None):  # heads were pruned
            return load_narrowed(source.folder, config)
        model, report = AutoModelForSeq2SeqLM.from_pretrained(
            source.folder, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise PartError(
            f"the weights cannot be loaded ({error})", place=str(source.folder), hint="Copy the files again."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise PartError(
            f"the weights lack {len(missing)} tensors, first {missing[0]}: they would be random",
            place=str(source.folder),
            hint="Are these the weights of this config.json?",
        )
    return model


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer from a folder.

    Raises:
        PartError: the folder holds none, or one that cannot be read.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise PartError(
            "no tokenizer in the folder",
            place=str(folder),
            hint="Name the folder of one: {folder: ..., tokenizer: FOLDER}.",
        )
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        message = f"the tokenizer cannot be loaded ({error})"
        raise PartError(message, place=str(folder), hint="Save it again with save_pretrained().") from error


def _check_positions(config: Mapping[str, Any], max_positions: int, source: ModelFiles) -> None:
    """Refuse sequences longer than a table of learned positions: they would fail in the middle of training."""
    limit = config.get("max_position_embeddings")
    if limit is not None and max_positions > limit:
        raise PartError(
            f"{source.name} has {limit} positions, the study asks for {max_positions} tokens",
            hint=f"Set train.max_source_tokens and max_target_tokens to at most {limit}.",
        )


def _generation_config(model: Any, family: Family, dataset_name: str) -> GenerationConfig:
    """Build generation settings from the checkpoint's token ids and the family's defaults for the dataset alone.

    A checkpoint's own `min_length` or `max_length` would go on to work beside the study's counts of new tokens.
    """
    defaults = catalogue.generation_defaults(family, dataset_name)
    kept = {
        key: value
        for key in _KEPT_IDS
        if (value := getattr(model.generation_config, key, None)) is not None
        or (value := getattr(model.config, key, None)) is not None
    }
    return GenerationConfig(
        **kept,
        num_beams=defaults.num_beams,
        max_new_tokens=defaults.max_new_tokens,
        min_new_tokens=defaults.min_new_tokens,
        length_penalty=defaults.length_penalty,
        no_repeat_ngram_size=defaults.no_repeat_ngram_size,
        early_stopping=defaults.early_stopping,
        do_sample=False,
    )
