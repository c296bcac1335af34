"""Every event of a running meter, in two places at once: the ledger file and the reduction in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from kilowit.meter.figures import MeterResult
from kilowit.meter.ledger import LEDGER_NAME, LineFile, encode
from kilowit.meter.reduction import Reduction
from kilowit.parts.sensor import Value
from kilowit.record import PhaseFigures

NUM_DISTINCT_FAULTS: Final = 100  # beyond that, a fault that is worded anew each time is only counted


class Journal:
    """Writes events down and adds them up.

    Args:
        folder: where the ledger lies; None = in memory alone.
        clock: seconds that only grow; the journal's time starts at 0 now.
    """

    def __init__(self, folder: Path | None, clock: Callable[[], float]) -> None:
        self.file = None if folder is None else LineFile(folder / LEDGER_NAME)
        self._clock = clock
        self.zero_second = clock()
        self._reduction = Reduction()
        self._faults: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether the opening line has been written and the closing one has not."""
        return self._reduction.is_open

    def now(self) -> float:
        """Return seconds since the journal began, to the microsecond."""
        return round(self._clock() - self.zero_second, 6)

    def emit(
        self,
        kind: str,
        fields: Mapping[str, Any],
        readings: dict[str, Value] | None = None,
        t_second: float | None = None,
    ) -> None:
        """Write one event and add it up."""
        event = {"t": self.now() if t_second is None else t_second, "event": kind, **fields}
        if readings is not None:
            event["read"] = readings
        self._write(event)
        self._reduction.feed(event)
        self._write_derived()

    def note(self, kind: str, message: str, facts: Mapping[str, Any] | None = None) -> None:
        """Write a note; a ``warning`` comes with the result, whether or not there is an open line yet."""
        fields: dict[str, Any] = {"kind": kind, "message": message}
        if facts:
            fields["facts"] = dict(facts)
        event = {"t": self.now(), "event": "note", **fields}
        self._write(event)
        self._reduction.feed(event)

    def fault(self, text: str) -> None:
        """Make a fault a warning, once; repetitions are counted."""
        if text not in self._faults and len(self._faults) >= NUM_DISTINCT_FAULTS:
            text = "meter: further faults, each worded anew"
        self._faults[text] = self._faults.get(text, 0) + 1
        if self._faults[text] == 1:
            self.note("warning", text)

    def note_repeated_faults(self) -> None:
        """Say how often each fault came again."""
        for text, num_times in self._faults.items():
            if num_times > 1:
                self.note("warning", f"{text} ({num_times} times)")

    def phase_result(self, phase_id: int) -> PhaseFigures | None:
        """Return the inclusive figures of the phase that ended last, if it is this one."""
        return self._reduction.phase_result(phase_id)

    def total_so_far(self) -> PhaseFigures:
        """Return the figures of all that has passed, open phases included."""
        return self._reduction.total_so_far()

    def finish(self) -> MeterResult:
        """Return all figures."""
        result = self._reduction.finish()
        self._write_derived()
        return result

    def sync(self) -> None:
        """Bring the ledger to the disk."""
        if self.file is not None:
            self.file.sync()

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.sync()
            self.file.close()

    def leave_to_parent(self) -> None:
        """In a forked child: write no more."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _write(self, event: dict[str, Any]) -> None:
        if self.file is None:
            return
        before = self.file.problem
        self.file.write(encode(event))
        if self.file.problem is not None and self.file.problem != before:
            self.fault(f"{self.file.problem}; metering goes on in memory")

    def _write_derived(self) -> None:
        """Write down what the reduction found wrong; whoever reads the ledger will find it again."""
        found, self._reduction.derived = self._reduction.derived, []
        for kind, message in found:
            self._write({"t": self.now(), "event": "note", "kind": "warning", "message": message, "derived": kind})
