"""The books of a server: who used what, by hour, model and client; crash-safe beside the meter's ledger.

``requests.jsonl`` has one line per batch, per stretch of idling and per stretch of anything else that the meter saw.
A line is one system call, so a kill loses at most the batch that was running; a server that starts again in the same
folder goes on with the sums. Joules come from the phases of `kilowit.meter`; a batch's are shared out by the tokens
computed for each document.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.endpoint.job import Cost
from kilowit.meter.ledger import LineFile, encode, read_events
from kilowit.record import PhaseFigures

BOOKS_NAME: Final = "requests.jsonl"
IDLE: Final = "idle"
MAX_CLIENTS: Final = 256  # tags that are told apart; further ones are booked together
OTHER_CLIENTS: Final = "(other)"


class Account(NamedTuple):
    """What a sum is kept of. Idling and loading have no model and no client."""

    hour_utc: str  # 2026-11-23T17
    model: str
    client: str


@dataclass(kw_only=True)
class Sum:
    """What one account has used. Joules count those batches alone whose energy was read."""

    num_documents: int = 0
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    second: float = 0.0
    joule: float = 0.0
    joule_low: float = 0.0
    joule_high: float = 0.0

    def add(self, other: Sum) -> None:
        """Add another sum."""
        for item in fields(Sum):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


class Share(NamedTuple):
    """One document of a batch."""

    request_id: str
    client: str
    num_input_tokens: int
    num_output_tokens: int
    fraction: float  # of the batch's tokens computed


def cost_of(figures: PhaseFigures) -> Cost:
    """Return what a phase took."""
    return Cost(
        second=figures.wall_second,
        joule=figures.energy_total_joule,
        joule_low=figures.energy_total_joule_low,
        joule_high=figures.energy_total_joule_high,
        source=figures.energy_total_source,
        measured_fraction=figures.energy_measured_fraction,
    )


def token_fractions(num_input_tokens: Sequence[int], num_output_tokens: Sequence[int], num_beams: int) -> list[float]:
    """Return each document's share of the tokens that were computed in a batch; they add up to 1.

    A token that is read is computed once, a token that is written once for each beam.

    >>> token_fractions([30, 10], [10, 10], num_beams=2)
    [0.625, 0.375]
    """
    computed = [n_in + num_beams * n_out for n_in, n_out in zip(num_input_tokens, num_output_tokens, strict=True)]
    return [count / sum(computed) for count in computed]


class Books:
    """Sums in memory, lines on the disk.

    Args:
        folder: where ``requests.jsonl`` is, and is gone on with; None = in memory alone.
        utc_clock: seconds since 1970.

    Raises:
        StoreError: the books that are there cannot be read.
    """

    def __init__(self, folder: Path | None, utc_clock: Callable[[], float] = time.time) -> None:
        self.accounts: dict[Account, Sum] = {}
        self.num_unreadable_lines = 0
        self._clients: set[str] = set()
        self._utc_clock = utc_clock
        self._lock = threading.Lock()
        self._file = None if folder is None else LineFile(folder / BOOKS_NAME)
        if self._file is not None and self._file.path.is_file():
            self._read(self._file.path)

    @property
    def problem(self) -> str | None:
        """Why the last line could not be written; None while all is well."""
        return None if self._file is None else self._file.problem

    def book_batch(self, model: str, cost: Cost, shares: Sequence[Share]) -> None:
        """Book what a batch took on those who asked for it."""
        event = self._event("batch", model, cost)
        event["shares"] = [list(share) for share in shares]
        self._book(event)

    def book_other(self, name: str, cost: Cost) -> None:
        """Book what no request asked for: ``idle``, ``load MODEL``, ``failed MODEL``."""
        self._book(self._event("other", name, cost))

    def sums(self, *, hours: str = "", of: Callable[[Account], str] = lambda account: account.model) -> dict[str, Sum]:
        """Return sums by what `of` makes of an account, of those whose hour begins with `hours`."""
        found: dict[str, Sum] = {}
        with self._lock:
            for account, amount in self.accounts.items():
                if account.hour_utc.startswith(hours):
                    found.setdefault(of(account), Sum()).add(amount)
        return found

    def sync(self) -> None:
        """Bring all lines to the disk."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Bring all lines to the disk and close the file."""
        self.sync()
        if self._file is not None:
            self._file.close()

    def _event(self, kind: str, name: str, cost: Cost) -> dict[str, Any]:
        return {
            "event": kind,
            "utc_second": round(self._utc_clock(), 3),
            "name": name,
            "second": cost.second,
            "joule": [cost.joule, cost.joule_low, cost.joule_high],
            "source": cost.source,
        }

    def _book(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._add(event)
            if self._file is not None:
                self._file.write(encode(event))

    def _read(self, path: Path) -> None:
        for event in read_events(path):
            try:
                if event is None:
                    raise ValueError("damaged")
                self._add(event)
            except (KeyError, TypeError, ValueError):
                self.num_unreadable_lines += 1

    def _add(self, event: dict[str, Any]) -> None:
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime(float(event["utc_second"])))
        name, second = str(event["name"]), float(event["second"])
        joules = [float(joule or 0.0) for joule in event["joule"]]
        rows = [Share(*share) for share in event["shares"]] if event["event"] == "batch" else [Share("", "", 0, 0, 1.0)]
        for share in rows:
            part = Sum(
                num_documents=1 if event["event"] == "batch" else 0,
                num_input_tokens=share.num_input_tokens,
                num_output_tokens=share.num_output_tokens,
                second=second * share.fraction,
                joule=joules[0] * share.fraction,
                joule_low=joules[1] * share.fraction,
                joule_high=joules[2] * share.fraction,
            )
            self.accounts.setdefault(Account(hour, name, self._client(share.client)), Sum()).add(part)

    def _client(self, tag: str) -> str:
        if tag not in self._clients and len(self._clients) >= MAX_CLIENTS:
            return OTHER_CLIENTS
        self._clients.add(tag)
        return tag
