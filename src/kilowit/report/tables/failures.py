"""What did not fit or failed, with its bill; what was warned of; which factors priced the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.report.pricing import Pricing
from kilowit.report.runs import Choice, Run
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.bill import NO_ENERGY

KIND_WORDS: Final[dict[str, str]] = {
    "out_of_memory_gpu": "does not fit in GPU memory",
    "out_of_memory_host": "does not fit in RAM",
    "timeout": "took longer than allowed",
    "divergence": "loss became NaN or infinite",
    "disk_full": "disk full",
    "method_not_applied": "method had no effect",
    "data": "data unusable",
    "interrupted": "interrupted by its user",
    "killed": "killed by a signal",
    "preempted": "machine taken away",
    "lost": "worker lost",
    "download_failed": "download failed",
    "error": "error",
}
COLUMNS: Final = (
    Column("choice", "Choice"),
    Column("seed", "Seed", "count"),
    Column("attempt", "Attempt", "count"),
    Column("error_kind", "What happened"),
    Column("error_phase", "In phase"),
    Column("error_message", "Message"),
    Column("wall_second", "Time", "time"),
    Column("energy_total_kwh", "Energy", "energy_wh"),
    Column("co2e_operational_kg", "CO2e", "mass"),
    Column("cost_usd_on_demand", "On demand", "money"),
    Column("run_id", "Run"),
)


def failure_table(choices: Sequence[Choice], pricing: Pricing, max_rows: int) -> Table:
    """Return every run without a result, with what it took."""
    failed = [(choice, run) for choice in choices for run in choice.runs if not run.is_finished]
    rows = tuple(_row(choice, run, pricing) for choice, run in failed)
    notes = ("What these runs took is on the bill.",) if rows else ()
    shown = max_rows if len(rows) > max_rows else None
    return Table("failures", "What did not fit or failed", COLUMNS, rows, notes, shown_rows=shown)


def _row(choice: Choice, run: Run, pricing: Pricing) -> tuple[Entry, ...]:
    record, priced = run.record, pricing.price([(pricing.place(run.record), run.billed)])
    kind = record.error_kind or record.status
    return (
        Entry(choice.label),
        Entry(run.seed),
        Entry(record.attempt),
        Entry(f"{KIND_WORDS.get(kind, kind)} ({kind})" if kind in KIND_WORDS else kind),
        Entry(record.error_phase, reason="before or between phases"),
        Entry(record.error_message, reason="no message was left"),
        Entry(run.billed.wall_second),
        Entry(run.billed.energy_total_joule, reason=NO_ENERGY),
        Entry(priced.co2e_operational_kg, reason=priced.reason_co2e),
        Entry(priced.cost_usd_on_demand, reason=priced.reason_cost),
        Entry(record.run_id),
    )


def warning_table(choices: Sequence[Choice], max_rows: int) -> Table:
    """Return the distinct warnings of all runs with the number of runs that gave them."""
    counts: dict[str, int] = {}
    for choice in choices:
        for run in choice.runs:
            for warning in dict.fromkeys(run.record.warnings):
                counts[warning] = counts.get(warning, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rows = tuple((Entry(text), Entry(num)) for text, num in ordered)
    columns = (Column("warning", "Warning"), Column("num_runs", "Runs", "count"))
    return Table("warnings", "Warnings", columns, rows, shown_rows=max_rows if len(rows) > max_rows else None)


_FACTOR_COLUMNS: Final = (
    Column("factor", "Factor"),
    Column("value", "Value", "plain"),
    Column("interval", "Low to high"),
    Column("unit", "Unit"),
    Column("basis", "Basis"),
    Column("year", "Year"),
    Column("region", "Region"),
    Column("source", "Source"),
    Column("licence", "Licence"),
)


def factor_table(pricing: Pricing) -> Table:
    """Return the factors that turned joules and seconds into CO2e and dollars."""
    rows = tuple(
        (
            Entry(factor.id),
            Entry(factor.value),
            Entry(f"{factor.low:,.4g} to {factor.high:,.4g}"),
            Entry(factor.unit),
            *(Entry(getattr(factor, name) or None, reason="not stated") for name in _TEXTS),
        )
        for factor in pricing.factors_used
    )
    notes = (
        "CO2e = energy × PUE × grid factor, location-based. Direct and lifecycle factors never share a table.",
        *dict.fromkeys(factor.note for factor in pricing.factors_used if factor.note),
        *pricing.notes,
    )
    return Table("factors", "Factors used", _FACTOR_COLUMNS, rows, notes)


_TEXTS: Final = ("basis", "year", "region", "source", "licence")
