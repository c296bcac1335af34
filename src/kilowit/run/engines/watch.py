"""What every engine says while it trains, and what it must not pass over in silence."""

from __future__ import annotations

import math
import time
from typing import Final

from kilowit.errors import CellFailure
from kilowit.run.engines.job import TrainJob

NUM_LOGS: Final = 100  # losses read from the device per run; each read waits for the device
PROGRESS_SECOND: Final = 0.5


class Progress:
    """Writes to the ledger, twice a second, how many steps are done."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.reported_at = -math.inf

    def report(self, step: int, num_steps: int, losses: list[float]) -> None:
        """Say that `step` steps are done, unless that was said a moment ago; the last is always said."""
        if step < num_steps and time.monotonic() - self.reported_at < PROGRESS_SECOND:
            return
        self.reported_at = time.monotonic()
        self.job.note(
            "progress",
            f"step {step} of {num_steps}",
            phase="train",
            step=step,
            num_steps=num_steps,
            loss=losses[-1] if losses else None,
        )


def require_finite(name: str, value: float, step: int) -> None:
    """End a run whose loss is not a number.

    Raises:
        CellFailure: kind ``divergence``.
    """
    if not math.isfinite(value):
        raise CellFailure(
            "divergence",
            f"{name} is {value} at step {step}",
            hint="Lower the learning rate, or train in fp32 or bf16.",
        )
