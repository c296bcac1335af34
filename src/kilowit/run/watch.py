"""Wait for one worker to end; on Ctrl-C ask it to, and use force on one that does not.

A worker ends itself at measure.timeout_second and records that. One that cannot, because it hangs in a driver, is
killed here after a grace.

While a worker is metered this process sleeps: it looks five times a second whether the worker lives, and once a
second at what is new in its ledger.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from kilowit.errors import ErrorKind
from kilowit.parts.executor import Job, Loss
from kilowit.run.ending import Ending, count_oom_kills
from kilowit.run.ledger_tail import LedgerTail
from kilowit.run.progress import CellState
from kilowit.run.signals import StopRequests
from kilowit.store import RunFolder

LOOK_SECOND: Final = 0.2
TAIL_SECOND: Final = 1.0


def watch(
    job: Job,
    folder: RunFolder,
    *,
    timeout_second: float | None,
    grace_second: float,
    stop: StopRequests,
    on_state: Callable[[CellState], None],
    may_wait: bool = False,
) -> Ending:
    """Wait until a worker has ended; return how.

    Args:
        job: the running worker.
        folder: its run folder.
        timeout_second: wall time after which it ends itself; None = never.
        grace_second: how long ending may take before force is used; a second Ctrl-C cuts it short.
        stop: the person's requests to stop.
        on_state: told what the ledger says, once a second.
        may_wait: the job may have to wait its turn: its time begins with its ledger.
    """
    tail = LedgerTail(folder.ledger_path)
    num_oom_kills = count_oom_kills()
    born_second = time.monotonic()
    next_tail_second = born_second
    has_begun = not may_wait
    asked_second: float | None = None
    while (ended := job.poll()) is None:
        now_second = time.monotonic()
        if not has_begun:
            has_begun, born_second = folder.ledger_path.exists(), now_second
        if timeout_second is not None and now_second - born_second > timeout_second + grace_second:
            job.kill()
            return Ending(-signal.SIGKILL, "timeout")
        if stop.is_requested() and asked_second is None:
            asked_second = now_second
            job.terminate()
        if asked_second is not None and (stop.num_requests > 1 or now_second - asked_second > grace_second):
            job.kill()
            return Ending(-signal.SIGKILL, "interrupted")
        if now_second >= next_tail_second:
            next_tail_second = now_second + TAIL_SECOND
            on_state(tail.read(now_second - born_second))
        time.sleep(LOOK_SECOND)
    asked: ErrorKind | None = None if asked_second is None else "interrupted"
    if isinstance(ended, Loss):
        return Ending(0, asked, loss=ended)
    return Ending(ended, asked, count_oom_kills() - num_oom_kills)
