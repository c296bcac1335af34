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
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

import kilowit.parts.unilm_model  # noqa: F401 - makes transformers know the model type
from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.dataset import Corpus
from kilowit.parts.hub import download_model
from kilowit.parts.model import Family, LoadedModel, PositionLimits
from kilowit.parts.narrow import load_narrowed
from kilowit.parts.tokenizer import train_tokenizer

_KEPT_IDS: Final = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id",
)  # fmt: skip
_TOKENIZER_FILES: Final = (
    "tokenizer.json", "spiece.model", "vocab.json", "vocab.txt", "sentencepiece.bpe.model", "prophetnet.tokenizer",
)  # fmt: skip
_NO_WEIGHTS: Final = "Copy model.safetensors into it."


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
        spec: ``{"hub": ...}``, ``{"folder": ...}``, ``{"scratch": ...}`` or ``{"warm_start": ...}``, with options.
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
    elif "warm_start" in spec:
        loaded = _from_encoder(spec, fetch(spec), max_source_tokens, max_target_tokens)
    else:
        loaded = _from_folder(spec, fetch(spec), max_source_tokens, max_target_tokens)
    if loaded.family.default_prompt is not None:
        from kilowit.parts.causal_model import make_summarizer

        make_summarizer(loaded, spec.get("prompt"))
    loaded.language = spec.get("language")
    if loaded.family.prepare is not None:
        loaded.family.prepare(loaded)
    loaded.model.generation_config = _generation_config(loaded.model, loaded.family, corpus.name)
    return loaded


def load_folder(folder: Path) -> LoadedModel:
    """Load a trained model and its tokenizer as save_pretrained left them.

    Raises:
        PartError: see `load_model`.
    """
    spec = {"folder": str(folder)}
    loaded = _from_folder(spec, fetch(spec), max_source_tokens=0, max_target_tokens=0)
    if loaded.family.prepare is not None:
        loaded.family.prepare(loaded)
    return loaded


def fetch(spec: Mapping[str, Any]) -> ModelFiles:
    """Make sure that a hub model's files are on this machine; the download apart from the loading.

    Raises:
        PartError: no such model or folder.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    if "warm_start" in spec:
        return _fetch_encoder(spec)
    if "hub" in spec:
        with_weights = spec.get("weights") != "random"
        snapshot = download_model(spec["hub"], spec.get("revision"), with_weights=with_weights)
        name = str(spec["hub"]).rpartition("/")[2]
        return ModelFiles(snapshot.folder, name, f"hub:{spec['hub']}@{snapshot.commit}")
    folder = Path(spec["folder"]).expanduser()
    return ModelFiles(folder, folder.name, f"folder:{folder.name}")


def _fetch_encoder(spec: Mapping[str, Any]) -> ModelFiles:
    source = str(spec["warm_start"])
    name = source.removeprefix(catalogue.PACKAGED).rstrip("/").rpartition("/")[2]
    folder = catalogue.warm_start_folder(spec)
    if folder is not None:
        origin = source if source.startswith(catalogue.PACKAGED) else f"folder:{name}"
        return ModelFiles(folder, name, f"warm_start:{origin}")
    snapshot = download_model(source, spec.get("revision"))
    return ModelFiles(snapshot.folder, name, f"warm_start:hub:{source}@{snapshot.commit}")


def _from_encoder(
    spec: Mapping[str, Any], source: ModelFiles, max_source_tokens: int, max_target_tokens: int
) -> LoadedModel:
    from kilowit.parts.warm_start import warm_start

    family = catalogue.warm_start_family(spec)
    limits = family.position_limits(catalogue.warm_start_config(spec, source.folder))
    _check_positions(source.name, limits, max_source_tokens, max_target_tokens)
    if not catalogue.has_weights(source.folder):
        raise PartError("the folder has a configuration but no weights", place=str(source.folder), hint=_NO_WEIGHTS)
    tokenizer = load_tokenizer(Path(spec["tokenizer"]) if spec.get("tokenizer") else source.folder)
    model = warm_start(family.name, source.folder, _framing_ids(tokenizer))
    _check_vocabulary(tokenizer, model, source)
    return LoadedModel(model, tokenizer, family, source.source, f"{family.name}-{source.name}")


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
    config = family.build_config({**size, **_framing_ids(tokenizer)}, max_positions)
    model = auto_class(family).from_config(config)
    return LoadedModel(model, tokenizer, family, f"scratch:{name}", name)


def auto_class(family: Family) -> Any:
    """Return the class of transformers that builds a family's models."""
    return AutoModelForSeq2SeqLM if family.default_prompt is None else AutoModelForCausalLM


