"""Searches with real run folders and workers that compute a score from their cell instead of training."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from kilowit.cell import Cell
from kilowit.factors import JOULE_PER_KWH
from kilowit.record import PhaseFigures, Record, Score
from kilowit.run.budget import Forecast
from kilowit.run.coordinator import run_study
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import PlainProgress
from kilowit.run.session import RunOptions
from kilowit.store import RunFolder, Store
from kilowit.study import Study

BEST_RATE = 1e-4
MAX_BATCH = 16  # larger ones run out of memory
STUDY = """
name: tuned
models: [{scratch: bart-tiny}]
datasets: [docstrings]
seeds: [0]
train: {num_epochs: 9, schedule: constant}
measure: {idle_second: 0, cooldown_second: 0}
search:
  algorithm: %s
  space: {train.learning_rate: {log_uniform: [1.0e-6, 1.0e-2]}, train.batch_size: {choice: [8, 16, 32]}}
  objective: %s
  num_trials: %d
  options: %s
"""


def study(
    algorithm: str, *overrides: str, num_trials: int = 8, options: str = "{}", objective: str = "rouge2"
) -> Study:
    return Study.parse(STUDY % (algorithm, objective, num_trials, options), overrides=overrides)


def outcome_of(cell: Cell, folder: RunFolder) -> Record:
    """A record whose score is highest at one learning rate, and rises with the training that the model has had."""
    train = cell.settings.train
    joule = train.num_epochs / 9 * JOULE_PER_KWH * 0.01
    trained = float((folder.path / "had").read_text()) if (folder.path / "had").exists() else 0.0
    trained += train.num_epochs / 9
    if cell.settings.measure.keep_model:
        folder.model_path.mkdir()
        (folder.model_path / "config.json").write_text('{"model_type": "bart"}')
        (folder.model_path / "weights").write_text(f"{trained} {folder.run_id}")
    is_out_of_memory = train.batch_size > MAX_BATCH
    value = 0.3 - 0.02 * (math.log10(train.learning_rate) - math.log10(BEST_RATE)) ** 2 - 0.1 * (1 - min(trained, 1))
    if cell.settings.predict.split == "test":
        value -= 0.01
    score = Score(metric="rouge2", value=value, ci95_low=None, ci95_high=None, num_examples=50, signature="rouge")
    return Record(
        run_id=folder.run_id, cell_key=folder.cell_key, study_name=cell.study_name, attempt=folder.attempt,
        status="failed" if is_out_of_memory else "finished",
        error_kind="out_of_memory_gpu" if is_out_of_memory else None,
        started_at_utc="2026-11-23T10:00:00Z", ended_at_utc="2026-11-23T10:00:01Z", cell=folder.cell, environment={},
        phases=[
            PhaseFigures(phase="load", wall_second=0.1, energy_total_joule=joule / 50),
            PhaseFigures(phase="train", wall_second=train.num_epochs, energy_total_joule=joule),
            *([PhaseFigures(phase="save", wall_second=0.1, energy_total_joule=joule / 100)]
              if cell.settings.measure.keep_model else []),
        ],
        scores=[] if is_out_of_memory else [score],
    )  # fmt: skip


class _Job:
    def poll(self) -> int | None:
        return 0

    def terminate(self) -> None:
        pass

    def kill(self) -> None:
        pass


class Executor:
    """Runs cells by arithmetic, at once; `before` may raise to stand for a kill of the study between two cells."""

    name, num_at_once, is_here, num_gpus = "arithmetic", 1, True, None

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        self.before, self.num_started = before, 0

    def adopt(self, folder: Path) -> None:
        pass

    def close(self) -> None:
        pass

    def start(self, path: Path, *, inherited: Sequence[int] = ()) -> _Job:
        folder = RunFolder(path)
        self.before(self.num_started)
        self.num_started += 1
        cell = Cell.from_dict(folder.cell)
        if "folder" in cell.model:
            had = Path(cell.model["folder"], "weights").read_text().split()[0]
            (folder.path / "had").write_text(had)
        folder.write_record(outcome_of(cell, folder))
        return _Job()


def run(
    asked: Study, store: Store, executor: Executor | None = None, forecast: Forecast | None = None
) -> tuple[StudyOutcome, str]:
    """Run a study; return the outcome and what the person was told."""
    stream = io.StringIO()
    outcome = run_study(
        asked, store, progress=PlainProgress(stream), options=RunOptions(min_free_byte=0),
        executor=executor or Executor(), forecast=forecast,
    )  # fmt: skip
    return outcome, stream.getvalue()


def trials(store: Store, role: str = "trial") -> list[Record]:
    """The records of one role, by trial."""
    found = [record for record in store.records() if record.cell.get("search", {}).get("role") == role]
    return sorted(found, key=lambda record: record.cell["search"]["trial"])
