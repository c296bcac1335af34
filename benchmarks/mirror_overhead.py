"""What a live mirror costs a run: its processor time while the run is on, and the run's time with and without it.

    python benchmarks/mirror_overhead.py [--pairs 3] [--steps 400]

The run is a training of bart-tiny on this machine, mirrored to an SQLite database. Runs with and without a mirror take
turns. The bar is on the processor time of the mirror's process between the run's first and last moment, as a share of
the run's time: that is the most that it can take from a run on a machine with one processor. The times themselves vary
by more than a mirror costs, so that their ratios come with an interval and have no bar.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bars import Bar, at_most, report
from kilowit.record import Record
from kilowit.statistics.means import mean_interval
from kilowit.store import Store

MAX_SHARE_PERCENT = 1.0
LOOK_SECOND = 0.25
REPOSITORY = Path(__file__).resolve().parents[1]
STUDY = """
name: mirrored
models: [{{scratch: bart-tiny, vocabulary_size: 2000}}]
datasets: [{{name: docstrings, max_train_examples: 800, max_validation_examples: 20, max_test_examples: 40}}]
train: {{num_steps: {steps}, batch_size: 8, max_source_tokens: 128, max_target_tokens: 32}}
predict: {{num_beams: 1, max_new_tokens: 16}}
measure: {{idle_second: 1, cooldown_second: 0}}
"""


@dataclass(frozen=True)
class Measured:
    """One run: its time, its worker's processor time, and the mirror's, while the run was on and in all."""

    second: float
    worker_cpu_second: float
    live_cpu_second: float
    whole_cpu_second: float


def run(folder: Path, steps: int, *, is_mirrored: bool) -> Measured:
    """Run the study once in a folder of its own."""
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY.format(steps=steps), encoding="utf-8")
    command = [sys.executable, "-m", "kilowit", "run", "study.yaml", "--no-report"]
    command += ["--mirror", f"sqlite:///{folder / 'mlflow.db'}"] if is_mirrored else []
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "KILOWIT_LOCK": str(folder / "lock")}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    first = last = whole = worker = 0.0
    while process.poll() is None:
        worker = cpu_second_of(process.pid, "worker") or worker
        taken = cpu_second_of(process.pid, "kilowit.mirror")
        if taken is not None:
            whole = taken
            if not list(folder.glob("runs/*/environment.json")):
                first = taken
            if not list(folder.glob("runs/*/record.json")):
                last = taken
        time.sleep(LOOK_SECOND)
    (record,) = Store(folder / "runs").records()
    assert record.status == "finished" and not [w for w in record.warnings if w.startswith("mirror:")], record.warnings
    return Measured(second_of(record), worker, max(0.0, last - first), whole)


def cpu_second_of(pid: int, word: str) -> float | None:
    """Return the processor time of the child whose command has a word, or None while there is none."""
    try:
        for child in psutil.Process(pid).children():
            if word in child.cmdline():
                times = child.cpu_times()
                return float(times.user + times.system)
    except psutil.Error:
        return None  # it ended just now
    return None


def text_of(ratios: Sequence[float]) -> str:
    """Write a mean with its 95 % interval."""
    mean = mean_interval(ratios)
    return f"{mean.value:.3f}" + ("" if mean.low is None else f" [{mean.low:.3f}, {mean.high:.3f}]")


def second_of(record: Record) -> float:
    """Return the time of a run but its idle baseline."""
    return sum(phase.wall_second for phase in record.phases if phase.phase != "idle")


def main() -> int:
    """Run, print, and return 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    ratios, worker_ratios, shares, wholes, seconds = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.pairs):
            order = (True, False) if number % 2 else (False, True)
            found = {m: run(Path(name) / f"{number}-{m}", arguments.steps, is_mirrored=m) for m in order}
            ratios.append(found[True].second / found[False].second)
            worker_ratios.append(found[True].worker_cpu_second / found[False].worker_cpu_second)
            shares.append(100 * found[True].live_cpu_second / found[True].second)
            wholes.append(found[True].whole_cpu_second)
            seconds.append(found[True].second)
    return report(
        f"A live mirror, {arguments.pairs} pairs of runs of {sum(seconds) / len(seconds):.0f} s",
        [
            at_most("mirror's processor time, of the run's", max(shares), MAX_SHARE_PERCENT, "%"),
            Bar("worker's processor time, with / without", text_of(worker_ratios), "", None),
            Bar("run's time, with / without", text_of(ratios), "", None),
            Bar("mirror's processor time, import to end", f"{sum(wholes) / len(wholes):.2f} s", "", None),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
