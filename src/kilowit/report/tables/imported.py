"""Runs that other tools measured: apart from ours, with what their files contradict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from kilowit.record import PhaseFigures, Record
from kilowit.report.pricing import Pricing
from kilowit.report.runs import Run, known_energy
from kilowit.report.table import Column, Entry, Table

_COLUMNS: Final = (
    Column("run_id", "Run"),
    Column("format", "Imported from"),
    Column("file", "File"),
    Column("place", "Part of it"),
    Column("started_at_utc", "Start"),
    Column("wall_second", "Time", "time"),
    Column("energy_gpu_kwh", "GPU energy", "energy_wh"),
    Column("energy_total_kwh", "Energy", "energy_wh"),
    Column("co2e_stated_kg", "CO2e, as stated", "mass"),
    Column("co2e_operational_kg", "CO2e, our factors", "mass"),
    Column("num_contradictions", "Contradictions", "count"),
)
_NO_TIME: Final = "no time is written down: see what the files state"
_NOT_THERE: Final = "not in the file"
_NO_TOTAL: Final = "no total energy is known"
_NOTES: Final = (
    "None of these runs was measured by kilowit: they stand in no other table, figure or answer.",
    "CO2e as stated is by the tool's own factors; ours prices the energy as the rest of the report is priced.",
)


def imported_table(records: Sequence[Record], pricing: Pricing) -> Table:
    """Return one row per imported run."""
    rows = tuple(_row(record, pricing) for record in records)
    return Table("imported_runs", "Imported runs", _COLUMNS, rows, _NOTES if rows else ())


def _row(record: Record, pricing: Pricing) -> tuple[Entry, ...]:
    facts = record.imported
    assert facts is not None
    phases = record.phases
    gpu = [joule for phase in phases if (joule := phase.energy_gpu_joule) is not None]
    reason = _NOT_THERE if phases else _NO_TIME
    priced = pricing.price_runs([Run(record)], "total") if known_energy(phases) is not None else None
    return (
        Entry(record.run_id),
        Entry(f"{facts.format} {facts.tool_version}" if facts.tool_version else facts.format),
        Entry(facts.file),
        Entry(facts.place),
        Entry(record.started_at_utc or None, reason=_NOT_THERE),
        Entry(math.fsum(phase.wall_second for phase in phases) if phases else None, reason=_NO_TIME),
        Entry(math.fsum(gpu) if gpu else None, reason=reason),
        _energy(phases, reason),
        Entry(facts.stated.get("co2e_kg"), reason=_NOT_THERE),
        Entry(priced.co2e_operational_kg if priced else None, reason=priced.reason_co2e if priced else _NO_TOTAL),
        Entry(len(facts.contradictions)),
    )


def _energy(phases: Sequence[PhaseFigures], reason: str) -> Entry:
    """The sum of what is known, with its interval where a phase has one."""
    joule, low, high = (known_energy(phases, end) for end in ("", "_low", "_high"))
    return Entry(joule, reason=reason) if low == high else Entry(joule, low, high, reason=reason)


def contradiction_table(records: Sequence[Record], max_rows: int) -> Table:
    """Return what cannot be as the files have it, with the number of imported runs that it concerns."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for one in record.imported.contradictions if record.imported else ():
            found.setdefault((one.kind, one.message), []).append(record.run_id)
    ordered = sorted(found.items(), key=lambda item: item[0][0] == "noted")
    rows = tuple((Entry(kind), Entry(message), Entry(", ".join(runs))) for (kind, message), runs in ordered)
    columns = (Column("kind", "Kind"), Column("message", "What the file contradicts"), Column("run_id", "Run"))
    shown = max_rows if len(rows) > max_rows else None
    notes = ("noted: a remark that the file itself carries; all others are worked out.",) if rows else ()
    return Table("contradictions", "Contradictions of imported runs", columns, rows, notes, shown_rows=shown)


def stated_table(records: Sequence[Record], max_rows: int) -> Table:
    """Return what the files state and no table of ours has a column for."""
    rows = tuple(
        (Entry(record.run_id), Entry(name), Entry(value))
        for record in records
        if record.imported is not None
        for name, value in record.imported.stated.items()
    )
    columns = (Column("run_id", "Run"), Column("figure", "Figure"), Column("value", "Value", "plain", digits=6))
    shown = max_rows if len(rows) > max_rows else None
    return Table("imported_stated", "What the files state besides", columns, rows, shown_rows=shown)
