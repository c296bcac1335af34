"""What can be asked for summaries: a run folder, an exported summarizer, a model's folder, an id of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from kilowit.cell import Cell
from kilowit.errors import PartError, StoreError, StudyError, near_name_hint
from kilowit.parts import catalogue
from kilowit.parts.method import plan_settings
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.text_codec import MANIFEST_FILE, Manifest
from kilowit.settings import PredictSettings, RuntimeSettings
from kilowit.store import RunFolder

DEFAULT_RUNTIME: Final = "torch"
_OPTIONS: Final = ("num_beams", "max_new_tokens", "min_new_tokens", "length_penalty", "no_repeat_ngram_size")


@dataclass(frozen=True)
class Source:
    """A model on this machine, and how it is to be asked where nobody says otherwise.

    Attributes:
        folder: as save_pretrained leaves it, or, with a manifest, an exported summarizer.
        max_source_tokens: longer documents are cut; None = what positions and tokenizer allow.
    """

    folder: Path
    name: str
    origin: str  # run:<id> | folder:<name> | hub:<id>@<revision> | what the manifest says
    manifest: Manifest | None = None
    run: RunFolder | None = None
    runtime: RuntimeSettings | None = None
    predict: PredictSettings = field(default_factory=PredictSettings)
    max_source_tokens: int | None = None


def find_source(model: str | Path, *, revision: str | None = None) -> Source:
    """Find a model by a path on this machine, or by its id on the hub.

    Raises:
        PartError: nothing of that name, or a folder that holds no model.
        StoreError: a run folder that kept no model, or whose cell.json cannot be read.
        CellFailure: the hub cannot be reached.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _of_folder(path.resolve())
    written = str(model)
    is_path = path.exists() or written.startswith((".", "/", "~")) or written.count("/") > 1
    if is_path:
        reason = "is a file" if path.exists() else "no such folder"
        hint = "Name a run folder, an exported summarizer, a model's folder, or an id of the hub."
        raise PartError(f"not a summarizer: {reason}", place=written, hint=hint)
    from kilowit.parts.hub import download_model

    snapshot = download_model(written, revision)
    return Source(snapshot.folder, written.rpartition("/")[2], f"hub:{written}@{snapshot.commit}")


def _of_folder(folder: Path) -> Source:
    if (folder / "cell.json").is_file():
        return _of_run(RunFolder(folder))
    if (folder / MANIFEST_FILE).is_file():
        manifest = Manifest.read(folder)
        return Source(folder, manifest.name, manifest.source, manifest=manifest)
    return Source(folder, folder.name, f"folder:{folder.name}")


def _of_run(run: RunFolder) -> Source:
    cell = Cell.from_dict(run.cell, place=str(run.cell_path))
    if not run.model_path.is_dir():
        why = "a training-free baseline has none" if cell.is_baseline else "measure.keep_model was false"
        raise StoreError(
            f"the run kept no model: {why}",
            place=str(run.path),
            hint="Run the study again with --set measure.keep_model=true.",
        )
    config = catalogue.read_config(run.model_path)
    family = catalogue.family_of(config, place=str(run.model_path))
    settings = plan_settings(cell.settings, cell.methods, family.name)  # a method may name the runtime
    return Source(
        run.model_path,
        cell.label,
        f"run:{run.run_id}",
        run=run,
        runtime=settings.predict.runtime,
        predict=settings.predict,
        max_source_tokens=settings.train.max_source_tokens,
    )


def generate_options(own: GenerateOptions, *asked: PredictSettings) -> GenerateOptions:
    """Return a model's own options with what was asked for in their place, the last word last.

    Where summaries are asked for that are shorter than the model's minimum, the minimum gives way.
    """
    changes: dict[str, Any] = {}
    for settings in asked:
        changes |= {name: value for name in (*_OPTIONS, "batch_size") if (value := getattr(settings, name)) is not None}
    options = replace(own, **changes)
    return replace(options, min_new_tokens=min(options.min_new_tokens, options.max_new_tokens))


def predict_settings(options: Mapping[str, Any]) -> PredictSettings:
    """Return options of a call, named as in a study's ``predict``; None = not said.

    Raises:
        StudyError: there is no such option, or its value cannot be.
    """
    written = {name: value for name, value in options.items() if value is not None}
    known = (*_OPTIONS, "batch_size")
    for name in written:
        if name not in known:
            raise StudyError(f'no option "{name}"', hint=near_name_hint(name, known))
    try:
        return PredictSettings.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or None
        text = first["msg"].removeprefix("Value error, ")
        raise StudyError(text, place=place, hint="docs/reference/study.md, predict, says what it may be.") from error
