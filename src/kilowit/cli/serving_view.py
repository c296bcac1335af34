"""How the folder of a server looks at a terminal: what each model served, and what the rest took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilowit.cli.views import known
from kilowit.console import say, show_json, show_table
from kilowit.endpoint.folder import Served, ServingFolder, is_serving_folder, read_serving_folder


def show_serving(path: Path, *, as_json: bool) -> bool:
    """Show what a server has served so far; return False if the folder is none of a server's.

    Raises:
        StoreError: its ledger cannot be read.
    """
    if not is_serving_folder(path):
        return False
    folder = read_serving_folder(path)
    rows = folder.sums(lambda account: account.model)
    if as_json:
        show_json([{"what": name, **_facts(served)} for name, served in _with_rest(folder, rows).items()])
        return True
    columns = ("what", "summaries", "refused", "time", "energy", "a summary", "p50", "p99")
    show_table(columns, [_row(name, served) for name, served in _with_rest(folder, rows).items()])
    total = folder.metered.total
    say(f"total {known(total.wall_second, 'time')}, {known(total.energy_total_joule, 'energy')}, as metered")
    for warning in folder.metered.warnings:
        say(f"warning: {warning}")
    say(f"{folder.metered.signature}\nMore: kilowit report {path}")
    return True


def _with_rest(folder: ServingFolder, rows: dict[str, Served]) -> dict[str, Served]:
    """Return models, the busiest first, then what nobody asked for."""
    ordered = sorted(rows.items(), key=lambda item: (-item[1].amount.num_documents, item[0]))
    return {**dict(ordered), "not booked": Served(folder.unbooked)}


def _facts(served: Served) -> dict[str, Any]:
    latency = {f"latency_p{p}_second": served.latency.quantile(p / 100) for p in (50, 95, 99)}
    return {**vars(served.amount), **latency}


def _row(name: str, served: Served) -> tuple[Any, ...]:
    amount, n = served.amount, served.amount.num_documents
    return (
        name,
        n,
        amount.num_refused,
        known(amount.second, "time"),
        known(amount.joule, "energy"),
        known(amount.joule / n if n else None, "energy"),
        known(served.latency.quantile(0.5), "time"),
        known(served.latency.quantile(0.99), "time"),
    )
