"""The bill of a server: by what took it, by hour, by model, by client; how it was metered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.endpoint.account import Account, Sum
from kilowit.endpoint.books import IDLE
from kilowit.endpoint.folder import Served, ServingFolder
from kilowit.record import PhaseFigures
from kilowit.report.pricing import Place, Priced, Pricing
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.bill import NO_ENERGY

PER: Final = 1000  # summaries that CO2e and dollars are of
NOT_BOOKED: Final = "not booked"
NO_CLIENT: Final = "(no tag)"
NO_SUMMARY: Final = "no summary was written"
NO_WAIT: Final = "the books of that time kept no waits"
_LATENCY: Final = (
    Column("latency_p50_second", "Latency, p50", "time"),
    Column("latency_p95_second", "p95", "time"),
    Column("latency_p99_second", "p99", "time"),
)
_COUNTS: Final = (
    Column("num_documents", "Summaries", "count"),
    Column("num_refused", "Refused", "count"),
    Column("num_input_tokens", "Tokens read", "count"),
    Column("num_output_tokens", "Tokens written", "count"),
)


@dataclass(frozen=True)
class Priceable:
    """A serving folder and where it is priced."""

    folder: ServingFolder
    pricing: Pricing
    place: Place

    def price(self, amount: Sum) -> Priced:
        """Price what an account used."""
        return self.pricing.price([(self.place, self.figures(amount))])

    def figures(self, amount: Sum) -> PhaseFigures:
        """Return what an account used as the row of a phase; joules that no sensor read are None."""
        is_read = self.folder.metered.total.energy_total_joule is not None
        return PhaseFigures(
            phase="serve",
            wall_second=amount.second,
            energy_total_joule=amount.joule if is_read else None,
            energy_total_joule_low=amount.joule_low if is_read else None,
            energy_total_joule_high=amount.joule_high if is_read else None,
            energy_total_source=self.folder.metered.total.energy_total_source,
        )


def bill_rows(folder: ServingFolder) -> dict[str, Sum]:
    """Return everything that the meter saw by what took it: requests by model, idling, loading, what is not booked."""
    rows: dict[str, Sum] = {}
    for account, served in folder.accounts.items():
        name = f"requests: {account.model}" if served.amount.num_documents else account.model
        if served.amount.second or served.amount.joule:
            rows.setdefault(name, Sum()).add(served.amount)
    ordered = dict(sorted(rows.items(), key=lambda row: (not row[0].startswith("requests"), row[0] == IDLE, row[0])))
    return {**ordered, NOT_BOOKED: folder.unbooked}


def bill_table(of: Priceable) -> Table:
    """Return the bill by what took it; its rows add up to what the meter saw."""
    total = of.folder.metered.total
    whole = Sum(
        second=total.wall_second,
        joule=total.energy_total_joule or 0.0,
        joule_low=total.energy_total_joule_low or 0.0,
        joule_high=total.energy_total_joule_high or 0.0,
    )
    rows = [_bill_row(of, name, amount, whole.joule) for name, amount in bill_rows(of.folder).items()]
    rows.append(_bill_row(of, "Total, as metered", whole, whole.joule))
    columns = (
        Column("what", "What"),
        Column("second", "Time", "time"),
        Column("energy_joule", "Energy", "energy"),
        Column("energy_kwh", "Energy", "energy_wh"),
        Column("share_of_energy_fraction", "Share", "fraction"),
        Column("co2e_operational_kg", "CO2e", "mass"),
        Column("co2e_embodied_kg", "Embodied CO2e", "mass"),
        Column("cost_usd_on_demand", "On demand", "money"),
    )
    notes = (
        "The rows add up to the total, which is the meter's. Idle: nobody asked, or the moments between two batches. "
        "Not booked: the batch that ran when the server was killed, or runs just now; 0 where it ended well.",
        "A document's share of its batch is its share of the tokens computed.",
    )
    return Table("bill", "The bill", columns, tuple(rows), notes, emphasised_rows=frozenset({len(rows) - 1}))


def _bill_row(of: Priceable, name: str, amount: Sum, total_joule: float) -> tuple[Entry, ...]:
    priced, joule = of.price(amount), of.figures(amount).energy_total_joule
    has_interval = name != NOT_BOOKED and joule is not None
    low, high = (amount.joule_low, amount.joule_high) if has_interval else (None, None)
    return (
        Entry(name),
        Entry(amount.second),
        Entry(joule, low, high, reason=NO_ENERGY),
        Entry(joule, low, high, reason=NO_ENERGY, is_interval_hidden=True),
        Entry(None if joule is None or not total_joule else joule / total_joule, reason=NO_ENERGY),
        Entry(priced.co2e_operational_kg, reason=priced.reason_co2e),
        Entry(priced.co2e_embodied_kg, reason=priced.reason_embodied),
        Entry(priced.cost_usd_on_demand, reason=priced.reason_cost),
    )


def hour_table(of: Priceable) -> Table:
    """Return what each hour took, the latest first."""
    asked = _by(of.folder.requests, lambda account: account.hour_utc)
    whole = of.folder.sums(lambda account: account.hour_utc)
    idle = _by({a: s for a, s in of.folder.accounts.items() if a.model == IDLE}, lambda account: account.hour_utc)
    columns = (
        Column("hour_utc", "Hour, UTC"),
        *_COUNTS,
        Column("energy_requests_joule", "Requests", "energy"),
        Column("energy_idle_joule", "Idle", "energy"),
        Column("energy_joule", "All", "energy"),
        Column("co2e_operational_kg", "CO2e of all", "mass"),
        Column("cost_usd_on_demand", "On demand", "money"),
        *_LATENCY,
    )
    rows = []
    for hour in sorted(whole, reverse=True):
        served, priced = asked.get(hour, Served()), of.price(whole[hour].amount)
        parts = (served.amount, idle.get(hour, Served()).amount, whole[hour].amount)
        rows.append(
            (
                Entry(hour.replace("T", " ") + ":00"),
                *_counted(served.amount),
                *(Entry(of.figures(part).energy_total_joule, reason=NO_ENERGY) for part in parts),
                Entry(priced.co2e_operational_kg, reason=priced.reason_co2e),
                Entry(priced.cost_usd_on_demand, reason=priced.reason_cost),
                *_latency(served),
            )
        )
    return Table("hours", "By hour", columns, tuple(rows), ("All: requests, idling, loading and what failed.",))


def model_table(of: Priceable) -> Table:
    """Return what the requests to each model took."""
    return _who_table(of, "models", "By model", "Model", lambda account: account.model)


def client_table(of: Priceable) -> Table:
    """Return what the requests of each client took."""
    return _who_table(of, "clients", "By client", "Client", lambda account: account.client or NO_CLIENT)


def _who_table(of: Priceable, name: str, title: str, label: str, key: Callable[[Account], str]) -> Table:
    found = _by(of.folder.requests, key)
    all_joule = sum(served.amount.joule for served in found.values())
    metered_joule = of.folder.metered.total.energy_total_joule
    columns = (
        Column(label.lower(), label),
        *_COUNTS,
        Column("energy_joule", "Energy", "energy"),
        Column("share_of_energy_fraction", "Share", "fraction"),
        Column("energy_with_rest_joule", "With the rest", "energy"),
        Column("energy_per_summary_joule", "A summary", "energy"),
        Column("energy_per_1000_kwh", "1,000 summaries", "energy_wh"),
        Column("co2e_operational_kg_per_1000", "CO2e of 1,000", "mass"),
        Column("cost_usd_on_demand_per_1000", "1,000 on demand", "money"),
        *_LATENCY,
    )
    rows = []
    for who, served in sorted(found.items(), key=lambda item: (-item[1].amount.joule, item[0])):
        amount, priced = served.amount, of.price(served.amount)
        joule, n = of.figures(amount).energy_total_joule, amount.num_documents
        share = None if joule is None or not all_joule else joule / all_joule
        with_rest = None if share is None or metered_joule is None else share * metered_joule
        rows.append(
            (
                Entry(who),
                *_counted(amount),
                _interval(amount, joule),
                Entry(share, reason=NO_ENERGY),
                Entry(with_rest, reason=NO_ENERGY),
                _interval(amount, joule, 1 / n) if n else Entry.unknown(NO_SUMMARY),
                Entry(joule * PER / n if joule is not None and n else None, reason=NO_SUMMARY if not n else NO_ENERGY),
                _each(priced.co2e_operational_kg, n, priced.reason_co2e),
                _each(priced.cost_usd_on_demand, n, priced.reason_cost),
                *_latency(served),
            )
        )
    notes = (
        "With the rest: idling, loading and what was not booked, shared out like the energy of the requests, so that "
        "the column adds up to the meter.",
        "Latency is of a document, from its arrival in the queue to the end of its batch, to 0.5 %.",
    )
    return Table(name, title, columns, tuple(rows), notes)


def runtime_table(of: Priceable) -> Table:
    """Return what was served, and after how many summaries serving has taken as much as making the model did."""
    by_model = _by(of.folder.requests, lambda account: account.model)
    columns = (
        Column("model", "Model"),
        Column("runtime", "Runtime"),
        Column("device", "Device"),
        Column("source", "From"),
        Column("making_joule", "Making it", "energy"),
        Column("break_even_summaries", "Outweighed after", "count"),
    )
    rows = []
    for name, facts in of.folder.models.items():
        amount, making = by_model.get(name, Served()).amount, facts.get("making_joule")
        each = amount.joule / amount.num_documents if amount.num_documents and amount.joule else None
        rows.append(
            (
                Entry(name),
                *(Entry(facts.get(fact), reason="not recorded") for fact in ("runtime", "device", "source")),
                Entry(making, reason="no run says what making it took"),
                Entry(
                    making / each if making is not None and each else None,
                    reason=NO_SUMMARY if making is not None else "no run says what making it took",
                ),
            )
        )
    notes = ("Outweighed after: the summaries after which serving, without idling, has taken as much as making it.",)
    return Table("runtimes", "What was served", columns, tuple(rows), notes)


def phase_table(folder: ServingFolder) -> Table:
    """Return the phases of the ledger, with the joules of each component."""
    columns = (
        Column("phase", "Phase"),
        Column("wall_second", "Time", "time"),
        Column("energy_total_joule", "Energy", "energy"),
        *(Column(f"energy_{part}_joule", part.upper(), "energy") for part in ("cpu", "gpu", "dram")),
        Column("energy_total_source", "Source"),
        Column("memory_host_max_byte", "Memory", "byte"),
    )
    rows = tuple(
        (
            Entry(row.phase),
            Entry(row.wall_second),
            Entry(row.energy_total_joule, row.energy_total_joule_low, row.energy_total_joule_high, reason=NO_ENERGY),
            Entry(row.energy_cpu_joule, reason=row.energy_cpu_source),
            Entry(row.energy_gpu_joule, reason=row.energy_gpu_source),
            Entry(row.energy_dram_joule, reason=row.energy_dram_source),
            Entry(row.energy_total_source),
            Entry(row.memory_host_max_byte, reason="not read"),
        )
        for row in (*folder.metered.phases, folder.metered.total)
    )
    emphasised = frozenset({len(rows) - 1})
    return Table("phases", "As the meter saw it", columns, rows, emphasised_rows=emphasised)


def _by(accounts: Mapping[Account, Served], key: Callable[[Account], str]) -> dict[str, Served]:
    found: dict[str, Served] = {}
    for account, served in accounts.items():
        found.setdefault(key(account), Served()).add(served)
    return found


def _counted(amount: Sum) -> Sequence[Entry]:
    return [Entry(getattr(amount, column.key)) for column in _COUNTS]


def _latency(served: Served) -> Sequence[Entry]:
    reason = NO_WAIT if served.amount.num_documents else NO_SUMMARY
    return [Entry(served.latency.quantile(fraction), reason=reason) for fraction in (0.5, 0.95, 0.99)]


def _interval(amount: Sum, joule: float | None, factor: float = 1.0) -> Entry:
    if joule is None:
        return Entry.unknown(NO_ENERGY)
    return Entry(joule * factor, amount.joule_low * factor, amount.joule_high * factor)


def _each(value: float | None, num_documents: int, reason: str) -> Entry:
    if not num_documents:
        return Entry.unknown(NO_SUMMARY)
    return Entry(None if value is None else value * PER / num_documents, reason=reason)
