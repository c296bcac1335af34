"""A study killed by SIGKILL goes on where it was: real workers, real signals, real ledgers."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from kilowit.meter import read_ledger
from kilowit.store import Store

pytest.importorskip("rouge_score", reason="needs the training stack: pip install 'kilowit[train]'")


@pytest.fixture(scope="module")
def resume(repository: Path) -> ModuleType:
    """benchmarks/resume.py, which does the same in every phase."""
    spec = importlib.util.spec_from_file_location("resume", repository / "benchmarks" / "resume.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_resume_skips_finished_cell_and_bills_the_killed_one(resume: ModuleType, tmp_path: Path) -> None:
    study, runs = resume.write_study(tmp_path, [resume.LEAD]), tmp_path / "runs"
    idle = resume.kill_in_phase(study, runs, "idle", "worker")
    score = resume.kill_in_phase(study, runs, "score", "both")  # resumed to its end
    assert (idle.record.error_kind, idle.record.error_phase) == ("killed", "idle")
    assert (score.record.error_kind, score.record.error_phase) == ("lost", "score")
    for kill in (idle, score):
        assert resume.unbilled_second(kill) < 1.0
    store = Store(runs)
    assert [(r.attempt, r.status) for r in store.records()] == [(1, "failed"), (2, "failed"), (3, "finished")]
    for folder in store.folders():
        total = read_ledger(folder.ledger_path).total.energy_total_joule
        assert folder.record is not None
        assert sum(p.energy_total_joule or 0 for p in folder.record.phases) == pytest.approx(total)
    assert resume.run(study, runs) == 0
    assert len(store.folders()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["[]", "[bf16_weights, packing]"])  # one for each engine
def test_resume_after_a_kill_in_training_trains_anew_and_runs_lead_once(
    resume: ModuleType, recipe: str, tmp_path: Path
) -> None:
    study, runs = resume.write_study(tmp_path, recipe=recipe), tmp_path / "runs"
    train = resume.kill_in_phase(study, runs, "train", "worker")
    assert (train.record.error_kind, train.record.error_phase) == ("killed", "train")
    assert {"idle", "prepare", "load", "train"} <= {phase.phase for phase in train.record.phases}
    assert resume.unbilled_second(train) < 1.0
    assert resume.run(study, runs) == 0
    finished = [r.cell["model"] for r in Store(runs).records() if r.status == "finished"]
    assert len(finished) == 2
    assert resume.cells_finished_twice(Store(runs)) == []


def test_ctrl_c_ends_a_study_with_130_and_a_record(resume: ModuleType, tmp_path: Path) -> None:
    study, runs = resume.write_study(tmp_path, [resume.LEAD]), tmp_path / "runs"
    process = resume.start(study, runs)
    end = time.monotonic() + 60
    while not list(runs.glob("*/ledger.jsonl")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "state kept" in said
    (record,) = Store(runs).records()
    assert (record.status, record.error_kind) == ("interrupted", "interrupted")
