"""A run as another tool left it, and how it becomes a record: what is known, nothing for what is not."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kilowit.errors import DataError
from kilowit.imported import Contradiction, ImportFacts
from kilowit.record import ModelFacts, PhaseFigures, Record, Score, Status

NOT_IN_FILE: Final = "none:not_in_file"
JOULE_PER_KWH: Final = 3_600_000.0
SECOND_PER_HOUR: Final = 3600.0
MAX_BYTE: Final = 512 * 1024 * 1024  # of a file that is read whole


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """One run that another tool measured.

    Times are ISO 8601 as the file has them: with a Z where it says UTC, without where it does not say the zone.
    """

    place: str
    name: str  # readable, for the run id
    started_at: str | None = None
    ended_at: str | None = None
    started_at_source: str = NOT_IN_FILE
    phases: tuple[PhaseFigures, ...] = ()
    scores: tuple[Score, ...] = ()
    model: ModelFacts | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    tool_version: str | None = None
    stated: dict[str, float] = field(default_factory=dict)
    contradictions: tuple[Contradiction, ...] = ()
    status: Status = "finished"
    error_message: str | None = None

    def with_contradictions(self, *found: Contradiction | None) -> ForeignRun:
        """Return the run with further contradictions; None is none."""
        return replace(self, contradictions=(*self.contradictions, *(c for c in found if c is not None)))


@dataclass(frozen=True)
class Reading:
    """What one file held: its runs, and remarks on what could not become one."""

    runs: tuple[ForeignRun, ...]
    remarks: tuple[str, ...] = ()


def to_record(run: ForeignRun, *, format: str, path: Path, region: str | None, machine: str | None) -> Record:
    """Make the record of a foreign run. Its id follows from the file's content alone: a second import changes nothing.

    Args:
        run: what was read.
        format: name of the format.
        path: the file.
        region: where it ran, by its owner's word; None = unknown.
        machine: the VM that was billed, likewise.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{format}\0{digest}\0{run.place}".encode()).hexdigest()
    label = re.sub(r"[^A-Za-z0-9.+-]+", "-", f"{format}-{run.name}").strip("-")[:80]
    facts = ImportFacts(
        format=format,
        file=path.name,
        sha256=digest,
        place=run.place,
        tool_version=run.tool_version,
        started_at_source=run.started_at_source if run.started_at else NOT_IN_FILE,
        stated=run.stated,
        contradictions=list(run.contradictions),
    )
    return Record(
        run_id=f"{_stamp(run.started_at)}_imported-{label}_{key[:4]}",
        cell_key=key,
        study_name=f"imported-{format}",
        attempt=1,
        status=run.status,
        started_at_utc=run.started_at or "",
        ended_at_utc=run.ended_at or "",
        cell={"factors": {"region": region, "machine": machine}},
        environment=run.environment,
        error_kind=None if run.status == "finished" else "error",
        error_message=run.error_message,
        model=run.model,
        phases=list(run.phases),
        scores=list(run.scores),
        warnings=[str(c) for c in run.contradictions],
        measurement_signature=f"energy|imported:{format}|version:{run.tool_version or 'unknown'}",
        imported=facts,
    )


def _stamp(started_at: str | None) -> str:
    """Return what a run id begins with; zeros where the file does not say."""
    digits = re.sub(r"\D", "", (started_at or "").partition(".")[0].partition("+")[0])[:14].ljust(14, "0")
    return f"{digits[:8]}T{digits[8:]}Z"


def energies(source: str, **joules: float | None) -> dict[str, Any]:
    """Return the energy fields of a phase: those given with their source, the others unknown, not in the file.

    Args:
        source: which tool's figures.
        joules: by device: gpu, cpu, dram, total.
    """
    fields: dict[str, Any] = {}
    for device in ("gpu", "cpu", "dram", "other", "total"):
        value = joules.get(device)
        fields[f"energy_{device}_joule"] = value
        fields[f"energy_{device}_source"] = NOT_IN_FILE if value is None else source
    return fields


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read a csv file with a header.

    Raises:
        DataError: it cannot be read, lacks a column, or holds no row.
    """
    rows = list(csv.DictReader(read_text(path).splitlines()))
    missing = [name for name in required if not rows or name not in rows[0]]
    if missing:
        what = f"lacks the column {missing[0]}" if rows else "has a header and no row"
        raise DataError(f"{what}", place=str(path), hint="Name the --format if it was guessed wrongly.")
    return rows


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        DataError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"not JSON ({error})", place=str(path), hint="Export it again, whole.") from error


def read_text(path: Path) -> str:
    """Read a text file of bounded size.

    Raises:
        DataError: it cannot be read, is no text, or is too large.
    """
    try:
        if path.stat().st_size > MAX_BYTE:
            raise DataError(f"larger than {MAX_BYTE:,} bytes", place=str(path), hint="Export fewer runs at once.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", place=str(path), hint="Name a file that is there.") from error


def number(value: Any, *, name: str, place: str) -> float | None:
    """Return a cell as a finite number, None where it is empty or NaN.

    Raises:
        DataError: it is neither.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "nan", "none", "null")):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no number: {value!r:.60}", place=place, hint="Mend or remove the row.") from error
    return found if abs(found) < float("inf") else None


def times(value: float | None, factor: float) -> float | None:
    """Convert a value that may be unknown."""
    return None if value is None else value * factor
