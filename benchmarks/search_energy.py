"""Does a cleverer search reach a grid's quality for fewer joules? Four searches on one real tuning task, on this CPU.

    python benchmarks/search_energy.py FOLDER [NUM_REPEATS]

A BART of two layers is trained from scratch on docstrings of this Python, with one learning rate and one batch size to
be found; the objective is the validation loss. FOLDER keeps the runs (a killed benchmark goes on) and the report. Cells
run one after another in this process, by the code of `kilowit worker`: what importing torch takes is not on any bill
but the first, which is a cell of its own. There is no bar: the verdict is published whatever it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

from kilowit.report import write_report
from kilowit.report.searches import SearchGroup, equal_quality, search_groups
from kilowit.run import worker
from kilowit.run.coordinator import run_study
from kilowit.run.progress import PlainProgress
from kilowit.statistics.interval import Interval
from kilowit.store import Store
from kilowit.study import Study

NUM_REPEATS = 3
STUDY = """
name: %s
models: [{scratch: bart-tiny, vocabulary_size: 600}]
datasets: [{name: docstrings, max_train_examples: 160, max_validation_examples: 48, max_test_examples: 48}]
seeds: %s
train: {num_epochs: 2, batch_size: 8, schedule: constant, max_source_tokens: 48, max_target_tokens: 16}
predict: {num_beams: 1, max_new_tokens: 8}
measure: {idle_second: 0, cooldown_second: 0, period_second: 0.25, order: listed}
"""
SEARCH = """
search:
  algorithm: %s
  objective: validation_loss
  num_trials: %d
  options: %s
  space: {train.learning_rate: {log_uniform: [1.0e-5, 1.0e-1]}, train.batch_size: {choice: [8, 16]}}
"""
SEARCHES = {
    "grid": (8, "{num_points: 4}"),
    "tpe": (8, "{num_startup_trials: 4}"),
    "asha": (12, "{num_rungs: 3, reduction_factor: 2}"),
    "pbt": (12, "{population: 4, num_intervals: 3}"),
}


class _Done:
    """A cell that has been run."""

    def poll(self) -> int | None:
        return 0

    def terminate(self) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It has ended."""


class InThisProcess:
    """Runs a cell by the code of ``kilowit worker``, without a process of its own."""

    name, num_at_once, is_here, num_gpus = "this process", 1, True, None

    def start(self, folder: Path, *, inherited: Sequence[int] = ()) -> _Done:
        """Run it to its end."""
        worker.main(folder)
        return _Done()

    def adopt(self, folder: Path) -> None:
        """Nothing outlives this process."""

    def close(self) -> None:
        """Nothing is held."""


def main(folder: Path, num_repeats: int) -> int:
    """Warm up, search, report, compare."""
    seeds = list(range(num_repeats))
    run(STUDY % ("first-cell", [99]), Store(folder / "first"))
    store = Store(folder / "runs")
    for algorithm, (num_trials, options) in SEARCHES.items():
        run(STUDY % (algorithm, seeds) + SEARCH % (algorithm, num_trials, options), store)
    files = write_report(store.records(), folder / "report", title="grid, tpe, asha, pbt: quality against energy")
    print(f"\n{files.markdown}")
    groups = search_groups(store.records())
    grid = next(group for group in groups if group.algorithm == "grid")
    for group in groups:
        print(line(group, grid))
    return 0


def run(text: str, store: Store) -> None:
    """Run one study."""
    run_study(Study.parse(text), store, progress=PlainProgress(), executor=InThisProcess())


def line(group: SearchGroup, grid: SearchGroup) -> str:
    """Say what one search did against the grid."""
    parts = [f"{group.algorithm:<5} best {shown(group.best())}"]
    for what in ("energy_joule", "flop"):
        ratio, num_missed = equal_quality(group, grid, what)
        parts.append(f"{what} to the grid's best / the grid's: {shown(ratio)}, never in {num_missed}")
    return "; ".join(parts)


def shown(interval: Interval | None) -> str:
    """Write a value with its interval."""
    if interval is None:
        return "-"
    ends = "" if interval.low is None or interval.high is None else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{interval.value:.3f}{ends} (n = {interval.num_repeats})"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else NUM_REPEATS))
