"""Nested phases: do leaves and gaps add up to the total, and does the file say the same as the memory?

    python benchmarks/meter_nested.py

A random program of nested phases runs over ticking, wrapping, resetting devices in virtual time, with a ledger.
"""

from __future__ import annotations

import dataclasses
import math
import random
import sys
import tempfile
from pathlib import Path

from bars import Bar, report
from kilowit.meter import Meter, MeterResult, read_ledger
from kilowit.parts.sensors.replay import Flaws, ReplaySensor, VirtualClock
from kilowit.record import PhaseFigures
from meter_traces import scenarios, square, wave

CLOSURE_BAR_FRACTION = 0.001
RECOMPUTE_BAR_FRACTION = 1e-12
NUM_PROGRAMS = 40
NAMES = ("prepare", "train", "validate", "predict", "score")


@dataclasses.dataclass(frozen=True)
class Program:
    """What one random program left: its result, its outermost phases, and the joules that its CPU truly used."""

    result: MeterResult
    outermost: list[PhaseFigures]
    cpu_truth_joule: float


def run_program(seed: int, folder: Path | None) -> Program:
    """Run one random program of nested phases."""
    chance = random.Random(seed)
    clock = VirtualClock()
    scenario = chance.choice(scenarios())
    sensors = [
        ReplaySensor(scenario.trace, clock, flaws=scenario.flaws, device="gpu-0"),
        ReplaySensor(square(3.1), clock, flaws=Flaws(0.1), device="gpu-1"),
        ReplaySensor(wave(), clock, component="cpu", device="package-0", has_power=False, source="rapl"),
    ]
    outermost: list[PhaseFigures] = []
    with Meter(folder, sensors=sensors, period_second=None, clock=clock) as meter:
        while clock() < 55:
            _pass_time(meter, clock, chance)
            outermost += _nest(meter, clock, chance, depth=chance.randint(1, 4))
    assert meter.result is not None
    return Program(meter.result, outermost, wave().joule_at(clock()))


def _nest(meter: Meter, clock: VirtualClock, chance: random.Random, depth: int) -> list[PhaseFigures]:
    with meter.phase(chance.choice(NAMES)) as phase:
        _pass_time(meter, clock, chance)
        for _ in range(chance.randint(0, 3) if depth > 1 else 0):
            _nest(meter, clock, chance, depth - 1)
            _pass_time(meter, clock, chance)
    assert phase.result is not None
    return [phase.result]


def _pass_time(meter: Meter, clock: VirtualClock, chance: random.Random) -> None:
    clock.advance(chance.choice((0.0, 0.02, 0.3, 1.1)) * chance.random())
    if chance.random() < 0.5:
        meter.sample()


def closure(result: MeterResult) -> float:
    """Return how far leaves + gaps are from the total, as a share of it."""
    return _apart(math.fsum(phase.energy_total_joule or 0.0 for phase in result.phases), result)


def closure_with_truth(program: Program) -> float:
    """Return how far leaves + gaps of an exact counter are from what it counted, as a share of it."""
    leaves_joule = math.fsum(phase.energy_cpu_joule or 0.0 for phase in program.result.phases)
    return abs(leaves_joule - program.cpu_truth_joule) / program.cpu_truth_joule


def closure_of_outermost(result: MeterResult, outermost: list[PhaseFigures]) -> float:
    """Return how far the outermost phases, nested ones included, + gap are from the total, as a share of it.

    Where readings failed at an edge, a phase's own result is provisional; such programs are left out.
    """
    if any("gap in the trace" in warning for warning in result.warnings):
        return 0.0
    gap = result.phase("gap")
    assert gap is not None
    outer_joule = math.fsum(phase.energy_total_joule or 0.0 for phase in outermost)
    return _apart(outer_joule + (gap.energy_total_joule or 0.0), result)


def _apart(joule: float, result: MeterResult) -> float:
    total_joule = result.total.energy_total_joule
    assert total_joule is not None
    return abs(joule - total_joule) / total_joule


def difference(result: MeterResult, again: MeterResult) -> float:
    """Return the largest relative difference of any number in two results; infinite if anything else differs."""
    worst = 0.0
    for ours, theirs in zip((*result.phases, result.total), (*again.phases, again.total), strict=True):
        for field in dataclasses.fields(ours):
            a, b = getattr(ours, field.name), getattr(theirs, field.name)
            if isinstance(a, float) and isinstance(b, float):
                worst = max(worst, abs(a - b) / max(abs(a), 1e-300) if a != b else 0.0)
            elif a != b:
                return math.inf
    return worst


def main() -> int:
    """Run, print, and return 1 if a bar is missed."""
    worst_closure = worst_outer = worst_difference = 0.0
    for seed in range(NUM_PROGRAMS):
        with tempfile.TemporaryDirectory() as folder:
            program = run_program(seed, Path(folder))
            worst_closure = max(worst_closure, closure(program.result), closure_with_truth(program))
            worst_outer = max(worst_outer, closure_of_outermost(program.result, program.outermost))
            worst_difference = max(worst_difference, difference(program.result, read_ledger(Path(folder))))
    return report(
        f"{NUM_PROGRAMS} random programs of nested phases, worst of all",
        [
            Bar("|leaves + gaps - total| / total", f"{worst_closure:.1e}", "<= 0.001",
                worst_closure <= CLOSURE_BAR_FRACTION),
            Bar("|outermost + gap - total| / total", f"{worst_outer:.1e}", "<= 0.001",
                worst_outer <= CLOSURE_BAR_FRACTION),
            Bar("recomputed from the file", f"{worst_difference:.1e}", "<= 1e-12",
                worst_difference <= RECOMPUTE_BAR_FRACTION),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
