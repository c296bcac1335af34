"""The queue of a server: what may wait, for how long, and what is computed together.

It learns from each batch how long the next will take, and refuses at the door what could not be answered in time:
a refusal that costs nothing is better than a summary that comes too late. Documents of one batch have the same model
and the same way of searching, and are near in length; the oldest decides which.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from kilowit.endpoint.job import Job, Refused

NEWEST_SHARE: Final = 0.3  # of the last batch in the moving mean of how long batches take
MARGIN: Final = 1.25  # documents vary: those that wait are expected to take this many times the mean
# A batch is expected to take the mean and so many mean deviations: few take longer, on a machine that others use too.
# Source: Jacobson 1988, Congestion Avoidance and Control, SIGCOMM, appendix A, where the same bounds a round trip.
NUM_DEVIATIONS: Final = 4
# Every batch is a phase of the meter, whose reading of all sensors at both ends takes 1 to 2 ms. Where more documents
# wait, so many are taken together that this is a hundredth of what it meters.
TAKEN_SECOND: Final = 0.15


class _Pace:
    """How long a model's batches take, as a moving mean and the mean deviation from it; None before the first."""

    def __init__(self) -> None:
        self.batch_second: float | None = None
        self.document_second: float | None = None
        self.deviation_second = 0.0

    @property
    def bound_second(self) -> float:
        """How long the next batch will hardly exceed; 0 where nothing is known yet."""
        return (self.batch_second or 0.0) + NUM_DEVIATIONS * self.deviation_second

    def learn(self, second: float, num_documents: int) -> None:
        if self.batch_second is not None:
            self.deviation_second = _moved(self.deviation_second, abs(second - self.batch_second))
        self.batch_second = _moved(self.batch_second, second)
        self.document_second = _moved(self.document_second, second / num_documents)


def _moved(mean: float | None, newest: float) -> float:
    return newest if mean is None else (1 - NEWEST_SHARE) * mean + NEWEST_SHARE * newest


