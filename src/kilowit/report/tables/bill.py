"""The bill: what the whole study took by phase, failed and repeated runs included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from kilowit.record import PHASES, PhaseFigures
from kilowit.report.pricing import Place, Priced, Pricing
from kilowit.report.runs import Choice, Run, is_partial, known_energy
from kilowit.report.table import Column, Entry, Table

COLUMNS: Final = (
    Column("phase", "Phase"),
    Column("num_runs", "Runs", "count"),
    Column("wall_second", "Time", "time"),
    Column("energy_total_joule", "Energy", "energy"),
    Column("energy_total_kwh", "Energy", "energy_wh"),
    Column("share_of_energy_fraction", "Share", "fraction"),
    Column("co2e_operational_kg", "CO2e", "mass"),
    Column("co2e_operational_lb", "CO2e", "mass_lb"),
    Column("co2e_embodied_kg", "Embodied CO2e", "mass"),
    Column("cost_usd_on_demand", "On demand", "money"),
    Column("cost_usd_spot", "Spot", "money"),
)
NO_ENERGY: Final = "no sensor read its energy"


def phase_order(names: Iterable[str]) -> list[str]:
    """Sort phases as a life runs; phases of other makers after ours, the gap last."""
    known = {name: i for i, name in enumerate(PHASES)}
    return sorted(names, key=lambda n: (known.get(n, len(PHASES) - 1.5), n))


def bill_table(choices: Sequence[Choice], pricing: Pricing, trials: Sequence[Run] = ()) -> Table:
    """Return the bill by phase, its total, and which part of it brought no result.

    Args:
        choices: the choices with all their runs.
        pricing: where they are priced.
        trials: runs of searches that are no choices of their own.
    """
    runs = [*(run for choice in choices for run in choice.runs), *trials]
    by_phase: dict[str, list[tuple[Place, PhaseFigures]]] = {}
    for run in runs:
        place = pricing.place(run.record)
        for row in run.record.phases:
            by_phase.setdefault(row.phase, []).append((place, row))
    everything = [item for rows in by_phase.values() for item in rows]
    total = known_energy([row for _, row in everything])
    rows = [_row(name, len(by_phase[name]), by_phase[name], total, pricing) for name in phase_order(by_phase)]
    rows.append(_row("Total", len(runs), everything, total, pricing))
    emphasised = frozenset({len(rows) - 1})
    rows += [
        _row(f"of which {name}", len(part), _rows_of(part, pricing), total, pricing)
        for name, part in {**_parts(choices), "trials of searches": list(trials)}.items()
        if part
    ]
    notes = (
        "Every run that was started is on the bill: finished, failed, interrupted and repeated. "
        "Phases are exclusive and add up to the total; gap is time that no phase claimed.",
        "Dollars are whole-machine wall time times its price, idle devices included.",
        *(("≥: some runs of this phase could not read it; the sum is a lower bound.",) if _any_partial(rows) else ()),
    )
    return Table("bill", "The bill by phase", COLUMNS, tuple(rows), notes, emphasised_rows=emphasised)


def _parts(choices: Sequence[Choice]) -> dict[str, list[Run]]:
    """Split the runs by what they brought."""
    all_runs = [run for choice in choices for run in choice.runs]
    return {
        "runs with a result": [run for choice in choices for run in choice.finished],
        "failed runs": [run for run in all_runs if run.record.status == "failed"],
        "interrupted runs": [run for run in all_runs if run.record.status == "interrupted"],
        "repeated runs": [run for choice in choices for run in choice.superseded],
    }


def _rows_of(runs: Sequence[Run], pricing: Pricing) -> list[tuple[Place, PhaseFigures]]:
    return [(pricing.place(run.record), row) for run in runs for row in run.record.phases]


def _row(
    name: str, num_runs: int, rows: Sequence[tuple[Place, PhaseFigures]], total: float | None, pricing: Pricing
) -> tuple[Entry, ...]:
    figures = [row for _, row in rows]
    energy = known_energy(figures)
    at_least = is_partial(figures, "energy_total_joule")
    joules = Entry(energy, reason=NO_ENERGY, is_at_least=at_least)
    share = energy / total if energy is not None and total else None
    return (
        Entry(name),
        Entry(num_runs),
        Entry(math.fsum(row.wall_second for row in figures)),
        joules,
        joules,
        Entry(share, reason=NO_ENERGY),
        *money_and_carbon(pricing.price(rows), at_least=at_least),
    )


def money_and_carbon(priced: Priced, *, at_least: bool = False) -> tuple[Entry, ...]:
    """Return the entries CO2e in kg and in lb, embodied CO2e, dollars on demand and spot."""
    carbon = Entry(priced.co2e_operational_kg, reason=priced.reason_co2e, is_at_least=at_least)
    return (
        carbon,
        carbon,
        Entry(priced.co2e_embodied_kg, reason=priced.reason_embodied),
        Entry(priced.cost_usd_on_demand, reason=priced.reason_cost),
        Entry(priced.cost_usd_spot, reason=priced.reason_spot),
    )


def _any_partial(rows: Sequence[Sequence[Entry]]) -> bool:
    return any(entry.is_at_least for row in rows for entry in row)
