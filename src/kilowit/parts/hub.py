"""The Hugging Face hub: fetch a repository's files, and say in one sentence why it could not be done.

Nothing is asked of the hub unless a study names something on it. ``HF_HUB_OFFLINE=1`` keeps to what is in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.errors import CellFailure, KilowitError, PartError

MODEL_FILES: Final = ("*.json", "*.txt", "*.model", "*.tiktoken")
_OFFLINE_HINT: Final = "Check the connection, or name a local folder that holds the files."


@dataclass(frozen=True)
class Snapshot:
    """Files of one revision of a repository, on this machine."""

    folder: Path
    commit: str  # 40 hex digits


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn the errors of the hub's client into ours.

    Args:
        what: what is fetched, e.g. ``model facebook/bart-base``.

    Raises:
        PartError: there is no such repository or revision, or this account may not read it.
        CellFailure: the hub cannot be reached, or does not answer as it should (kind ``download_failed``).
    """
    try:
        yield
    except KilowitError:
        raise
    except Exception as error:
        ours = _ours(what, error)
        if ours is None:
            raise
        raise ours from error


def download_model(hub_id: str, revision: str | None, *, with_weights: bool = True) -> Snapshot:
    """Fetch configuration, tokenizer and, if asked for, weights of a model, unless they are in the cache.

    Weights are fetched once: safetensors where there are any, else PyTorch's own files.

    Raises:
        PartError: there is no such model or revision, or it has no weights for PyTorch.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    from huggingface_hub import snapshot_download

    with hub_errors(f"model {hub_id}"):
        patterns = list(MODEL_FILES)
        if with_weights and not _offline():
            patterns.append(_weights_pattern(hub_id, revision))
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns, max_workers=4))
    return Snapshot(folder, folder.name)


def download_dataset(hub_id: str, revision: str | None, patterns: Sequence[str]) -> Snapshot:
    """Fetch the files of a dataset that match one of the patterns, unless they are in the cache.

    Raises:
        PartError: there is no such dataset or revision.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    from huggingface_hub import snapshot_download

    with hub_errors(f"dataset {hub_id}"):
        folder = Path(
            snapshot_download(
                hub_id, repo_type="dataset", revision=revision, allow_patterns=list(patterns), max_workers=4
            )
        )
    return Snapshot(folder, folder.name)


def _weights_pattern(hub_id: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    names = [item.rfilename for item in HfApi().model_info(hub_id, revision=revision).siblings or []]
    for pattern, ending in (("*.safetensors", ".safetensors"), ("pytorch_model*.bin", ".bin")):
        if any(name.endswith(ending) and "/" not in name for name in names):
            return pattern
    raise PartError(
        f"model {hub_id} has no weights for PyTorch (found {', '.join(sorted(names)[:6]) or 'no file'})",
        hint="Name another model, or another revision.",
    )


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("TRANSFORMERS_OFFLINE") == "1"


def _ours(what: str, error: Exception) -> KilowitError | None:
    """Return our error for one of the client's, or None if it is not about the hub."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return PartError(f"{what} is gated", hint="Ask for access on its page, then run `hf auth login`.")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        message = f"{what} is not in the cache, and the hub is out of reach"
        return CellFailure("download_failed", message, hint=_OFFLINE_HINT)
    if isinstance(error, errors.RevisionNotFoundError):
        return PartError(f"{what} has no such revision", hint="Leave revision out for the newest.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return PartError(f"{what} is not on the hub, or private", hint="Check owner and name, or run `hf auth login`.")
    if isinstance(error, errors.HFValidationError):
        return PartError(f"{what} cannot be a hub id ({error})", hint="Example: facebook/bart-base.")
    if isinstance(error, errors.HfHubHTTPError | ConnectionError | TimeoutError) or _is_transport_error(error):
        return CellFailure("download_failed", f"{what} could not be fetched ({error})", hint=_OFFLINE_HINT)
    return None


def _is_transport_error(error: Any) -> bool:
    """Whether an HTTP library raised it: which one huggingface_hub uses changes with its version."""
    package = type(error).__module__.split(".")[0]
    return package.startswith(("httpx", "httpcore", "requests", "urllib3", "aiohttp"))
