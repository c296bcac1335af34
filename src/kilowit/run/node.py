"""The machine that a worker finds itself on, when an executor has sent it away from its driver."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kilowit.meter.machine_lock import machine_lock
from kilowit.parts.executor import EXECUTOR_VARIABLE, PARENT_VARIABLE, num_cells_at_once
from kilowit.store import RunFolder

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


@contextmanager
def held_for(folder: RunFolder) -> Iterator[None]:
    """Hold this machine for a cell that came from elsewhere and is to be alone; wait for it if need be.

    A driver of this machine holds it already, and a machine that is shared is held by nobody.
    """
    if (parent := os.environ.get(PARENT_VARIABLE)) is not None:
        end_with(int(parent))
    if os.environ.get(EXECUTOR_VARIABLE, "local") == "local" or num_cells_at_once() > 1:
        yield
        return
    with machine_lock(
        study=str(folder.cell.get("study_name", "")),
        store=str(folder.path.parent),
        mode="wait",
        on_wait=lambda holder: print(f"waiting for this machine: {holder}", file=sys.stderr),
    ):
        yield


def end_with(parent: int) -> None:
    """See to it that this process does not outlive the one that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died while we were born
