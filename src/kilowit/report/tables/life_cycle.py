"""A year of a summarizer as a table: each part of its working life, with its interval, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.plan.interval import Interval
from kilowit.plan.life_cycle import LifeCycle, LifePart
from kilowit.report.life_cycles import is_narrow
from kilowit.report.pricing import Pricing
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.bill import NO_ENERGY

_COLUMNS: Final = (
    Column("choice", "Choice"),
    Column("part", "Part"),
    Column("num", "Times", "count"),
    Column("time_second", "Time", "time"),
    Column("energy_total_kwh", "Energy", "energy_wh"),
    Column("share_of_energy_fraction", "Share", "fraction"),
    Column("co2e_kg", "CO2e", "mass"),
    Column("cost_usd_on_demand", "On demand", "money"),
)


def life_cycle_table(cycles: Sequence[LifeCycle], pricing: Pricing) -> Table:
    """Return the parts and the sum of every working life."""
    rows: list[tuple[Entry, ...]] = []
    sums = []
    no_carbon = "regions on different bases must not share a table: give --region" if pricing.mixes_bases else NO_ENERGY
    for cycle in cycles:
        rows += [_row(cycle, part, no_carbon, pricing) for part in cycle.parts]
        sums.append(len(rows))
        rows.append(_row(cycle, cycle.total, no_carbon, pricing))
    notes = (
        "Likely [low, high]: over runs, sensors and factors; ends of all parts together. CO2e with the embodied share "
        "where the machine is known; dollars are machine time. Idle: the endpoint is up and waits.",
        *dict.fromkeys(f"{cycle.label}: {_assumed(cycle)}" for cycle in cycles),
    )
    return Table(
        "life_cycle", "The working life", _COLUMNS, tuple(rows), notes if rows else (),
        emphasised_rows=frozenset(sums),
    )  # fmt: skip


def _row(cycle: LifeCycle, part: LifePart, no_carbon: str, pricing: Pricing) -> tuple[Entry, ...]:
    is_total = part.name == "total"
    share = (1.0 if cycle.total.energy_total_joule else None) if is_total else cycle.share(part.name)
    return (
        Entry(cycle.label),
        Entry("Total" if is_total else part.name),
        Entry.unknown("parts of different kinds") if part.num is None else _entry(part.num, ""),
        _entry(part.time_second, ""),
        _entry(part.energy_total_joule, NO_ENERGY),
        Entry(share, reason=NO_ENERGY),
        _entry(None if pricing.mixes_bases else part.co2e_kg, no_carbon),
        _entry(part.cost_usd, "machine or its price in the region unknown"),
    )


def _entry(interval: Interval | None, reason: str) -> Entry:
    if interval is None:
        return Entry.unknown(reason)
    if interval.low == interval.high:
        return Entry(interval.likely)
    return Entry(interval.likely, interval.low, interval.high, is_interval_hidden=is_narrow(interval))


def _assumed(cycle: LifeCycle) -> str:
    m, machines = cycle.maintenance, cycle.num_machines
    ends = f" ({machines.low:g} to {machines.high:g})" if machines.low < machines.high else ""
    days = {"retrained": m.retrain_every_day, "checked for drift": m.drift_check_every_day}
    upkeep = [f"never {what}" if every is None else f"{what} every {every:g} days" for what, every in days.items()]
    said = (
        f"{cycle.basis}; served by {cycle.served_by}; {m.summaries_per_day:,.10g} summaries a day for "
        f"{m.horizon_day:g} days; kept up {m.endpoint_hour_per_day:g} h a day on {machines.likely:g} "
        f"machine{'s' if machines.likely != 1 else ''}{ends}; {'; '.join(upkeep)}"
    )
    return ". ".join((said, *cycle.notes)) + "."
