"""Keeps the books of a server complete: what the meter saw and nobody asked for is booked as idling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from kilowit.endpoint.books import IDLE, Books, Share
from kilowit.endpoint.job import Cost
from kilowit.meter import Meter
from kilowit.record import PhaseFigures

REST_SECOND: Final = 1.0  # what nobody asked for is booked so often


class Keeper:
    """Books costs, and at rest the difference to the meter.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, meter: Meter, books: Books, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter, self._books, self._clock = meter, books, clock
        self._booked_joule = self._booked_second = self._rested_second = 0.0

    def book(self, name: str, cost: Cost, shares: Sequence[Share] | None = None) -> None:
        """Book a cost on a batch's documents; without shares, on no request."""
        self._booked_joule += cost.joule or 0.0
        self._booked_second += cost.second
        if shares is None:
            self._books.book_other(name, cost)
        else:
            self._books.book_batch(name, cost, shares)

    @property
    def is_due(self) -> bool:
        """Whether it is time to book what is left: reading all sensors takes a moment."""
        return self._clock() - self._rested_second >= REST_SECOND

    def rest(self, like: Cost) -> None:
        """Book what nobody has asked for so far, and what was refused; `like` as for `book_rest`."""
        self.book_rest(self._meter.total_so_far(), like)
        self._books.book_refusals()

    def keep(self, like: Cost) -> None:
        """Now and then: book what is left, and bring the books to the disk."""
        if self.is_due:
            self.rest(like)
            self._books.sync()

    def book_rest(self, total: PhaseFigures | None, like: Cost) -> None:
        """Book as idling all that the meter saw and nobody has asked for: moments between phases are in it too.

        Args:
            total: what has been metered so far; None = unknown, and nothing is booked.
            like: a stretch whose relative interval is taken.
        """
        if total is None:
            return
        self._rested_second = self._clock()
        second = total.wall_second - self._booked_second
        cost = like
        if total.energy_total_joule is not None and like.joule:
            cost = like.share(max(0.0, total.energy_total_joule - self._booked_joule) / like.joule)
        self.book(IDLE, replace(cost, second=max(0.0, second)))
