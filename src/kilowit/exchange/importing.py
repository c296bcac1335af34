"""Read files of other tools and leave each run as a run folder of a store, whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kilowit import factors
from kilowit.errors import DataError, PartError, StoreError, near_name_hint
from kilowit.exchange import checks
from kilowit.exchange.foreign import ForeignRun, Reading, to_record
from kilowit.exchange.read_azure_monitor import is_azure_monitor, read_azure_monitor
from kilowit.exchange.read_codecarbon import is_codecarbon, read_codecarbon
from kilowit.exchange.read_hugging_face import is_hugging_face, read_hugging_face
from kilowit.exchange.read_impact_tracker import is_impact_tracker, read_impact_tracker
from kilowit.exchange.read_mlflow import is_mlflow, read_mlflow
from kilowit.exchange.read_published import is_published, read_published
from kilowit.record import Record
from kilowit.store import RunFolder, Store
from kilowit.store.folder import store_errors

_HEAD_BYTE: Final = 4096


@dataclass(frozen=True)
class _Format:
    """One format: how it is known, and how it is read."""

    recognize: Callable[[Path, str], bool]
    read: Callable[[Path, str | None], Reading]


FORMATS: Final[dict[str, _Format]] = {
    "codecarbon": _Format(is_codecarbon, read_codecarbon),
    "published": _Format(is_published, read_published),
    "impact_tracker": _Format(is_impact_tracker, read_impact_tracker),
    "azure_monitor": _Format(is_azure_monitor, read_azure_monitor),
    "mlflow": _Format(is_mlflow, read_mlflow),
    "hugging_face": _Format(is_hugging_face, read_hugging_face),
}


@dataclass(frozen=True)
class Imported:
    """One run that was imported."""

    record: Record
    is_new: bool  # False: the store had it


@dataclass(frozen=True)
class ImportOutcome:
    """What an import brought, and what it could not make a run of."""

    runs: tuple[Imported, ...]
    remarks: tuple[str, ...]


def import_runs(
    files: Sequence[str | Path],
    store: str | Path | Store,
    *,
    format: str | None = None,
    region: str | None = None,
    machine: str | None = None,
) -> ImportOutcome:
    """Import the runs of files. All files are read before the first run is written; a second import changes nothing.

    Args:
        files: of one or several formats.
        store: folder of runs, made if it is not there.
        format: one of `FORMATS`; None = seen from each file.
        region: where they ran; prices them, and judges the grid intensity that they used. None = unknown.
        machine: the VM that was billed; None = unknown.

    Raises:
        DataError: a file cannot be read, or is of no known format.
        PartError: an unknown format, region or machine.
        StoreError: the store cannot be written, or has the run with another region or machine.
    """
    factors.carbon(region)
    if machine is not None and factors.machine(machine) is None:
        raise PartError(f'no machine "{machine}"', hint=near_name_hint(machine, factors.machines()))
    if format is not None and format not in FORMATS:
        raise PartError(f'no format "{format}"', hint=near_name_hint(format, FORMATS))
    paths = [Path(file).expanduser() for file in files]
    read = [(path, name := format or _format_of(path), FORMATS[name].read(path, region)) for path in paths]
    records = [
        to_record(run, format=name, path=path, region=region, machine=machine)
        for path, name, reading in _judged_together(read)
        for run in reading.runs
    ]
    target = store if isinstance(store, Store) else Store(store)
    runs = tuple(Imported(record, _write(record, target)) for record in records)
    return ImportOutcome(runs, tuple(f"{path.name}: {text}" for path, _, reading in read for text in reading.remarks))


def _format_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTE).decode("utf-8", "replace").lstrip("\ufeff")
    except OSError as error:
        raise DataError(f"cannot be read ({error})", place=str(path), hint="Name a file that is there.") from error
    for name, format in FORMATS.items():
        if format.recognize(path, head):
            return name
    raise DataError("of no format that is known", place=str(path), hint=f"Name it with --format: {', '.join(FORMATS)}.")


def _judged_together(read: list[tuple[Path, str, Reading]]) -> list[tuple[Path, str, Reading]]:
    """Compare energies with the training that they lie beside: an emissions.csv in an output folder may be old."""
    trainings = {path.resolve().parent: reading for path, name, reading in read if name == "hugging_face"}
    judged = []
    for path, name, reading in read:
        beside = trainings.get(path.resolve().parent)
        if name == "codecarbon" and beside is not None:
            reading = dataclasses.replace(reading, runs=tuple(_beside(run, beside) for run in reading.runs))
        judged.append((path, name, reading))
    return judged


def _beside(run: ForeignRun, training: Reading) -> ForeignRun:
    train = next((p for r in training.runs for p in r.phases if p.phase == "train"), None)
    if train is None:
        return run
    second = sum(phase.wall_second for phase in run.phases)
    return run.with_contradictions(
        checks.same_stretch("this energy", second, train.wall_second, "the training in the same folder")
    )


def _write(record: Record, store: Store) -> bool:
    """Leave a record as a run folder that stands whole under its name; return whether it is new."""
    target = RunFolder(store.path / record.run_id)
    there = target.record
    if there is not None and there != record:
        hint = "Remove its folder to import it anew; to price it elsewhere, kilowit report --region."
        raise StoreError("was imported before, in another way", place=str(target.path), hint=hint)
    if there is not None:
        return False
    with store_errors(store.path):
        store.path.mkdir(parents=True, exist_ok=True)
        workspace = store.path / f".import-{record.run_id}-{os.getpid()}"
        folder = RunFolder(workspace / record.run_id)
        folder.path.mkdir(parents=True)
        try:
            folder.write_cell(record.cell, cell_key=record.cell_key, attempt=record.attempt)
            folder.write_environment(record.environment)
            folder.write_record(record)
            folder.path.rename(target.path)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
    return True
