"""Cells that cannot be finished: a record with the kind, the phase and the bill all the same."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import worker_cells
from kilowit.errors import StoreError
from kilowit.record import Record
from kilowit.run import phases, worker
from kilowit.store import RunFolder

WORKER = [sys.executable, "-c", "import sys; from pathlib import Path; from kilowit.run import worker; "
          "sys.exit(worker.main(Path(sys.argv[1])))"]  # fmt: skip


def spent_second(record: Record) -> float:
    return sum(figures.wall_second for figures in record.phases)


def wait_for(folder: RunFolder, words: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the ledger says `words`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if folder.ledger_path.exists() and words in folder.ledger_path.read_text(encoding="utf-8"):
            return
        time.sleep(0.05)
    raise AssertionError(f"the ledger never said {words}")


def test_divergence_is_a_result_with_its_phase(tmp_path: Path) -> None:
    record = worker_cells.run(tmp_path, overrides=["train.learning_rate=1.0e20", "train.max_grad_norm=0"])
    assert (record.status, record.error_kind, record.error_phase) == ("failed", "divergence", "train")
    assert "step" in (record.error_message or "")
    assert {figures.phase for figures in record.phases} >= {"idle", "prepare", "load", "warmup", "train"}
    train = record.phase("train")
    assert train is not None
    assert train.num_steps is not None  # what was done before the end is on the bill
    assert train.num_steps >= 1
    assert train.loss_first is not None


def test_dataset_that_lost_its_column_is_a_data_failure(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"id": "1", "text": "a"}\n', encoding="utf-8")
    assert worker.main(folder.path) == 0
    assert folder.record is not None
    assert (folder.record.error_kind, folder.record.error_phase) == ("data", "prepare")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (MemoryError(), "out_of_memory_host"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), "out_of_memory_gpu"),
        (ZeroDivisionError("division by zero"), "error"),
    ],
)
def test_exception_in_prediction_names_that_phase_and_keeps_what_was_known(
    raised: Exception, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kilowit.run import generate

    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(generate, "generate_summaries", fail)
    record = worker_cells.run(tmp_path)
    assert (record.status, record.error_kind, record.error_phase) == ("failed", kind, "predict")
    assert record.model is not None
    assert record.dataset is not None
    assert record.phase("train") is not None
    assert record.scores == []


def test_time_limit_ends_the_cell_and_is_billed(tmp_path: Path) -> None:
    record = worker_cells.run(
        tmp_path, model="lead", overrides=["measure.idle_second=30", "measure.timeout_second=0.5"]
    )
    assert (record.status, record.error_kind, record.error_phase) == ("failed", "timeout", "idle")
    assert 0.2 < spent_second(record) < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_leaves_an_interrupted_record_and_exit_code_zero(number: signal.Signals, tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, model="lead", overrides=["measure.idle_second=60"])
    process = subprocess.Popen([*WORKER, str(folder.path)], stderr=subprocess.DEVNULL)
    wait_for(folder, '"phase":"idle"', process)
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one tears nothing
    assert process.wait(20) == 0
    record = folder.record
    assert record is not None
    assert (record.status, record.error_kind, record.error_phase) == ("interrupted", "interrupted", "idle")
    assert number.name in (record.error_message or "")


def test_handlers_of_the_caller_are_back_after_a_cell(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in worker.HANDLED]
    worker_cells.run(tmp_path, model="lead")
    assert [signal.getsignal(number) for number in worker.HANDLED] == before


def test_full_disk_is_recorded_or_at_least_told(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, model="lead", pairs=worker_cells.write_pairs(tmp_path / "many.jsonl", 4000))

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(
        [*WORKER, str(folder.path)], preexec_fn=limit_files, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = folder.record
    assert record is not None
    assert (record.status, record.error_kind, record.error_phase) == ("failed", "disk_full", "predict")
    assert not folder.predictions_path.exists()


def test_record_that_cannot_be_written_is_exit_code_one_and_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = worker_cells.create(tmp_path, model="lead")

    def refuse(*_: object) -> None:
        raise StoreError("disk is full", place="here", hint="Free some space.")

    monkeypatch.setattr(RunFolder, "write_record", refuse)
    assert worker.main(folder.path) == 1
    assert capsys.readouterr().err == "here  disk is full\n  Free some space.\n"


def test_folder_without_a_request_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        worker.main(tmp_path)
    (tmp_path / "cell.json").write_text(json.dumps({"cell": {}, "cell_key": "k"}), encoding="utf-8")
    with pytest.raises(StoreError, match="fields missing"):
        worker.main(tmp_path)


def test_idle_of_zero_seconds_is_no_phase(tmp_path: Path) -> None:
    record = worker_cells.run(tmp_path, model="lead", overrides=["measure.idle_second=0"])
    assert record.phase("idle") is None
    assert phases.synchronize() is None
