"""Energy error on replayed traces, beside CodeCarbon and Zeus on the same traces.

    python benchmarks/meter_replay.py [--foreign PYTHON]

PYTHON is an interpreter that has codecarbon and zeus (pip install codecarbon zeus); without it their columns say
"not installed". A cell is the worst window's error over the bar's allowance (0.5 % of the truth plus one tick), and
its error in percent: up to 1.00 meets the bar. The last rows are devices without a counter, whose power sensor sees a
quarter of the time: there the bar is that the stated interval contains the truth in 95 % of the windows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bars import Bar, report
from kilowit.meter import Meter
from kilowit.parts.sensors.replay import ReplaySensor, VirtualClock
from kilowit.record import PhaseFigures
from meter_traces import TRACE_SECOND, WINDOWS_SECOND, Scenario, duty_scenario, scenarios

NUM_DUTY_TRACES = 200
COVERAGE_BAR = 0.95
SAMPLE_SECOND = 0.9  # mean interval of the meter's sampler at a period of 1 s


def measure(scenario: Scenario) -> list[PhaseFigures]:
    """Meter every window of a scenario as a phase, sampling once a second of virtual time."""
    clock = VirtualClock()
    sensor = ReplaySensor(scenario.trace, clock, flaws=scenario.flaws, has_counter=scenario.has_counter)
    moments = [i * SAMPLE_SECOND for i in range(1, int(TRACE_SECOND / SAMPLE_SECOND))]
    figures: list[PhaseFigures] = []
    with Meter(sensors=[sensor], period_second=None, clock=clock) as meter:
        for start_second, end_second in WINDOWS_SECOND:
            _sample_until(meter, clock, moments, start_second)
            with meter.phase("window") as phase:
                _sample_until(meter, clock, moments, end_second)
            assert phase.result is not None
            figures.append(phase.result)
    return figures


def _sample_until(meter: Meter, clock: VirtualClock, moments: list[float], until_second: float) -> None:
    while moments and moments[0] < until_second:
        clock.second = moments.pop(0)
        meter.sample()
    clock.second = until_second


def worst(scenario: Scenario, joules: list[float | None]) -> tuple[float, float]:
    """Return the worst window: error over allowance, error in percent."""
    scores = []
    for (start_second, end_second), joule in zip(WINDOWS_SECOND, joules, strict=True):
        truth_joule = scenario.truth_joule(start_second, end_second)
        error_joule = abs((joule or 0.0) - truth_joule)
        scores.append(
            (error_joule / scenario.allowance_joule(start_second, end_second), 100 * error_joule / truth_joule)
        )
    return max(scores)


def coverage(num_traces: int) -> tuple[float, float]:
    """Return the share of windows whose interval holds the truth, and the mean half-width as a share of the value."""
    num_windows = num_inside = 0
    width_sum = 0.0
    for number in range(num_traces):
        scenario = duty_scenario(number)
        for window, figures in zip(WINDOWS_SECOND, measure(scenario), strict=True):
            low, high, joule = figures.energy_gpu_joule_low, figures.energy_gpu_joule_high, figures.energy_gpu_joule
            assert low is not None and high is not None and joule
            num_windows += 1
            num_inside += low <= scenario.truth_joule(*window) <= high
            width_sum += (high - low) / 2 / joule
    return num_inside / num_windows, width_sum / num_windows


def foreign_joules(python: str | None, tool: str) -> dict[str, list[float]] | None:
    """Let another tool measure the same windows; None if it is not installed there."""
    if python is None:
        return None
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here), str(here.parent / "src")])
    command = [python, str(here / "meter_foreign.py"), tool]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
    if done.returncode != 0:
        print(f"{tool}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}", file=sys.stderr)
        return None
    joules: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return joules


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--foreign", metavar="PYTHON", help="interpreter that has codecarbon and zeus")
    foreign = parser.parse_args().foreign
    others = {tool: foreign_joules(foreign, tool) for tool in ("codecarbon", "zeus")}
    print("Worst window: error / allowance (error %). Allowance: 0.5 % of the truth + one tick.\n")
    print(f"  {'trace':<22}{'kilowit':>20}{'codecarbon':>22}{'zeus':>22}")
    bars = []
    for scenario in scenarios():
        ours = worst(scenario, [figures.energy_gpu_joule for figures in measure(scenario)])
        cells = [_cell(worst(scenario, list(j[scenario.name])) if j else None) for j in others.values()]
        print(f"  {scenario.name:<22}{_cell(ours):>20}{cells[0]:>22}{cells[1]:>22}")
        bars.append(Bar(scenario.name, _cell(ours), "<= 1", ours[0] <= 1.0))
    inside, half_width = coverage(NUM_DUTY_TRACES)
    text = f"{100 * inside:.1f} % (+-{100 * half_width:.0f} %)"
    bars.append(Bar(f"25 % duty, {NUM_DUTY_TRACES} traces: inside", text, ">= 95 %", inside >= COVERAGE_BAR))
    return report("kilowit against its bars", bars)


def _cell(score: tuple[float, float] | None) -> str:
    return "not installed" if score is None else f"{score[0]:.2f} ({score[1]:.2f} %)"


if __name__ == "__main__":
    sys.exit(main())
