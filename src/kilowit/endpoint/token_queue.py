"""From the engine's thread to the loop that sends: the tokens of a document, and a bell that says there are some."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any


class Bell:
    """Wakes the coroutine that made it, from any thread.

    Args:
        num_finished: how many documents are to be finished before it rings; each wake costs as much as some
            documents of a small model.
    """

    def __init__(self, num_finished: int = 1) -> None:
        self._num_left = num_finished
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_ringing = False

    def finish(self, future: Future[Any]) -> None:
        """Take note that a document is finished; ring if it was the last to wait for, or was given up."""
        self._num_left -= 1
        if self._num_left <= 0 or future.cancelled() or future.exception() is not None:
            self.ring()

    def ring(self) -> None:
        """Wake it; costs next to nothing while it has not listened since the last time."""
        if self._is_ringing:
            return
        self._is_ringing = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_second: float) -> None:
        """Wait until it has rung, or the time is over. Whatever was done before it rang can then be seen."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_second)
        self._event.clear()
        self._is_ringing = False


class TokenQueue:
    """Tokens of one document. The engine puts, the loop takes.

    Args:
        bell: rung when there are more.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._tokens: deque[int] = deque()

    def put(self, tokens: Sequence[int]) -> None:
        """Add tokens."""
        self._tokens.extend(tokens)
        self._bell.ring()

    def take(self) -> list[int]:
        """Return all that are there, and keep none."""
        return [self._tokens.popleft() for _ in range(len(self._tokens))]
