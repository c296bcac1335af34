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
        checked, num_lines = timed("check", str(study))
        planned, _ = timed("plan", str(study), "--store", str(Path(name) / "none"))
        make_store(runs, num_runs)
        status, _ = timed("status", "--store", str(runs))
    bars = [
        Bar("cells", f"{num_lines - 1:,}", ">= 1,000", num_lines - 1 >= 1000),
        at_most("read and expanded (kilowit check)", checked, MAX_PLAN_SECOND, "s"),
        at_most("read, expanded and planned (kilowit plan)", planned, MAX_PLAN_SECOND, "s"),
        at_most(f"status over {num_runs:,} runs", status, MAX_STATUS_SECOND, "s"),
    ]
    return report("large studies and stores", bars)


def timed(*arguments: str) -> tuple[float, int]:
    """Run a verb; return wall seconds from the start of Python, and how many lines it wrote."""
    begin, used = time.perf_counter(), _processor_second()
    ended = subprocess.run([sys.executable, "-m", "kilowit", *arguments], capture_output=True, text=True)
    second = time.perf_counter() - begin
    if ended.returncode:
        raise SystemExit(ended.stderr)
    print(f"kilowit {arguments[0]}: {second:.2f} s, of which processor {_processor_second() - used:.2f} s")
    return second, len(ended.stdout.splitlines())


def _processor_second() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_RUNS))
