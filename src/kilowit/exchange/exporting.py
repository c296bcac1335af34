"""Write the records of a store in formats of other tools.

``csv`` and ``parquet`` have a column that marks imported runs and hold them too. The other formats have none, so that
an imported run would pass for one of ours: it is left out there, which is said.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kilowit import factors
from kilowit.errors import PartError, StoreError, near_name_hint
from kilowit.exchange.write_boamps import boamps_files
from kilowit.exchange.write_card import card_files
from kilowit.exchange.write_codecarbon import codecarbon_files
from kilowit.exchange.write_tables import csv_files, parquet_files
from kilowit.record import Record
from kilowit.settings import FactorSettings
from kilowit.store.folder import store_errors

Writer = Callable[[Sequence[Record], FactorSettings], Mapping[str, bytes]]
WRITERS: Final[dict[str, Writer]] = {
    "codecarbon": codecarbon_files,
    "boamps": boamps_files,
    "model-card": card_files,
    "csv": csv_files,
    "parquet": parquet_files,
}
MARKS_IMPORTED: Final = frozenset({"csv", "parquet"})


@dataclass(frozen=True)
class ExportedRecords:
    """What an export left."""

    folder: Path
    files: tuple[Path, ...]
    num_runs: int
    num_left_out: int  # imported runs, in a format that cannot mark them


def export_records(
    records: Sequence[Record],
    out: str | Path,
    format: str,
    *,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
) -> ExportedRecords:
    """Write records into a folder that is there whole or not at all.

    Args:
        records: of one or more studies.
        out: a folder that is not there yet.
        format: one of `WRITERS`.
        region: prices every run there instead of where its study says.
        machine: prices every run on this VM instead of the one of its study.
        pue: overrides the region's.

    Raises:
        PartError: an unknown format, region or machine, or a package is missing.
        StoreError: no run to write, `out` is there already, or it cannot be written.
    """
    if format not in WRITERS:
        raise PartError(f'no format "{format}"', hint=near_name_hint(format, WRITERS))
    factors.carbon(region)
    if machine is not None and factors.machine(machine) is None:
        raise PartError(f'no machine "{machine}"', hint=near_name_hint(machine, factors.machines()))
    folder = Path(out).expanduser()
    if folder.exists():
        raise StoreError("is there already", place=str(folder), hint="Name a folder that is not there yet.")
    written = [r for r in records if format in MARKS_IMPORTED or r.imported is None]
    if not written:
        hint = "csv and parquet mark imported runs and hold them." if records else "Run a study first."
        raise StoreError(f"no run of kilowit to write as {format}", hint=hint)
    files = WRITERS[format](written, FactorSettings(region=region, machine=machine, pue=pue))
    _write(folder, files)
    paths = tuple(folder / name for name in files)
    return ExportedRecords(folder, paths, len(written), len(records) - len(written))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    with store_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, content in files.items():
                (workspace / name).write_bytes(content)
            workspace.chmod(0o755)  # mkdtemp keeps others out
            workspace.rename(folder)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
