"""Large studies and stores: 1,000 cells read, expanded and planned; `kilowit status` over 10,000 runs.

    python benchmarks/study_scale.py [NUM_RUNS]

The timed parts run in processes of their own, from the start of Python; making the run folders is not timed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bars import Bar, at_most, report
from report_scale import make_store

NUM_RUNS = 10_000
STUDY = """
name: thousand
models: [{scratch: bart-tiny}, {scratch: bart-mini}, {scratch: t5-mini}, {scratch: bart-tiny, vocabulary_size: 5000}]
datasets: [{name: docstrings, max_train_examples: 100}, {name: docstrings, max_train_examples: 1000}]
recipes: {a: [], b: [bf16], c: [sortish], d: [bf16, sortish], e: [{freeze: {modules: [embeddings]}}]}
seeds: [%s]
"""
MAX_PLAN_SECOND, MAX_STATUS_SECOND = 2.0, 5.0


def main(num_runs: int) -> int:
    """Make, time, print; 1 when a bar is missed."""
    with tempfile.TemporaryDirectory(prefix="kilowit-study-scale-") as name:
        study, runs = Path(name) / "study.yaml", Path(name) / "runs"
        study.write_text(STUDY % ", ".join(map(str, range(25))), encoding="utf-8")
        checked = timed("check", str(study))
        planned = timed("plan", str(study), "--store", str(Path(name) / "none"))
        make_store(runs, num_runs)
        status = timed("status", "--store", str(runs))
    num_cells = checked.num_lines - 1
    bars = [Bar("cells", f"{num_cells:,}", ">= 1,000", num_cells >= 1000)]
    for what, taken, limit_second in (
        ("read and expanded (kilowit check)", checked, MAX_PLAN_SECOND),
        ("read, expanded and planned (kilowit plan)", planned, MAX_PLAN_SECOND),
        (f"status over {num_runs:,} runs", status, MAX_STATUS_SECOND),
    ):
        bars.append(at_most(what, taken.wall_second, limit_second, "s"))
        bars.append(at_most(f"{what}, processor time", taken.processor_second, limit_second, "s"))
    return report("large studies and stores", bars)


@dataclass(frozen=True)
class Taken:
    """What a verb took, from the start of Python, and how many lines it wrote."""

    wall_second: float
    processor_second: float
    num_lines: int


def timed(*arguments: str) -> Taken:
    """Run a verb in a process of its own."""
    begin, used = time.perf_counter(), _processor_second()
    ended = subprocess.run([sys.executable, "-m", "kilowit", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return Taken(time.perf_counter() - begin, _processor_second() - used, len(ended.stdout.splitlines()))


def _processor_second() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_RUNS))
