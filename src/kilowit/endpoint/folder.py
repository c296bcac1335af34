"""What a server leaves: a folder with the meter's ledger and the books, read as one.

Example:
    >>> from kilowit.endpoint.folder import read_serving_folder
    >>> read_serving_folder("serving").sums(lambda account: account.client)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kilowit.endpoint.account import Account, Sum
from kilowit.endpoint.books import BOOKS_NAME, IDLE, SESSION, entries_of
from kilowit.errors import StoreError
from kilowit.meter import MeterResult, read_ledger
from kilowit.meter.ledger import LEDGER_NAME, read_events
from kilowit.statistics.quantile_sketch import QuantileSketch

LEDGER_DIGITS: Final = 6  # that the meter rounds to; what is left below them is the arithmetic's


@dataclass
class Served:
    """What one account used, and how long its documents took from arrival to summary."""

    amount: Sum = field(default_factory=Sum)
    latency: QuantileSketch = field(default_factory=QuantileSketch)

    def add(self, other: Served) -> None:
        """Add another's."""
        self.amount.add(other.amount)
        self.latency.merge(other.latency)


@dataclass(frozen=True, kw_only=True)
class Session:
    """One start of the server: the models by name, and where its figures are priced."""

    utc_second: float
    models: Mapping[str, Mapping[str, Any]]
    factors: Mapping[str, Any]  # region, machine, pue


@dataclass(frozen=True, kw_only=True)
class ServingFolder:
    """Ledger and books of all sessions of a server.

    Attributes:
        metered: what the meter saw.
        accounts: what is booked, by hour, model (or ``idle``, ``load MODEL``, ``failed MODEL``) and client.
        num_unreadable_lines: of the books.
    """

    path: Path
    metered: MeterResult
    accounts: Mapping[Account, Served]
    sessions: tuple[Session, ...]
    num_unreadable_lines: int

    def sums(self, of: Callable[[Account], str]) -> dict[str, Served]:
        """Return what is booked by what `of` makes of an account."""
        found: dict[str, Served] = {}
        for account, served in self.accounts.items():
            found.setdefault(of(account), Served()).add(served)
        return found

    @property
    def requests(self) -> dict[Account, Served]:
        """Those accounts that requests were booked on, or refused."""
        return {a: s for a, s in self.accounts.items() if s.amount.num_documents or s.amount.num_refused}

    @property
    def idle(self) -> Sum:
        """What idling took."""
        return self.sums(lambda account: account.model).get(IDLE, Served()).amount

    @property
    def unbooked(self) -> Sum:
        """What the meter saw and the books lack: what ran when the server was killed, or runs just now."""
        booked, total = Sum(), self.metered.total
        for served in self.accounts.values():
            booked.add(served.amount)
        joule = total.energy_total_joule or 0.0
        second = round(total.wall_second - booked.second, LEDGER_DIGITS) + 0.0  # no -0.0
        return Sum(second=second, joule=round(joule - booked.joule, LEDGER_DIGITS) + 0.0)

    @property
    def models(self) -> dict[str, Mapping[str, Any]]:
        """The models of all sessions; of one that was served again, the last word."""
        return {name: facts for session in self.sessions for name, facts in session.models.items()}


def is_serving_folder(path: Path | str) -> bool:
    """Say whether a server keeps its books in a folder."""
    return (Path(path) / BOOKS_NAME).is_file()


def read_serving_folder(path: Path | str) -> ServingFolder:
    """Read ledger and books, of a server that ended, was killed, or still runs.

    Raises:
        StoreError: the folder has no ledger or no books.
    """
    path = Path(path)
    if not is_serving_folder(path):
        hint = "Name the --store of a `kilowit serve`."
        raise StoreError(f"no books of a server: {BOOKS_NAME} is missing", place=str(path), hint=hint)
    accounts: dict[Account, Served] = {}
    sessions: list[Session] = []
    num_unreadable_lines = 0
    for event in read_events(path / BOOKS_NAME):
        try:
            if event is None:
                raise ValueError("damaged")
            _feed(event, accounts, sessions)
        except (KeyError, TypeError, ValueError, AttributeError):
            num_unreadable_lines += 1
    return ServingFolder(
        path=path,
        metered=read_ledger(path / LEDGER_NAME),
        accounts=accounts,
        sessions=tuple(sessions),
        num_unreadable_lines=num_unreadable_lines,
    )


def _feed(event: dict[str, Any], accounts: dict[Account, Served], sessions: list[Session]) -> None:
    if event["event"] == SESSION:
        factors = {name: event.get(name) for name in ("region", "machine", "pue")}
        sessions.append(Session(utc_second=float(event["utc_second"]), models=event["models"], factors=factors))
    for account, amount, latency_second in entries_of(event):
        served = accounts.setdefault(account, Served())
        served.amount.add(amount)
        if latency_second is not None:
            served.latency.add(latency_second)
