"""Studies of `lead` alone, whose cells take a second each and can be made to idle: for executors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from kilowit.record import Record
from kilowit.store import RunFolder, Store
from worker_cells import write_pairs

STUDY = """
name: leads
models: [lead]
datasets: [{datasets}]
measure: {{idle_second: {idle}, cooldown_second: 0}}
metrics: [rouge]
executor: {executor}
"""
DATASET = (
    "{{name: local_files, path: {pairs}, test_fraction: 0.49, validation_fraction: 0.01, max_test_examples: {number}}}"
)
WAIT_SECOND = 60.0


def write_study(folder: Path, num_cells: int, *, executor: str, idle_second: float = 0.0) -> Path:
    """Write a study of so many cells; `executor` is YAML."""
    pairs = write_pairs(folder / "pairs.jsonl", 4 * num_cells + 40)
    datasets = ", ".join(DATASET.format(pairs=pairs, number=number) for number in range(1, num_cells + 1))
    path = folder / "study.yaml"
    path.write_text(STUDY.format(datasets=datasets, idle=idle_second, executor=executor), encoding="utf-8")
    return path


def command(study: Path, runs: Path, *more: str) -> list[str]:
    """Return the command that runs a study."""
    return [sys.executable, "-m", "kilowit", "run", str(study), "--store", str(runs), "--no-report", *more]


def environment(**more: str) -> dict[str, str]:
    """Return the variables for it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **more}


def start(words: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command that is going to be killed."""
    return subprocess.Popen(
        words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something has happened while a process runs."""
    end = time.monotonic() + WAIT_SECOND
    while not happened():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < end
        time.sleep(0.05)


def idling(store: Store) -> list[RunFolder]:
    """Return the runs that are in their idle phase, as the ledger at home says, and have been for a second."""
    return [f for f in store.unfinished() if f.ledger_path.exists() and '"sample"' in f.ledger_path.read_text()]


def assert_each_once(store: Store, num_cells: int) -> list[Record]:
    """Check that each cell has one finished record, that no run is open, and that all are on the bill; return them."""
    records = store.records()
    finished = Counter(record.cell_key for record in records if record.status == "finished")
    assert len(finished) == num_cells
    assert set(finished.values()) == {1}
    assert store.unfinished() == []
    # A driver that is killed between making a folder and writing what is asked leaves an empty one: nothing ran in it.
    assert len(records) == sum(folder.cell_path.exists() for folder in store.folders())
    return records
