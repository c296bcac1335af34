"""A study made portable: what it names on this machine is copied beside it, and it names the copies.

The cells keep their keys, for a key holds what a file says rather than where it lies: runs of a node and of this
machine are runs of the same cells.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from kilowit import factors
from kilowit.azureml.options import AzureOptions
from kilowit.errors import StudyError
from kilowit.store.folder import store_errors
from kilowit.study import Study
from kilowit.study_yaml import DocumentPath, override, parse_document, path_name, read_text

DATA: Final = "data"  # folder of the copies, beside the study on a node
STUDY_FILE: Final = "study.yaml"


@dataclass(frozen=True)
class Portable:
    """A study that can be read elsewhere.

    Attributes:
        document: its plain values, local paths below ``./data``.
        copies: file or folder on this machine by its path below the data folder.
    """

    document: dict[str, Any]
    copies: dict[str, Path]


def make_portable(path: Path, study: Study, overrides: list[str], options: AzureOptions) -> Portable:
    """Return a study whose local files stand beside it, with the machine and region that it will be billed on.

    Raises:
        StudyError: a local program, as a judge's, that a node would not have.
    """
    document = parse_document(read_text(path), str(path))
    for assignment in overrides:
        override(document, assignment)
    local = set(_local_texts(study))
    copies: dict[str, Path] = {}
    for place, text in list(_strings(document.value)):
        absolute = (path.parent / Path(text).expanduser()).resolve()
        if str(absolute) not in local:
            continue
        if absolute.is_file() and absolute.stat().st_mode & 0o111:
            raise StudyError(
                f'"{text}" is a program of this machine',
                place=f"{path}  {path_name(place)}",
                hint="Leave that metric out for the jobs, and score their predictions here afterwards.",
            )
        name = next((known for known, source in copies.items() if source == absolute), None)
        name = name or f"{len(copies)}/{absolute.name}"
        copies[name] = absolute
        _replace(document.value, place, f"./{DATA}/{name}")
    billed = document.value.setdefault("factors", {})
    billed["machine"] = priced(options.machine_of(study))
    if region := options.region_of(study):
        billed["region"] = f"azure/{region}"
    return Portable(document.value, copies)


def priced(machine: str) -> str | None:
    """Return a VM size if the tables of factors know what it costs and emits, else None: a study names no other."""
    known = factors.machine(machine)
    return None if known is None else known.name


def write_portable(found: Portable, study_folder: Path, data_folder: Path) -> None:
    """Write the study, and copy its data where it has any.

    Raises:
        StoreError: a folder cannot be written.
    """
    with store_errors(study_folder):
        study_folder.mkdir(parents=True)
        text = yaml.safe_dump(found.document, sort_keys=False, allow_unicode=True, width=120)
        (study_folder / STUDY_FILE).write_text(text, encoding="utf-8")
        for name, source in found.copies.items():
            target = data_folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)


def check_portable(found: Portable, study: Study, folder: Path) -> None:
    """Read the study as a node will, and hold its cells against those that it was made from.

    Args:
        folder: in which the data folder lies.

    Raises:
        StudyError: it does not read, or asks for other cells.
    """
    text = yaml.safe_dump(found.document, sort_keys=False, allow_unicode=True, width=120)
    there = Study.parse(text, STUDY_FILE, folder=folder)
    if [cell.key for cell in there.cells] != [cell.key for cell in study.cells]:
        raise StudyError(
            "the study asks for other cells where its files lie elsewhere",
            place=study.place,
            hint="Name local files and folders by paths that begin with ./",
        )


def _local_texts(study: Study) -> Iterator[str]:
    """Yield the absolute paths that the cells name: reading a study has made every local path so."""
    for cell in study.cells:
        methods = [dict(call.options) for call in cell.methods]
        for _, text in _strings([cell.model, cell.dataset, methods, list(cell.metrics)]):
            if text.startswith("/") and Path(text).exists():
                yield str(Path(text).resolve())


def _strings(value: Any, at: DocumentPath = ()) -> Iterator[tuple[DocumentPath, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, (*at, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _strings(item, (*at, i))


def _replace(value: Any, at: DocumentPath, text: str) -> None:
    for step in at[:-1]:
        value = value[step]
    value[at[-1]] = text
