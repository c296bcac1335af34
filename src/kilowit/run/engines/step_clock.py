"""Where the time of training goes: data, forward, backward, replay, optimizer; without ever waiting for the device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

PARTS: Final = ("data", "forward", "backward", "replay", "optimizer")  # replay: a recorded forward and backward


class StepClock:
    """Adds up the seconds of the parts that steps have: by the wall on a CPU, by events of the stream on CUDA.

    A part that makes data is timed by the wall everywhere: it is the host's work, hidden behind the device's or not.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_cuda = device.type == "cuda"
        self.wall_seconds: defaultdict[str, float] = defaultdict(float)
        self.events: list[tuple[str, Any, Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block as a part of the step."""
        if self.on_cuda and name != "data":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self.events.append((name, begin, end))
            return
        began = time.perf_counter()
        yield
        self.wall_seconds[name] += time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part as ``<part>_second``; waits for the device."""
        total = dict(self.wall_seconds)
        if self.events:
            torch.cuda.synchronize()
        for name, begin, end in self.events:
            total[name] = total.get(name, 0.0) + begin.elapsed_time(end) / 1000
        return {f"{name}_second": round(total.get(name, 0.0), 4) for name in PARTS if name in total}
