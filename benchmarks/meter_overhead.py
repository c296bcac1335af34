"""What the meter itself costs: import, start, stop, memory, CPU; beside CodeCarbon and Zeus.

    python benchmarks/meter_overhead.py [--foreign PYTHON] [--second 30]

Each figure is taken in fresh processes; times are the best of several (other programs only add), memory and CPU the
median. PYTHON is an interpreter that has codecarbon and zeus; without it their rows say "not installed".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bars import Bar, at_most, report

NUM_PROCESSES = 7
NUM_CPU_PROCESSES = 3

PROBE = """
import json, os, sys, time
PAGE = os.sysconf("SC_PAGE_SIZE")
def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE / 1e6
second = float(sys.argv[1])
before_mb = resident_mb()
t0 = time.perf_counter()
{imports}
t1 = time.perf_counter()
{start}
t2 = time.perf_counter()
cpu_second = 0.0
if second:
    time.sleep(1.0)
    cpu, wall = time.process_time(), time.perf_counter()
    time.sleep(second)
    cpu_second = (time.process_time() - cpu) / (time.perf_counter() - wall)
{use}
mb = resident_mb() - before_mb
t3 = time.perf_counter()
{stop}
t4 = time.perf_counter()
print(json.dumps(dict(imported=t1 - t0, started=t2 - t1, stopped=t4 - t3, mb=mb, cpu_percent=100 * cpu_second)))
"""
TOOLS = {
    "kilowit": {
        "imports": "from kilowit import Meter",
        "start": "meter = Meter(sys.argv[2]).start()",
        "use": "with meter.phase('a'):\\n    with meter.phase('b'): time.sleep(0.01)",
        "stop": "meter.stop()",
    },
    "codecarbon": {
        "imports": "from codecarbon import OfflineEmissionsTracker",
        "start": "t = OfflineEmissionsTracker(country_iso_code='FRA', measure_power_secs=1, output_dir=sys.argv[2], "
        "log_level='critical', allow_multiple_runs=True); t.start()",
        "use": "pass",
        "stop": "t.stop()",
    },
    "zeus": {
        "imports": "from zeus.monitor import ZeusMonitor",
        "start": "z = ZeusMonitor(); z.begin_window('a', sync_execution=False)",
        "use": "pass",
        "stop": "z.end_window('a', sync_execution=False)",
    },
}


def probe(python: str, tool: str, second: float) -> dict[str, float] | None:
    """Run one fresh process; None if the tool is not installed there."""
    code = PROBE.format(**{name: text.replace("\\n", "\n") for name, text in TOOLS[tool].items()})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-c", code, str(second), folder]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)
    if done.returncode != 0:
        if tool == "kilowit":
            raise RuntimeError(done.stderr)
        return None
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def summary(python: str, tool: str, second: float) -> dict[str, float] | None:
    """Return the best times and the median memory and CPU of a tool."""
    probe(python, tool, 0.0)  # writes the byte code
    runs = [run for _ in range(NUM_PROCESSES) if (run := probe(python, tool, 0.0))]
    longer = [run for _ in range(NUM_CPU_PROCESSES) if runs and (run := probe(python, tool, second))]
    if not runs or not longer:
        return None
    best = {name: min(run[name] for run in runs) for name in ("imported", "started", "stopped")}
    return {
        **best,
        "mb": statistics.median(run["mb"] for run in runs),
        "cpu_percent": statistics.median(run["cpu_percent"] for run in longer),
    }


def main() -> int:
    """Run, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--foreign", metavar="PYTHON", help="interpreter that has codecarbon and zeus")
    parser.add_argument("--second", type=float, default=20.0, help="how long CPU is measured, three times")
    arguments = parser.parse_args()
    ours = summary(sys.executable, "kilowit", arguments.second)
    assert ours is not None
    others = {
        tool: summary(arguments.foreign, tool, arguments.second) if arguments.foreign else None
        for tool in ("codecarbon", "zeus")
    }
    rows = [("import", "imported", "s"), ("start", "started", "s"), ("stop", "stopped", "s"), ("RSS", "mb", "MB")]
    bars = [
        at_most("import", ours["imported"], 0.15, "s"),
        at_most("start", ours["started"], 0.05, "s"),
        at_most("stop with results", ours["stopped"], 0.02, "s", 4),
        at_most("RSS added", ours["mb"], 10.0, "MB", 1),
        at_most("CPU at 1 Hz, of one core", ours["cpu_percent"], 0.1, "%"),
    ]
    for tool, measured in others.items():
        for what, key, unit in [*rows, ("CPU", "cpu_percent", "%")]:
            text = "not installed" if measured is None else f"{measured[key]:.3f} {unit}"
            bars.append(Bar(f"{tool}: {what}", text, "", None))
    return report("What the meter costs", bars)


if __name__ == "__main__":
    sys.exit(main())
