"""One stretch of a program, as its author marks it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kilowit.meter.figures import FACTS
from kilowit.meter.tally import COUNTS
from kilowit.record import PhaseFigures

if TYPE_CHECKING:
    from kilowit.meter.meter import Meter


class Phase:
    """A block whose time and energy are booked under a name. Made by `Meter.phase`.

    Attributes:
        result: inclusive figures, once the block has ended.
    """

    def __init__(self, meter: Meter, name: str, *, synchronize: bool) -> None:
        self.name, self.synchronize = name, synchronize
        self.phase_id = 0
        self.counts: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self.result: PhaseFigures | None = None
        self._meter = meter
        self._started_second = 0.0

    def count(self, **counts: float) -> None:
        """Add to ``num_examples``, ``num_input_tokens``, ``num_output_tokens``, ``num_steps``, ``flop_total``."""
        for name, count in counts.items():
            if name in COUNTS and _is_number(count):
                self.counts[name] = self.counts.get(name, 0) + (float(count) if name == "flop_total" else int(count))
            else:
                self._meter.note("warning", f'phase "{self.name}": count {name}={count!r:.40} is not one of a record')

    def set(self, **facts: float | int | str | None) -> None:
        """Set other facts of a record, e.g. ``loss_first``, ``latency_p50_second``, ``flop_source``."""
        for name, fact in facts.items():
            if name not in FACTS:
                self._meter.note("warning", f'phase "{self.name}": fact {name} is not one of a record')
            elif fact is not None and not isinstance(fact, str) and not _is_number(fact):
                self._meter.note("warning", f'phase "{self.name}": {name} is {fact!r:.40}, which is left out')
            else:
                self.facts[name] = fact if fact is None or isinstance(fact, str | int) else float(fact)

    def __enter__(self) -> Phase:
        self._wait_for_device()
        self._started_second = time.monotonic()
        try:
            self._meter._attempt(self._meter._begin, self)
        except BaseException as error:  # Ctrl-C in here: Python will not call __exit__
            self._meter._attempt(self._meter._end, self, error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait_for_device()
        self.result = self._meter._attempt(self._meter._end, self, error)
        if self.result is None:  # the meter is not running: time is all that is known
            wall_second = time.monotonic() - self._started_second
            self.result = PhaseFigures(phase=self.name, wall_second=wall_second)

    def _wait_for_device(self) -> None:
        if self.synchronize:
            self._meter._wait_for_device()


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return float(value) - float(value) == 0.0  # neither NaN nor infinite
    except (TypeError, ValueError):
        return False
