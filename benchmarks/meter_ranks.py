"""Several ranks of one job on one node: is the node booked exactly once?

    python benchmarks/meter_ranks.py

N processes, each with LOCAL_RANK and the job's address as a launcher sets them, start a meter over the same fake GPU
and CPU at the same moment. The sum of what they book must be what the node used while they ran: once, for any N.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bars import Bar, report

NUM_RANKS = (1, 2, 4, 8)
BAR_FRACTION = 0.005
SECOND = 1.2
GPU_WATT, CPU_WATT = 300.0, 90.0

RANK = """
import json, sys, time
from pathlib import Path
from kilowit.meter import Meter
from kilowit.parts.sensors.replay import ReplaySensor, Trace
folder, ready = Path(sys.argv[1]), Path(sys.argv[2])
level = lambda watt: Trace.from_power([0.0, 1e9], [watt, watt])
sensors = [
    ReplaySensor(level({gpu}), time.monotonic, component="gpu", device="GPU-0"),
    ReplaySensor(level({cpu}), time.monotonic, component="cpu", device="package-0", source="rapl"),
]
(ready / str(time.monotonic_ns())).touch()
while len(list(ready.iterdir())) < int(sys.argv[3]):
    time.sleep(0.002)
with Meter(folder, sensors=sensors, period_second=0.2, lock_folder=Path(sys.argv[4])) as meter, meter.phase("train"):
    time.sleep({second})
total = meter.result.total
print(json.dumps([total.wall_second, total.energy_gpu_joule, total.energy_cpu_joule, total.energy_gpu_source]))
"""


def run_ranks(num_ranks: int, folder: Path, second: float = SECOND) -> list[tuple[float, float, float, str]]:
    """Run N ranks side by side; return (wall_second, gpu joules, cpu joules, gpu source) of each."""
    ready, locks = folder / "ready", folder / "locks"
    ready.mkdir()
    script = RANK.format(gpu=GPU_WATT, cpu=CPU_WATT, second=second)
    processes = []
    for rank in range(num_ranks):
        environment = {**os.environ, "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": folder.name}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", script, str(folder / str(rank)), str(ready), str(num_ranks), str(locks)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    results = []
    for process in processes:
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"a rank ended with {process.returncode}"
        wall_second, gpu_joule, cpu_joule, source = json.loads(printed)
        results.append((wall_second, gpu_joule or 0.0, cpu_joule or 0.0, source))
    return results


def times_booked(results: list[tuple[float, float, float, str]]) -> tuple[float, float]:
    """Return how many times the GPU and the CPU were booked: all joules over those of one reader's time."""
    gpu_second = max(r[0] for r in results if r[1] > 0)
    cpu_second = max(r[0] for r in results if r[2] > 0)
    return sum(r[1] for r in results) / (GPU_WATT * gpu_second), sum(r[2] for r in results) / (CPU_WATT * cpu_second)


def main() -> int:
    """Run, print, and return 1 if a bar is missed."""
    bars = []
    for num_ranks in NUM_RANKS:
        with tempfile.TemporaryDirectory() as folder:
            results = run_ranks(num_ranks, Path(folder))
        gpu_times, cpu_times = times_booked(results)
        num_silent = sum(source == "none:other_rank" for *_, source in results)
        is_once = max(abs(gpu_times - 1), abs(cpu_times - 1)) <= BAR_FRACTION and num_silent == num_ranks - 1
        text = f"gpu x{gpu_times:.4f} cpu x{cpu_times:.4f}"
        bars.append(Bar(f"{num_ranks} ranks, {num_silent} of them none:other_rank", text, "x1 (+-0.5 %)", is_once))
    return report("Times that the node is booked", bars)


if __name__ == "__main__":
    sys.exit(main())
