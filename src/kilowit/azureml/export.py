"""A study as a folder that `az ml` takes: jobs, resources, images, data, a script and a README. Whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from kilowit.azureml.context import SCORING, SOURCE, Context, trained_cells
from kilowit.azureml.guide import readme, script
from kilowit.azureml.images import data_version, extras_of, write_images
from kilowit.azureml.jobs import jobs
from kilowit.azureml.lint import require_clean
from kilowit.azureml.options import AzureOptions
from kilowit.azureml.portable import DATA, check_portable, make_portable, priced, write_portable
from kilowit.azureml.resources import SCORING_SCRIPT, resources
from kilowit.errors import StoreError
from kilowit.store.folder import store_errors
from kilowit.study import Study

SCRIPT: Final = "azure.sh"
_SCORE: Final = '''\
"""What the endpoint calls: kilowit's own scoring, which answers each request with its bill."""

from kilowit.azureml.scoring import init, run

__all__ = ["init", "run"]
'''
_IGNORED: Final = "data\n__pycache__\n*.pyc\n"  # of the code snapshot: the data is mounted, not uploaded twice


@dataclass(frozen=True)
class AzureExport:
    """What an export left.

    Attributes:
        folder: with all files.
        files: every YAML file of Azure's schema, by name.
        notes: what its reader should know, one sentence each.
    """

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]


def export_study(
    path: str | Path, out: str | Path, options: AzureOptions | None = None, *, overrides: Sequence[str] = ()
) -> AzureExport:
    """Write a study as jobs of Azure Machine Learning.

    Args:
        path: YAML file of the study.
        out: a folder that is not there yet.
        options: sizes, region, runtime; None = what the study says.
        overrides: assignments such as ``train.num_epochs=1``.

    Raises:
        StudyError: the study is wrong, trains nothing, or an option cannot be.
        PartError: the runtime is unknown, or kilowit is not installed here.
        StoreError: `out` is there already, or cannot be written.

    Example:
        >>> export_study("study.yaml", "azure", AzureOptions(machine="Standard_NC4as_T4_v3"))  # doctest: +SKIP
    """
    path, out, options = Path(path), Path(out).expanduser(), options or AzureOptions()
    if out.exists():
        raise StoreError("is there already", place=str(out), hint="Name a folder that is not there yet.")
    study = Study.load(path, overrides)
    options.check(study)
    trained = trained_cells(study)
    portable = make_portable(path, study, list(overrides), options)
    with store_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write_portable(portable, workspace / SOURCE, workspace / DATA)
        check_portable(portable, study, workspace)
        extras = extras_of(trained, options.runtime, study.search.algorithm if study.search else None)
        versions = {**write_images(workspace, extras, options.runtime), "data": data_version(portable.copies)}
        context = Context(study=study, options=options, versions=versions, has_data=bool(portable.copies))
        files = _write_files(context, workspace)
        require_clean(workspace)
        with store_errors(out):
            workspace.chmod(0o755)  # mkdtemp keeps others out
            workspace.rename(out)
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise
    return AzureExport(out, files, tuple(_notes(context)))


def _write_files(context: Context, folder: Path) -> tuple[str, ...]:
    documents = {**jobs(context), **resources(context)}
    with store_errors(folder):
        for name, document in documents.items():
            text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
            (folder / name).write_text(text, encoding="utf-8")
        (folder / SCORING).mkdir()
        (folder / SCORING / SCORING_SCRIPT).write_text(_SCORE, encoding="utf-8")
        (folder / SOURCE / ".amlignore").write_text(_IGNORED, encoding="utf-8")
        (folder / SCRIPT).write_text(script(context), encoding="utf-8")
        (folder / SCRIPT).chmod(0o755)
        (folder / "README.md").write_text(readme(context, sorted(documents)), encoding="utf-8")
    return tuple(sorted(documents))


def _notes(context: Context) -> list[str]:
    notes = list(context.study.notes)
    search, machine = context.study.search, context.machine
    if search is not None and context.sampling is None:
        notes.append(f"search {search.algorithm} has no like among sweeps: the train job runs it, on one node")
    if context.options.region_of(context.study) is None:
        notes.append("no Azure region is named: bills will have the world's interval of CO2e and no price")
    if priced(machine) is None:
        notes.append(f"no price of {machine} is known here: bills will have none")
    if context.study.budget.wall_hour is None:
        notes.append(f"no budget.wall_hour: jobs end after {context.timeout_second:,} s at the latest")
    for cell in context.trained:
        if "hub" in cell.model:
            notes.append(f"{cell.model['hub']} is downloaded on the node, which needs the hub within its reach")
    if context.options.serving == machine:
        notes.append(f"the endpoint runs on {machine}, the size that trains")
    return list(dict.fromkeys(notes))
