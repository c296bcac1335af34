"""What every engine says while it trains, and what it must not pass over in silence."""

from __future__ import annotations

import math
import time
from typing import Any, Final

import torch

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


class LossLog:
    """The mean losses of the steps between logs; `losses` has them in order.

    On CUDA a log is read when the next one is taken: the device goes on with what was launched in between, where
    reading it at once would leave it idle until the host has made the next batch.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_cuda = device.type == "cuda"
        self.losses: list[float] = []
        self.num_summed = 0  # steps since the last log
        self._sum = torch.zeros((), device=device)  # of their losses; stays this tensor
        self._unread: tuple[int, int, Any, Any] | None = None  # number of the step, steps, sum on the host, its event

    def add(self, loss: Any) -> None:
        """Add the loss of a batch, its share of the step's mean."""
        self._sum += loss.detach()

    def clear(self) -> None:
        """Forget what was added since the last log."""
        self._sum.zero_()
        self.num_summed = 0

    def take(self, number: int) -> None:
        """Close the steps up to `number` in one log.

        Raises:
            CellFailure: the log that was read is not finite; on CUDA that is the one before.
        """
        self._read()
        if self.on_cuda:
            on_host = torch.empty((), pin_memory=True)
            on_host.copy_(self._sum, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._unread = (number, self.num_summed, on_host, event)
        else:
            self._unread = (number, self.num_summed, self._sum.clone(), None)
            self._read()
        self.clear()

    def finish(self, number: int) -> None:
        """Read all that is left, the steps since the last log among it."""
        if self.num_summed:
            self.take(number)
        self._read()

    def _read(self) -> None:
        if self._unread is None:
            return
        number, num_steps, total, event = self._unread
        self._unread = None
        if event is not None:
            event.synchronize()
        loss = float(total) / num_steps
        require_finite("loss", loss, number)
        self.losses.append(loss)


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
