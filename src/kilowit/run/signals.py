"""Ctrl-C, SIGTERM and a closed terminal as a count that a loop looks at: nothing is torn in the middle."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Final

POLL_SECOND: Final = 0.2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """How often the person has asked to stop. A context manager that holds the signal handlers.

    Outside the main thread no handler can be set; `request` is then the only way to stop.
    """

    def __init__(self) -> None:
        self.num_requests = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def request(self) -> None:
        """Ask to stop; a second time, at once."""
        self.num_requests += 1

    def is_requested(self) -> bool:
        """Whether somebody has asked to stop."""
        return self.num_requests > 0

    def sleep(self, second: float) -> None:
        """Sleep, but no longer than until somebody asks to stop."""
        end = time.monotonic() + second
        while not self.is_requested() and (left := end - time.monotonic()) > 0:
            time.sleep(min(POLL_SECOND, left))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.request()
