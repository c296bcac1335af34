"""The side thread that samples, beats and syncs; it sleeps on an event and never raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

SILENCE_SECOND: Final = 0.95  # longest silence of the ledger, so that a kill loses less than a second
# Intervals vary, lest samples march in step with a periodic load (arXiv 2312.02741), and stay below the period.
SHORTEST_FRACTION: Final = 0.86
LONGEST_FRACTION: Final = 0.94
GOLDEN_FRACTION: Final = 0.6180339887498949  # its multiples fill the interval evenly
SYNC_SECOND: Final = 1.0
LATE_PERIODS: Final = 5
PATIENCE_SECOND: Final = 10.0  # how long to wait for the last thing to do: a sensor may hang as it closes


class Sampler:
    """Calls `sample` once a period, and `beat` where a period is longer than the ledger may be silent.

    Args:
        sample: takes one sample; must not raise.
        beat: writes a sign of life; is told by how much the last sample is overdue, if it is very late.
        sync: brings the files to the disk.
        period_second: longest time between samples.
    """

    def __init__(
        self,
        sample: Callable[[], None],
        beat: Callable[[float], None],
        sync: Callable[[], None],
        period_second: float,
    ) -> None:
        self._sample, self._beat, self._sync = sample, beat, sync
        self._period_second = period_second
        self._wake = threading.Event()
        self._last_act: Callable[[], None] | None = None
        self._may_leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kilowit-sampler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask_to_end(self) -> None:
        """Let the thread take no further sample."""
        self._wake.set()

    def at_end(self, act: Callable[[], None]) -> None:
        """Let the thread do one last thing, slow as it may be, and end."""
        self._last_act = act
        self._may_leave.set()

    def join(self, timeout_second: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout_second)

    def _run(self) -> None:
        num_samples = 0
        last_second = synced_second = time.monotonic()
        due_second = last_second + self._interval_second(num_samples)
        while not self._wake.wait(min(SILENCE_SECOND, max(0.0, due_second - time.monotonic()))):
            now_second = time.monotonic()
            overdue_second = now_second - due_second
            if overdue_second > LATE_PERIODS * self._period_second + SYNC_SECOND:
                self._beat(overdue_second)
            if overdue_second >= 0:
                self._sample()
                num_samples += 1
                due_second = max(due_second, now_second - self._period_second) + self._interval_second(num_samples)
            else:
                self._beat(0.0)
            if now_second - synced_second >= SYNC_SECOND:
                self._sync()
                synced_second = now_second
        self._may_leave.wait(PATIENCE_SECOND)
        if self._last_act is not None:
            self._last_act()

    def _interval_second(self, num_samples: int) -> float:
        place = (num_samples * GOLDEN_FRACTION) % 1.0
        return self._period_second * (SHORTEST_FRACTION + (LONGEST_FRACTION - SHORTEST_FRACTION) * place)
