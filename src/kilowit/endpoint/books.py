"""The books of a server: who used what, by hour, model and client; crash-safe beside the meter's ledger.

``requests.jsonl`` has one line per batch, per stretch of idling and per stretch of anything else that the meter saw,
and one for each start of the server: what it served, and where its figures are priced. A line is one system call, so a
kill loses at most the batch that was running and a second of idling; a server that starts again in the same folder goes
on with the sums. Joules come from the phases of `kilowit.meter`; a batch's are shared out by the tokens computed for
each document.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.endpoint.job import Cost
from kilowit.meter.ledger import LineFile, encode, read_events
from kilowit.record import PhaseFigures

BOOKS_NAME: Final = "requests.jsonl"
IDLE: Final = "idle"
SESSION: Final = "session"
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
    num_refused: int = 0  # requests that were not taken on, or given up: 429 and 503
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
    wait_second: float | None = None  # from arrival to the start of its batch; None: books of before it was kept


class Entry(NamedTuple):
    """One line's part of one account."""

    account: Account
    amount: Sum
    latency_second: float | None = None  # of a document, from arrival to the end of its batch


def entries_of(event: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield what a line of the books adds to each account; nothing for a line that opens a session.

    Raises:
        KeyError, TypeError, ValueError: the line is damaged.
    """
    kind = event["event"]
    if kind == SESSION:
        return
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime(float(event["utc_second"])))
    name = str(event["name"])
    if kind == "refused":
        for client, count in event["clients"].items():
            yield Entry(Account(hour, name, client), Sum(num_refused=int(count)))
        return
    second, joules = float(event["second"]), [float(joule or 0.0) for joule in event["joule"]]
    if kind != "batch":
        whole = Sum(second=second, joule=joules[0], joule_low=joules[1], joule_high=joules[2])
        yield Entry(Account(hour, name, ""), whole)
        return
    for share in (Share(*written) for written in event["shares"]):
        part = Sum(
            num_documents=1,
            num_input_tokens=share.num_input_tokens,
            num_output_tokens=share.num_output_tokens,
            second=second * share.fraction,
            joule=joules[0] * share.fraction,
            joule_low=joules[1] * share.fraction,
            joule_high=joules[2] * share.fraction,
        )
        latency_second = None if share.wait_second is None else share.wait_second + second
        yield Entry(Account(hour, name, share.client), part, latency_second)


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
        self._refused: Counter[tuple[str, str]] = Counter()  # by model and client, not written yet
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

    def book_session(self, facts: Mapping[str, Any]) -> None:
        """Note that a server began, and what it serves where."""
        self._book({"event": SESSION, "utc_second": round(self._utc_clock(), 3), **facts})

    def count_refusal(self, model: str, client: str) -> None:
        """Count a request that was not taken on or given up; `book_refusals` writes it."""
        with self._lock:
            self._refused[model, self._client(client)] += 1

    def book_refusals(self) -> None:
        """Write what was refused since the last time: one line a model."""
        with self._lock:
            counted, self._refused = self._refused, Counter()
        by_model: dict[str, dict[str, int]] = {}
        for (model, client), count in counted.items():
            by_model.setdefault(model, {})[client] = count
        for model, clients in by_model.items():
            event = {"event": "refused", "utc_second": round(self._utc_clock(), 3), "name": model, "clients": clients}
            self._book(event)

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
        """Write what is counted, bring all lines to the disk and close the file."""
        self.book_refusals()
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
        for account, amount, _ in entries_of(event):
            account = account._replace(client=self._client(account.client))
            self.accounts.setdefault(account, Sum()).add(amount)

    def _client(self, tag: str) -> str:
        if tag not in self._clients and len(self._clients) >= MAX_CLIENTS:
            return OTHER_CLIENTS
        self._clients.add(tag)
        return tag
