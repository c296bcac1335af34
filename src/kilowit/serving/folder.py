"""A trained model in the form that a runtime loads, with the manifest and the tokenizer that text needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilowit.parts.runtime_support import check_runtime, require_packages, support_of
from kilowit.parts.summarizer_folder import describe, restate
from kilowit.parts.text_codec import MANIFEST_FILE, Manifest
from kilowit.settings import RuntimeSettings


def precision_of(chosen: RuntimeSettings) -> str:
    """Return the number format that an export for this runtime has."""
    return chosen.precision or support_of(chosen.name).precisions[0]


def export_folder(
    model: Path, folder: Path, chosen: RuntimeSettings, *, max_source_tokens: int | None = None, **stated: Any
) -> Manifest:
    """Export a model for a runtime into a folder that is not there yet.

    Args:
        model: as save_pretrained leaves it, with its tokenizer.
        max_source_tokens: documents will be cut to it; None = what positions and tokenizer allow.
        stated: other fields of the manifest, e.g. ``name`` and ``source``; None = as the folder says.

    Raises:
        PartError: the runtime does not take this family or precision, a package is missing, or the model cannot be
            read.
    """
    precision = precision_of(chosen)
    module = check_runtime(chosen.name, precision=precision)
    require_packages(chosen.name)
    folder.mkdir(parents=True, exist_ok=True)
    module.export(model, folder, precision)
    if not (folder / MANIFEST_FILE).is_file():
        describe(model, runtime=chosen.name, precision=precision).write(folder)
    changes = {"max_source_tokens": max_source_tokens, **stated}
    return restate(folder, **{name: value for name, value in changes.items() if value is not None})