def _framing_ids(tokenizer: Any) -> dict[str, int]:
    """Return the ids that begin, end and fill a text; BERT's vocabularies begin with [CLS] and end with [SEP]."""
    roles = {"bos_token_id": "cls_token_id", "pad_token_id": None, "eos_token_id": "sep_token_id"}
    ids = {
        role: getattr(tokenizer, role)
        if getattr(tokenizer, role) is not None or other is None
        else getattr(tokenizer, other)
        for role, other in roles.items()
    }
    return {role: value for role, value in ids.items() if value is not None}


def _from_folder(
    spec: Mapping[str, Any], source: ModelFiles, max_source_tokens: int, max_target_tokens: int
) -> LoadedModel:
    config = catalogue.read_config(source.folder)
    family = catalogue.family_of(config, place=str(source.folder))
    catalogue.size_of(family, config)  # says what config.json lacks
    _check_positions(source.name, family.position_limits(config), max_source_tokens, max_target_tokens)
    tokenizer = load_tokenizer(Path(spec["tokenizer"]) if spec.get("tokenizer") else source.folder)
    described = source.source
    if spec.get("weights") == "random":
        model = auto_class(family).from_config(AutoConfig.from_pretrained(source.folder))
        described = f"{described} (random weights)"
    else:
        model = _load_weights(source, auto_class(family))
    _check_vocabulary(tokenizer, model, source)
    return LoadedModel(model, tokenizer, family, described, source.name)


def _check_vocabulary(tokenizer: Any, model: Any, source: ModelFiles) -> None:
    """Refuse a tokenizer with ids that the model has no embeddings for."""
    vocabulary_size = getattr(model.config, "vocab_size", None) or model.config.decoder.vocab_size
    if len(tokenizer) > vocabulary_size:
        raise PartError(
            f"the tokenizer has {len(tokenizer)} tokens, the model {vocabulary_size}",
            place=str(source.folder),
            hint="Name the tokenizer that the model was trained with.",
        )


def _load_weights(source: ModelFiles, kind: Any) -> Any:
    if not catalogue.has_weights(source.folder):
        raise PartError(
            "the folder has a configuration but no weights",
            place=str(source.folder),
            hint=f"{_NO_WEIGHTS.rstrip('.')}, or write `weights: random` to start from random weights.",
        )
    try:
        config = AutoConfig.from_pretrained(source.folder)
        if getattr(config, "d_attention", None):  # heads were pruned
            return load_narrowed(source.folder, config)
        model, report = kind.from_pretrained(source.folder, dtype=torch.float32, output_loading_info=True)
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


def _check_positions(name: str, limits: PositionLimits, max_source_tokens: int, max_target_tokens: int) -> None:
    """Refuse sequences longer than a table of learned positions: they would fail in the middle of training."""
    asked = (
        ("max_source_tokens", limits.source, max_source_tokens),
        ("max_target_tokens", limits.target, max_target_tokens),
    )
    for setting, limit, num_tokens in asked:
        if limit is not None and num_tokens > limit:
            raise PartError(
                f"{name} has {limit} positions, the study asks for {num_tokens} tokens",
                hint=f"Set train.{setting} to at most {limit}.",
            )
    if limits.together is not None and max_source_tokens + max_target_tokens > limits.together:
        raise PartError(
            f"{name} has {limits.together} positions for source and target together, the study asks for "
            f"{max_source_tokens} + {max_target_tokens} tokens",
            hint="Lower train.max_source_tokens or max_target_tokens.",
        )


def _generation_config(model: Any, family: Family, dataset_name: str) -> GenerationConfig:
    """Build generation settings from the checkpoint's token ids and the family's defaults for the dataset alone.

    A checkpoint's own `min_length` or `max_length` would go on to work beside the study's counts of new tokens.
    """
    defaults = catalogue.generation_defaults(family, dataset_name)
    return GenerationConfig(
        **special_ids(model),
        num_beams=defaults.num_beams,
        max_new_tokens=defaults.max_new_tokens,
        min_new_tokens=defaults.min_new_tokens,
        length_penalty=defaults.length_penalty,
        no_repeat_ngram_size=defaults.no_repeat_ngram_size,
        early_stopping=defaults.early_stopping,
        do_sample=False,
    )


def special_ids(model: Any) -> dict[str, Any]:
    """Return the ids that begin, end and fill what a model writes, by their names in transformers."""
    own = getattr(model, "generation_config", None)
    return {
        key: value
        for key in _KEPT_IDS
        if (value := getattr(own, key, None)) is not None or (value := getattr(model.config, key, None)) is not None
    }
