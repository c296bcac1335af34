"""The books of a server: who used what, by hour, model and client; crash-safe beside the meter's ledger.

``requests.jsonl`` has one line per batch, per stretch of idling and per stretch of anything else that the meter saw,
one for each start of the server: what it served, and where its figures are priced, and now and then one with all sums.
A line is one system call, so a kill loses at most the batch that was running and a second of idling; a server that
starts again in the same folder goes on with the sums, and reads the lines after the last of them alone. Joules come
from the phases of `kilowit.meter`; a batch's are shared out by the tokens computed for each document.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.endpoint.account import Account, Sum
from kilowit.endpoint.checkpoint import TAIL_BYTE, TAIL_PER_CHECKPOINT, TOTALS, checkpoint, fold, last_checkpoint
from kilowit.endpoint.job import Cost
from kilowit.errors import StoreError
from kilowit.meter.ledger import LineFile, encode, read_events
from kilowit.record import PhaseFigures

BOOKS_NAME: Final = "requests.jsonl"
IDLE: Final = "idle"
SESSION: Final = "session"
MAX_CLIENTS: Final = 256  # tags that are told apart; further ones are booked together
OTHER_CLIENTS: Final = "(other)"


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
    """Yield what a line of the books adds to each account; nothing for one that opens a session or holds sums.

    Raises:
        KeyError, TypeError, ValueError: the line is damaged.
    """
    kind = event["event"]
    if kind in (SESSION, TOTALS):
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
        is_kept: nobody else may write these books until they are closed: a checkpoint knows its own lines alone.
        utc_clock: seconds since 1970.

    Raises:
        StoreError: the books that are there cannot be read, or another server keeps them.
    """

    def __init__(
        self, folder: Path | None, utc_clock: Callable[[], float] = time.time, *, is_kept: bool = False
    ) -> None:
        self.accounts: dict[Account, Sum] = {}
        self.num_unreadable_lines = 0
        self._clients: set[str] = set()
        self._refused: Counter[tuple[str, str]] = Counter()  # by model and client, not written yet
        self._utc_clock = utc_clock
        self._lock = threading.Lock()
        self._kept_fd = _keep(folder) if folder is not None and is_kept else None
        self._tail_byte = 0  # of lines since the last checkpoint
        self._max_tail_byte = TAIL_BYTE
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
        if self._kept_fd is not None:
            os.close(self._kept_fd)
            self._kept_fd = None

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
            if self._file is None:
                return
            line = encode(event)
            self._file.write(line)
            self._tail_byte += len(line)
            if self._tail_byte >= self._max_tail_byte:
                self._checkpoint(self._file)

    def _checkpoint(self, file: LineFile) -> None:
        """Write all sums; the hours of days gone by are folded here too, so that they take no memory."""
        now_second = self._utc_clock()
        self.accounts = fold(self.accounts, time.strftime("%Y-%m-%dT", time.gmtime(now_second)))
        line = encode(checkpoint(self.accounts, now_second))
        file.write(line)
        self._tail_byte, self._max_tail_byte = 0, max(TAIL_BYTE, TAIL_PER_CHECKPOINT * len(line))

    def _read(self, path: Path) -> None:
        self.accounts, begin_byte = last_checkpoint(path)
        self._clients.update(account.client for account in self.accounts)
        self._tail_byte = path.stat().st_size - begin_byte
        for event in read_events(path, begin_byte):
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


def _keep(folder: Path) -> int:
    """Keep others from writing the books of a folder until the file that is returned is closed, or we are killed.

    Raises:
        StoreError: another does.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / BOOKS_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        hint = "Give another folder: --store FOLDER."
        raise StoreError(
            f"no books can be kept here: {error.strerror or error}", place=str(folder), hint=hint
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        hint = "Give each its own folder: --store FOLDER; or wait until the other has ended."
        raise StoreError("another server keeps its books here", place=str(folder), hint=hint) from error
    return fd
