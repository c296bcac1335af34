"""The report of a server, from its ledger and books: the same kinds of sections, tables and figures as that of runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import kilowit
from kilowit.endpoint.account import Sum
from kilowit.endpoint.books import IDLE
from kilowit.endpoint.folder import Served, ServingFolder
from kilowit.report.contents import MAX_ROWS, Contents, Figure, Section
from kilowit.report.figure_bill import MAX_BARS, Bar, bill_svg, stretches_in
from kilowit.report.figure_pareto import NARROW, WIDE
from kilowit.report.findings import DatasetAnswer
from kilowit.report.pricing import Pricing
from kilowit.report.quantity import measure, number
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.endpoint import (
    Priceable,
    bill_table,
    client_table,
    hour_table,
    model_table,
    phase_table,
    runtime_table,
)
from kilowit.report.tables.failures import factor_table
from kilowit.wording import counted

JOULE_PER_WH: Final = 3600
_CAPTION: Final = (
    "Energy by hour, the latest {shown} of {all}. Serve: batches that were asked for; set-up: loading models; "
    "other: batches that failed."
)


def serving_contents(
    folder: ServingFolder,
    *,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
    title: str | None = None,
    generated_at: datetime | None = None,
) -> Contents:
    """Compute the whole report of a server.

    Args:
        folder: ledger and books.
        region: prices all of it there instead of where the server was told that it runs.
        machine: prices all of it on this VM.
        pue: overrides the region's.
        title: None = the names of the models.
        generated_at: the date that the report shows; None = now.

    Raises:
        PartError: the region or machine asked for is unknown.
    """
    own = folder.sessions[-1].factors if folder.sessions else {}
    pricing = Pricing([], region=region, machine=machine, pue=pue, others=[own])
    of = Priceable(folder, pricing, pricing.place_of(own))
    signature = pricing.signature_at(of.place, folder.metered.signature)
    return Contents(
        title=title or f"Serving {', '.join(folder.models) or folder.path.name}",
        subtitle=_subtitle(folder, generated_at or datetime.now(UTC)),
        answers=(DatasetAnswer("serving", tuple(_sentences(of))),),
        sections=_sections(of, signature),
        signatures=(signature,),
    )


def _sections(of: Priceable, signature: str) -> tuple[Section, ...]:
    def cut(table: Table) -> tuple[Table, ...]:
        shown = MAX_ROWS if len(table.rows) > MAX_ROWS else None
        return (replace(table, shown_rows=shown, signatures=(signature,)),)

    sections = (
        Section("bill", "The bill", tables=cut(bill_table(of))),
        Section("hours", "By hour", figures=_figures(of.folder), tables=cut(hour_table(of))),
        Section("models", "By model", tables=cut(model_table(of))),
        Section("clients", "By client", tables=cut(client_table(of))),
        Section("runtimes", "What was served", tables=(runtime_table(of),)),
        Section("phases", "As the meter saw it", tables=cut(phase_table(of.folder))),
        Section("warnings", "Warnings", tables=(_warning_table(of.folder),)),
        Section("factors", "Factors used", tables=(factor_table(of.pricing),)),
    )
    return tuple(s for s in sections if s.figures or any(table.rows for table in s.tables))


def _sentences(of: Priceable) -> list[str]:
    """Say what serving took, what of it was idling, and how long people waited."""
    folder = of.folder
    asked = Served()
    for served in folder.requests.values():
        asked.add(served)
    amount, total_joule = asked.amount, folder.metered.total.energy_total_joule
    n = amount.num_documents
    if not n:
        return [f"No summary was asked for. {_idle_sentence(folder.idle, total_joule)}".strip()]
    said = []
    if total_joule is None:
        said.append(f"{counted(n, 'summary', 'summaries')}; no sensor read what they took.")
    else:
        each = amount.joule / n
        ends = f" ({measure(amount.joule_low / n, 'energy')} to {measure(amount.joule_high / n, 'energy')})"
        said.append(
            f"{counted(n, 'summary', 'summaries')} took {measure(amount.joule, 'energy_wh')}: "
            f"{measure(each, 'energy')}{ends} each, "
            f"{number(1000 * each / JOULE_PER_WH)} Wh for 1,000."
        )
        said.append(_idle_sentence(folder.idle, total_joule))
    carbon = of.price(Sum(second=folder.metered.total.wall_second, joule=total_joule or 0.0)).co2e_operational_kg
    if carbon is not None and total_joule is not None:
        said.append(f"All together {measure(total_joule, 'energy_wh')} and {measure(carbon, 'mass')} CO2e.")
    p50, p99 = asked.latency.quantile(0.5), asked.latency.quantile(0.99)
    if p50 is not None and p99 is not None:
        said.append(
            f"Half of the documents had their summary after {measure(p50, 'time')}, 99 % after {measure(p99, 'time')}."
        )
    if amount.num_refused:
        said.append(f"{counted(amount.num_refused, 'request')} refused or given up.")
    return said


def _idle_sentence(idle: Sum, total_joule: float | None) -> str:
    if not total_joule or idle.second <= 0:
        return ""
    return (
        f"Idling took {number(100 * idle.joule / total_joule, 2)} % of all energy, "
        f"{measure(idle.joule / idle.second, 'power')} over {measure(idle.second, 'time')}."
    )


def _figures(folder: ServingFolder) -> tuple[Figure, ...]:
    hours = sorted({account.hour_utc for account in folder.accounts})
    latest = hours[-MAX_BARS:]
    bars = [bar for hour in reversed(latest) if (bar := _bar(folder, hour)).total > 0]
    if not bars:
        return ()
    wide, narrow = (bill_svg(bars, canvas) for canvas in (WIDE, NARROW))
    caption = _CAPTION.format(shown=len(latest), all=len(hours))
    return (Figure("hours", caption, wide, narrow, legend=tuple(stretches_in(bars))),)


def _bar(folder: ServingFolder, hour: str) -> Bar:
    joules: dict[str, float] = {}
    for account, served in folder.accounts.items():
        if account.hour_utc == hour:
            is_asked = served.amount.num_documents
            name = "serve" if is_asked else "idle" if account.model == IDLE else "set-up"
            name = "other" if not is_asked and account.model.startswith("failed ") else name
            joules[name] = joules.get(name, 0.0) + served.amount.joule
    return Bar(hour.replace("T", " ") + ":00 UTC", joules)


def _warning_table(folder: ServingFolder) -> Table:
    texts = [*folder.metered.warnings]
    if not folder.metered.clean:
        texts.append("The ledger has no last line: the server was killed, or still runs.")
    if folder.num_unreadable_lines:
        texts.append(f"Left out as unreadable: {counted(folder.num_unreadable_lines, 'line')} of the books.")
    if len({tuple(session.factors.values()) for session in folder.sessions}) > 1:
        texts.append("The server was told of several regions, machines or PUEs; the last of them prices all.")
    return Table("warnings", "Warnings", (Column("warning", "Warning"),), tuple((Entry(text),) for text in texts))


def _subtitle(folder: ServingFolder, now: datetime) -> str:
    metered = folder.metered
    starts = f"{len(folder.sessions):,} start{'s' if len(folder.sessions) != 1 else ''}"
    return (
        f"{starts}, {metered.started_at_utc} to {metered.ended_at_utc}, {measure(metered.total.wall_second, 'time')} "
        f"metered. Written {now:%Y-%m-%d} by kilowit {kilowit.__version__}."
    )
