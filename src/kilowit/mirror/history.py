"""A ledger as points over time: the loss by step, the joules so far. The same ledger always gives the same points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.meter.ledger import LineTail, decode
from kilowit.meter.reduction import Reduction
from kilowit.record import DEVICES

ENERGY_SECOND: Final = 10.0  # of the ledger, between two points of energy


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class History:
    """Follows one ledger.

    Attributes:
        phase: the innermost phase that is open.
    """

    def __init__(self, path: Path) -> None:
        self.phase: str | None = None
        self._lines = LineTail(path)
        self._reduction = Reduction()
        self._open_phases: dict[Any, str] = {}
        self._utc_offset_second: float | None = None
        self._next_energy_second = ENERGY_SECOND

    def new_points(self) -> list[Point]:
        """Return the points of the lines that are new."""
        points: list[Point] = []
        for line in self._lines.new_lines():
            event = decode(line)
            if event is not None:
                with suppress(KeyError, TypeError, ValueError):  # a damaged line is the meter's to judge
                    points += self._take(event)
        return points

    def _take(self, event: dict[str, Any]) -> Iterator[Point]:
        self._reduction.feed(event)
        second, kind = float(event["t"]), event["event"]
        if kind == "open":
            self._utc_offset_second = float(event["utc_second"]) - second
        elif kind == "start":
            self._open_phases[event["id"]] = str(event["phase"])
        elif kind == "end":
            self._open_phases.pop(event["id"], None)
        self.phase = next(reversed(self._open_phases.values()), None)
        if self._utc_offset_second is None:
            return
        timestamp_ms = round(1000 * (self._utc_offset_second + second))
        if kind == "note" and event.get("kind") == "progress":
            yield from _progress({**event, **event.get("facts", {})}, timestamp_ms)
        if second >= self._next_energy_second or kind == "close":
            self._next_energy_second = (second // ENERGY_SECOND + 1) * ENERGY_SECOND
            yield from self._energy(timestamp_ms, round(second))

    def _energy(self, timestamp_ms: int, step: int) -> Iterator[Point]:
        total = self._reduction.total_so_far()
        for component in (*DEVICES, "total"):
            joule = getattr(total, f"energy_{component}_joule")
            if joule is not None:
                yield Point(f"so_far/energy_{component}_joule", joule, timestamp_ms, step)


def _progress(facts: dict[str, Any], timestamp_ms: int) -> Iterator[Point]:
    """The loss by training step; of phases without one, how far they are."""
    phase, step = str(facts.get("phase", "train")), int(facts["step"])
    if isinstance(facts.get("loss"), int | float):
        yield Point(f"{phase}/loss", float(facts["loss"]), timestamp_ms, step)
    else:
        yield Point(f"{phase}/progress", float(step), timestamp_ms, step)
