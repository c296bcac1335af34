"""Sums written into the books now and then, so that a server that starts again reads their end alone.

A checkpoint is one line of ``requests.jsonl`` like any other, written by one system call: a kill in the middle of it
leaves the one before, and the lines after that. It holds what all lines above it add up to, so that whoever reads the
books from their beginning passes it over. Hours of days gone by are folded into one account each of model and client,
which bounds its length; the lines themselves keep the hours for `kilowit report`.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from kilowit.endpoint.account import Account, Sum
from kilowit.errors import StoreError
from kilowit.meter.ledger import decode

TOTALS: Final = "totals"
TAIL_BYTE: Final = 1_000_000  # of lines between two checkpoints: read in 0.04 s (one core, 2026-11-23)
TAIL_PER_CHECKPOINT: Final = 10  # and at least so many times its length, so that they are a tenth of the books at most
LONG_AGO: Final = ""  # the hour of what lies before the day of a checkpoint
_BEGIN: Final = b'{"event":"totals",'  # as `encode` writes it; inside a string of JSON its quotes would be escaped


def fold(accounts: Mapping[Account, Sum], today_utc: str) -> dict[Account, Sum]:
    """Return sums with the hours of all days but today put together.

    Args:
        today_utc: what today's hours begin with, e.g. ``2026-11-23T``.
    """
    folded: dict[Account, Sum] = {}
    for account, amount in accounts.items():
        kept = account if account.hour_utc.startswith(today_utc) else account._replace(hour_utc=LONG_AGO)
        folded.setdefault(kept, Sum()).add(amount)
    return folded


def checkpoint(accounts: Mapping[Account, Sum], utc_second: float) -> dict[str, Any]:
    """Return the line that holds these sums."""
    rows = [[*account, *astuple(amount)] for account, amount in accounts.items()]
    return {"event": TOTALS, "utc_second": round(utc_second, 3), "accounts": rows}


def sums_of(event: Mapping[str, Any]) -> dict[Account, Sum]:
    """Return the sums of a checkpoint.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    width = len(Account._fields)
    return {Account(*map(str, row[:width])): _sum(row[width:]) for row in event["accounts"]}


def _sum(row: list[Any]) -> Sum:
    names = Sum.__dataclass_fields__
    return Sum(**{name: _number(value) for name, value in zip(names, row, strict=True)})


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    return value


def last_checkpoint(path: Path) -> tuple[dict[Account, Sum], int]:
    """Return the sums of the last checkpoint that is whole, and the byte after it; nothing and 0 if there is none.

    Raises:
        StoreError: the books cannot be read.
    """
    try:
        if path.stat().st_size == 0:
            return {}, 0
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _search(content)
    except OSError as error:
        hint = "Make the folder readable, or give another: --store FOLDER."
        raise StoreError(f"the books cannot be read: {error.strerror or error}", place=str(path), hint=hint) from error


def _search(content: mmap.mmap) -> tuple[dict[Account, Sum], int]:
    place = content.rfind(_BEGIN)
    while place >= 0:
        end = content.find(b"\n", place)
        event = decode(content[place:end]) if end >= 0 else None
        if event is not None:
            try:
                return sums_of(event), end
            except (KeyError, TypeError, ValueError):
                pass  # damaged: the one before it, and all lines since, say the same
        place = content.rfind(_BEGIN, 0, place)
    return {}, 0
