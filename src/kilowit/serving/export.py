"""Leave a trained model as a folder that others can load: weights for a runtime, tokenizer, manifest, model card."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from kilowit.errors import PartError, StoreError
from kilowit.meter import Meter, MeterResult
from kilowit.parts import catalogue
from kilowit.parts.runtime_support import check_runtime
from kilowit.parts.summarizer_folder import restate
from kilowit.parts.text_codec import Manifest
from kilowit.serving.folder import export_folder
from kilowit.serving.model_card import CARD_FILE, model_card
from kilowit.serving.source import Source, find_source, generate_options
from kilowit.serving.summarizer import chosen_runtime, synchronize
from kilowit.serving.triton_card import triton_usage
from kilowit.serving.triton_repository import TritonLimits, check_triton_runtime, repository_name, write_model
from kilowit.settings import FactorSettings, RuntimeSettings
from kilowit.store.folder import store_errors

PHASE = "save"
Target = Literal["folder", "triton"]
TARGETS: Final[tuple[Target, ...]] = ("folder", "triton")


@dataclass(frozen=True)
class Exported:
    """An exported folder and what making it took."""

    folder: Path
    manifest: Manifest
    disk_byte: int
    metered: MeterResult


def export_model(
    model: str | Path,
    out: str | Path,
    chosen: RuntimeSettings | str,
    *,
    factors: FactorSettings | None = None,
    target: Target = "folder",
) -> Exported:
    """Export a model for a runtime, metered; the folder is there whole or not at all.

    Args:
        model: a run folder with ``model/``, a model's folder, or an id of the hub; for Triton also what was exported.
        out: a folder that is not there yet.
        chosen: the runtime and its number format, as ``onnxruntime:int8`` or as a study says it.
        factors: prices the bills of the model card; None = as the run's study says.
        target: folder = what `kilowit summarize` and the program in it load; triton = a model repository for NVIDIA
            Triton, see `kilowit.serving.triton_repository`.

    Raises:
        StoreError: `out` is there already or cannot be written, or the run kept no model.
        PartError: the runtime does not take the model, or a package is missing.
    """
    chosen = RuntimeSettings.parse(chosen) if isinstance(chosen, str) else chosen
    out = Path(out).expanduser()
    if out.exists():
        raise StoreError("is there already", place=str(out), hint="Name a folder that is not there yet.")
    source = find_source(model)
    _check(source, chosen, target)
    with store_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        exported = _write(source, workspace, out, chosen, factors, target)
        with store_errors(out):
            workspace.chmod(0o755)  # mkdtemp keeps others out
            workspace.rename(out)
        return exported
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise


def _check(source: Source, chosen: RuntimeSettings, target: Target) -> None:
    """Refuse what cannot be exported, before anything is written."""
    if target == "triton":
        check_triton_runtime(chosen.name)
    if source.manifest is None:
        family = catalogue.family_of(catalogue.read_config(source.folder), place=str(source.folder))
        check_runtime(chosen.name, family=family.name, precision=chosen.precision)
    elif target == "triton":
        chosen_runtime(source, chosen, None, None)
    else:
        raise PartError(
            "the folder is an export already", place=str(source.folder), hint="Export the model that it came from."
        )


def _write(
    source: Source,
    workspace: Path,
    out: Path,
    chosen: RuntimeSettings,
    factors: FactorSettings | None,
    target: Target,
) -> Exported:
    meter = Meter(period_second=0.2, synchronize=synchronize)
    stated: dict[str, Any] = {
        "max_source_tokens": source.max_source_tokens,
        "name": source.name,
        "source": source.origin,
    }
    folder, usage = workspace, None
    with meter, meter.phase(PHASE):
        if target == "triton":
            name = repository_name(source.name)
            folder = write_model(source, workspace, name, chosen, TritonLimits(), with_graphs=True, **stated)
            usage = triton_usage(name, folder)
        else:
            manifest = export_folder(source.folder, folder, chosen, **stated)
            restate(folder, generate=generate_options(manifest.generate, source.predict))
    metered, manifest = meter.stop(), Manifest.read(folder)
    card = model_card(source, folder, manifest, metered, factors, usage)
    with store_errors(out):
        (workspace / CARD_FILE).write_text(card, encoding="utf-8")
        disk_byte = sum({item.stat().st_ino: item.stat().st_size for item in _files(workspace)}.values())
    return Exported(out, manifest, disk_byte, metered)


def _files(folder: Path) -> list[Path]:
    return [item for item in folder.rglob("*") if item.is_file()]
