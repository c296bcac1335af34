"""Follow a ledger as it grows: which phase is open, the step and loss noted last, the joules so far."""

from __future__ import annotations

import copy
import dataclasses
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kilowit.meter.ledger import LineTail, decode
from kilowit.meter.reduction import Reduction
from kilowit.run.progress import CellState

# Adding up takes about a millisecond, and this process shares the machine with the one that is metered.
ENERGY_SECOND: Final = 5.0


class LedgerTail:
    """Reads the new lines of one ledger; costs one `read` of what was added.

    A line that cannot be read is passed over: the meter's own reader is the one that judges the file.
    """

    def __init__(self, path: Path) -> None:
        self._lines = LineTail(path)
        self._open_phases: dict[Any, str] = {}  # id -> name, outermost first
        self._state = CellState()
        self._reduction = Reduction()
        self._next_energy_second = 0.0

    def read(self, elapsed_second: float = 0.0) -> CellState:
        """Take in what is new; return where the cell is."""
        for line in self._lines.new_lines():
            event = decode(line)
            if event is not None:
                self._take(event)
        self._add_up()
        phase = next(reversed(self._open_phases.values()), None)
        return dataclasses.replace(self._state, phase=phase, elapsed_second=elapsed_second)

    def _add_up(self) -> None:
        now_second = time.monotonic()
        if now_second < self._next_energy_second or not self._lines.num_read_byte:
            return
        self._next_energy_second = now_second + ENERGY_SECOND
        total = copy.deepcopy(self._reduction).finish().total  # a copy: the ledger goes on
        self._state = dataclasses.replace(self._state, energy_joule=total.energy_total_joule)

    def _take(self, event: dict[str, Any]) -> None:
        with suppress(KeyError, TypeError, ValueError):  # a damaged line
            self._reduction.feed(event)
        kind = event.get("event")
        if kind == "start":
            self._open_phases[event.get("id")] = str(event.get("phase"))
            self._state = dataclasses.replace(self._state, step=None, num_steps=None, loss=None)
        elif kind == "end":
            self._open_phases.pop(event.get("id"), None)
        elif kind == "note" and event.get("kind") == "progress":
            facts = {**event, **event.get("facts", {})}
            self._state = dataclasses.replace(
                self._state,
                step=_number(facts, "step", int),
                num_steps=_number(facts, "num_steps", int),
                loss=_number(facts, "loss", float),
            )


def _number(facts: dict[str, Any], name: str, kind: type) -> Any:
    value = facts.get(name)
    return kind(value) if isinstance(value, int | float) else None
