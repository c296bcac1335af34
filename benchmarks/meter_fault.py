"""What a fault of the meter is, and the small job that it strikes. The faults are in meter_faults_*.py."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kilowit.meter import Meter, read_ledger
from kilowit.meter.ledger import read_events
from kilowit.parts.sensor import ENERGY, Channel, Opening, Sweep
from kilowit.parts.sensors.nvml import NvmlSensor
from kilowit.parts.sensors.replay import Flaws, ReplaySensor, VirtualClock
from meter_fake_nvml import FakeNvml, replayed_gpu
from meter_traces import steps

ANSWER = 42
LEVEL = steps([(0.0, 100.0)])
ENVIRONMENT: dict[str, str] = {}


@dataclass(frozen=True)
class Outcome:
    """What a job under a broken meter returned, and what was told about the fault."""

    answer: int
    messages: list[str]


@dataclass(frozen=True)
class Fault:
    """One fault: what breaks, and words that some line must hold."""

    name: str
    inject: Callable[[Path], Outcome]
    told: str


FAULTS: list[Fault] = []


def fault(name: str, told: str) -> Callable[[Callable[[Path], Outcome]], Callable[[Path], Outcome]]:
    """Register a fault."""

    def register(inject: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
        FAULTS.append(Fault(name, inject, told))
        return inject

    return register


def told(folder: Path | None, meter: Meter | None = None) -> list[str]:
    """Return all messages of a ledger and of a result."""
    messages = list(meter.result.warnings) if meter is not None and meter.result is not None else []
    if folder is not None and (folder / "ledger.jsonl").is_file():
        events = [event for event in read_events(folder / "ledger.jsonl") if event is not None]
        messages += [event["message"] for event in events if event["event"] == "note"]
        messages += read_ledger(folder).warnings
    return messages


def run_job(
    folder: Path,
    sensor: Any,
    clock: VirtualClock | None = None,
    between: Callable[[], Any] = lambda: None,
    **options: Any,
) -> Outcome:
    """Run a job of two phases under a meter; `between` happens after the first."""
    moving = clock or VirtualClock()
    with Meter(folder, sensors=[sensor], period_second=None, clock=moving, **options) as meter:
        with meter.phase("one") as phase:
            moving.advance(1.0)
            phase.count(num_examples=1)
        between()
        for _ in range(3):
            moving.advance(1.0)
            meter.sample()
        with meter.phase("two"):
            moving.advance(1.0)
    assert meter.result is not None
    assert math.isclose(meter.result.total.wall_second, 5.0, abs_tol=0.01)
    return Outcome(ANSWER, told(folder, meter))


def gpu_sensor(clock: VirtualClock, **flaws: Any) -> tuple[NvmlSensor, Any]:
    """Return a sensor over one fake GPU of 100 W, and that GPU."""
    gpu = replayed_gpu(ReplaySensor(LEVEL, clock, flaws=Flaws(**flaws)))
    return NvmlSensor(FakeNvml([gpu]), ENVIRONMENT), gpu


class Broken:
    """A sensor of 50 W that breaks in a chosen call, in a chosen way."""

    name = "broken"
    may_hang = True
    components: tuple[Any, ...] = ("cpu",)

    def __init__(self, **breaks: Callable[[], Any]) -> None:
        self.breaks, self.num_reads = breaks, 0

    def open(self) -> Opening:
        """Open, or break."""
        self.breaks.get("open", lambda: None)()
        return Opening([Channel("broken:cpu", "counter", ENERGY, "cpu", "cpu", "rapl")])

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read, or break."""
        self.num_reads += 1
        value = self.breaks.get("read", lambda: 50.0 * self.num_reads)()
        return value if value is None else Sweep({"broken:cpu": value}, {})

    def close(self) -> None:
        """Close, or break."""
        self.breaks.get("close", lambda: None)()

    def describe(self) -> dict[str, Any]:
        """Describe."""
        return {"sensor": self.name}


def fail(error: BaseException) -> Callable[[], Any]:
    """Return a call that raises."""

    def raising() -> Any:
        raise error

    return raising


def hang(second: float) -> Callable[[], Any]:
    """Return a call that takes long."""
    return lambda: time.sleep(second)


def check(item: Fault, folder: Path) -> str | None:
    """Inject one fault; return what is wrong with the outcome, or None."""
    try:
        outcome = item.inject(folder)
    except Exception as error:  # the bar is that no fault gets here
        return f"job failed: {type(error).__name__}: {error}"
    if not any(item.told in message for message in outcome.messages):
        return f'no line says "{item.told}": {outcome.messages}'
    return None if outcome.answer == ANSWER else "wrong answer"