class RequestQueue:
    """Jobs in the order of their arrival. Many threads may put, one takes.

    Args:
        max_waiting: documents that may wait.
        max_batch_size: most documents that are computed at once. More may be taken together, to be computed in turn
            without a pause, if all of them take no longer than `TAKEN_SECOND`.
        batch_wait_second: how long the first document of a batch waits for others.
        clock: seconds that only grow; tests move it by hand.
    """

    def __init__(
        self,
        *,
        max_waiting: int,
        max_batch_size: int,
        batch_wait_second: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_waiting, self.max_batch_size = max_waiting, max_batch_size
        self.batch_wait_second, self.clock = batch_wait_second, clock
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._paces: dict[str, _Pace] = {}
        self._busy_until_second = 0.0
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is taken on."""
        return self._is_closed

    def put(self, jobs: Sequence[Job]) -> None:
        """Let the documents of one request wait, all of them or none.

        Raises:
            Refused: 503 when the server is stopping or the deadline could not be kept, 429 when too many wait.
        """
        with self._changed:
            if self._is_closed:
                raise Refused(503, "the server is stopping", retry_after_second=5)
            expected_second = self._expected_second(jobs)
            if len(self._jobs) + len(jobs) > self.max_waiting:
                text = f"no room for {len(jobs)} more: {len(self._jobs)} of at most {self.max_waiting} documents wait"
                hint = "Send them in smaller requests." if len(jobs) > self.max_waiting else None
                raise Refused(429, text, retry_after_second=expected_second, hint=hint)
            late_second = self.clock() + expected_second - min(job.deadline_second for job in jobs)
            if late_second > 0 and not (self._is_free and len(jobs) <= self.max_batch_size):
                text = f"the summary would take {expected_second:.1f} s, longer than the deadline"
                hint = "Try again later, or give a longer deadline_second."
                raise Refused(503, text, retry_after_second=late_second, hint=hint)
            self._jobs.extend(jobs)
            self._changed.notify_all()

    def wait(self, timeout_second: float) -> bool:
        """Wait until something is there to be taken, the queue is closed, or the time is over: then return False."""
        with self._changed:
            is_woken = bool(self._changed.wait_for(lambda: self._jobs or self._is_closed, timeout_second))
            if self._jobs and self.batch_wait_second > 0 and not self._is_closed:
                self._changed.wait_for(
                    lambda: len(self._jobs) >= self.max_batch_size or self._is_closed, self.batch_wait_second
                )
            return is_woken

    def take(self) -> list[Job]:
        """Return the next batch, marked as running; nothing if nothing waits. Jobs that came too late are refused."""
        with self._changed:
            self._refuse_late()
            waiting = [job for job in self._jobs if not job.future.cancelled()]
            batch = [job for job in self._nearest(waiting) if job.future.set_running_or_notify_cancel()]
            taken = set(map(id, batch))
            self._jobs = deque(job for job in waiting if id(job) not in taken)
            if batch:
                self._busy_until_second = self.clock() + (self._pace(batch[0].model).batch_second or 0.0)
            return batch

    def _nearest(self, waiting: list[Job]) -> list[Job]:
        """Return the oldest job and those like it whose length is nearest: what is padded is computed for nobody.

        Where a request of many documents waits, batch after batch is cut from the same order of lengths, so that no
        batch is left with the odd lengths of the others.
        """
        if not waiting:
            return []
        oldest = waiting[0]
        alike = [job for job in waiting if (job.model, job.options) == (oldest.model, oldest.options)]
        alike.sort(key=lambda job: -len(job.source))  # stable: the older of equals first
        size = self._num_taken(oldest.model)
        first = alike.index(oldest) // size * size
        first = max(0, min(first, len(alike) - size))  # the rest is no batch of its own while others wait
        return alike[first : first + size]

    def _num_taken(self, model: str) -> int:
        """Return how many documents are taken together: a batch, or several whole ones where they are quick."""
        each_second = self._pace(model).document_second
        num_batches = int(TAKEN_SECOND / (each_second * self.max_batch_size)) if each_second else 1
        return self.max_batch_size * max(1, num_batches)

    def learn(self, model: str, second: float, num_documents: int) -> None:
        """Take note of how long a batch took."""
        with self._changed:
            self._pace(model).learn(second, num_documents)
            self._busy_until_second = 0.0

    def close(self) -> None:
        """Take nothing more on; what waits is still answered."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def _is_free(self) -> bool:
        """Whether a batch would start at once. Then it does, or a mean that is too high would never be corrected."""
        return not self._jobs and self._busy_until_second == 0.0

    def _pace(self, model: str) -> _Pace:
        return self._paces.setdefault(model, _Pace())

    def _expected_second(self, jobs: Sequence[Job]) -> float:
        """Return how long it should take until the last of these jobs is answered; 0 where nothing is known yet."""
        busy_second = max(0.0, self._busy_until_second - self.clock())
        queued_second = sum(self._pace(job.model).document_second or 0.0 for job in self._jobs)
        pace = self._pace(jobs[0].model)
        own_second = max(pace.bound_second, MARGIN * len(jobs) * (pace.document_second or 0.0))
        return busy_second + MARGIN * queued_second + own_second

    def _refuse_late(self) -> None:
        now_second = self.clock()
        in_time: deque[Job] = deque()
        for job in self._jobs:
            half_second = (job.deadline_second - job.arrived_second) / 2  # a job that has not waited is not given up
            if now_second + min(self._pace(job.model).bound_second, half_second) <= job.deadline_second:
                in_time.append(job)
            elif job.future.set_running_or_notify_cancel():
                text = "the deadline would have passed before the summary was written"
                job.future.set_exception(Refused(503, text, retry_after_second=job.deadline_second - now_second))
        self._jobs = in_time
