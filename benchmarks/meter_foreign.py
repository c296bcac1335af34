"""Score CodeCarbon or Zeus on the traces; run by meter_replay.py with the Python of an environment that has them.

    PYTHON benchmarks/meter_foreign.py codecarbon|zeus        prints one JSON line: scenario -> joules per window

The real package reads a real ``pynvml`` whose functions replay the trace. Time is virtual: clocks are replaced before
the package is imported, and CodeCarbon's measurement, which its timer calls once a second, is called once a virtual
second in its place (its timer runs on real time, of which none passes).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kilowit.parts.sensors.replay import ReplaySensor, VirtualClock
from meter_fake_nvml import FakeGpu, install, replayed_gpu
from meter_traces import WINDOWS_SECOND, Scenario, scenarios

JOULE_PER_KWH = 3_600_000


def main() -> None:
    """Print the joules of every window of every scenario."""
    tool = sys.argv[1]
    clock = VirtualClock()

    def tell_time() -> float:
        clock.advance(1e-7)  # a clock that stands still divides by zero
        return clock()

    time.time = time.perf_counter = time.monotonic = tell_time
    put_nvidia_smi_on_path()
    import pynvml

    gpu = FakeGpu("GPU-11111111-aaaa", joule=None, watt=None)
    install(pynvml, gpu)
    joules: dict[str, list[float]] = {}
    for scenario in scenarios():
        clock.second = 0.0
        replayed = replayed_gpu(ReplaySensor(scenario.trace, clock, flaws=scenario.flaws))
        gpu.joule, gpu.watt = replayed.joule, replayed.watt
        noise = io.StringIO()
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            measure = {"codecarbon": measure_codecarbon, "zeus": measure_zeus}[tool]
            joules[scenario.name] = measure(scenario, clock)
    print(json.dumps(joules))


def put_nvidia_smi_on_path() -> None:
    """Let CodeCarbon believe that there is an NVIDIA driver: it asks for this program."""
    folder = Path(tempfile.mkdtemp())
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def measure_codecarbon(scenario: Scenario, clock: VirtualClock) -> list[float]:
    """Measure each window as a task of one tracker."""
    from codecarbon import OfflineEmissionsTracker

    logging.disable(logging.CRITICAL)
    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA", measure_power_secs=3600, save_to_file=False, log_level="critical",
        output_dir=tempfile.gettempdir(), allow_multiple_runs=True,
    )  # fmt: skip
    joules = []
    for number, (start_second, end_second) in enumerate(WINDOWS_SECOND):
        clock.second = start_second
        tracker.start_task(str(number))
        while clock.second + 1.0 < end_second:
            clock.advance(1.0)
            tracker._measure_power_and_energy()
        clock.second = end_second
        joules.append(float(tracker.stop_task(str(number)).gpu_energy) * JOULE_PER_KWH)
    return joules


def measure_zeus(scenario: Scenario, clock: VirtualClock) -> list[float]:
    """Measure each window by the monitor's own windows."""
    import zeus.device.gpu as gpu_module
    from zeus.monitor import ZeusMonitor

    gpu_module._gpus = None  # a fresh look at the devices
    monitor: Any = ZeusMonitor(gpu_indices=[0], cpu_indices=[])
    joules = []
    for number, (start_second, end_second) in enumerate(WINDOWS_SECOND):
        clock.second = start_second
        monitor.begin_window(str(number), sync_execution=False)
        clock.second = end_second
        joules.append(float(sum(monitor.end_window(str(number), sync_execution=False).gpu_energy.values())))
    return joules


if __name__ == "__main__":
    main()
