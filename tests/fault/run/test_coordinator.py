"""Workers that die, hang, lie and refuse: each becomes a record, and what it took stays on the bill."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from study_bench import ONE_CELL, Bench, start_held

from kilowit.errors import PlanError, StoreError
from kilowit.meter.machine_lock import machine_lock
from kilowit.parts.executor import write_job
from kilowit.parts.executors.local import LocalExecutor
from kilowit.run.ending import Ending, cause_of, count_oom_kills
from kilowit.run.session import RunOptions


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not list(path.glob("*/ready")):
        assert time.monotonic() < end
        time.sleep(0.02)


def interrupt_when_ready(bench: Bench, num_times: int = 1) -> threading.Thread:
    def interrupt() -> None:
        wait_for(bench.store.path)
        for _ in range(num_times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_a_study_runs_each_cell_once_and_a_second_run_none(bench: Bench) -> None:
    outcome = bench.run()
    assert (outcome.num_finished, outcome.exit_code, len(outcome.run_ids)) == (3, 0, 3)
    again = bench.run()
    assert (again.num_finished, again.num_skipped, again.exit_code, again.run_ids) == (0, 3, 0, ())
    assert len(bench.store.folders()) == 3


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ("SIGKILL", "killed", "died of SIGKILL"),
        ("SIGSEGV", "killed", "died of SIGSEGV"),
        ("silent", "error", "exit status 0 and no record"),
        ("crash", "error", "RuntimeError: boom"),
        ("full", "disk_full", "No space left on device"),
    ],
)
def test_a_worker_without_a_record_gets_one_from_its_ledger(
    bench: Bench, behaviour: str, kind: str, words: str
) -> None:
    bench.behaviours = [behaviour]
    outcome = bench.run(ONE_CELL)
    (record,) = bench.store.records()
    assert (outcome.num_failed, outcome.exit_code) == (1, 1)
    assert (record.status, record.error_kind) == ("failed", kind)
    assert record.error_phase == ("train" if behaviour.startswith("SIG") else None)
    assert words in (record.error_message or "")
    train = record.phase("train")
    assert train is not None
    assert train.wall_second > 0.05  # a killed one loses at most a sampling period, here 0.1 s
    assert "failed" in bench.said


def test_a_dead_worker_is_tried_anew_on_the_next_run_as_a_second_attempt(bench: Bench) -> None:
    bench.behaviours = ["SIGKILL"]
    bench.run(ONE_CELL)
    assert bench.run(ONE_CELL).num_finished == 1
    assert sorted((r.attempt, r.status) for r in bench.store.records()) == [(1, "failed"), (2, "finished")]


@pytest.mark.parametrize("kind", ["out_of_memory_gpu", "divergence", "timeout", "method_not_applied", "data"])
def test_a_typed_failure_is_a_result_and_is_tried_again_only_on_request(bench: Bench, kind: str) -> None:
    bench.behaviours = [kind]
    assert bench.run(ONE_CELL).exit_code == 1
    again = bench.run(ONE_CELL)
    assert (again.num_failed, again.exit_code, again.run_ids) == (1, 1, ())
    assert "--retry-failed" in bench.said
    bench.options = RunOptions(retry_failed=True, min_free_byte=0)
    assert bench.run(ONE_CELL).num_finished == 1


def test_a_preempted_cell_is_retried_at_once_and_at_most_three_times(bench: Bench) -> None:
    bench.behaviours = ["preempted", "lost", "finish"]
    assert bench.run(ONE_CELL).num_finished == 1
    assert [record.attempt for record in bench.store.records()] == [1, 2, 3]


def test_three_preemptions_are_enough(bench: Bench) -> None:
    bench.behaviours = ["preempted"] * 4
    outcome = bench.run(ONE_CELL)
    assert (outcome.num_failed, len(outcome.run_ids), bench.behaviours) == (1, 3, ["preempted"])


def test_an_invalidated_run_is_run_again(bench: Bench) -> None:
    bench.run(ONE_CELL)
    bench.store.invalidate(bench.first().run_id, "fan was blocked", "ada")
    assert bench.run(ONE_CELL).num_finished == 1


def test_a_worker_that_overruns_its_time_is_killed_after_the_grace(bench: Bench) -> None:
    bench.behaviours = ["stubborn"]
    began = time.monotonic()
    outcome = bench.run(ONE_CELL, "measure.timeout_second=0.3")
    assert time.monotonic() - began < 10
    (record,) = bench.store.records()
    assert (outcome.exit_code, record.status, record.error_kind) == (1, "failed", "timeout")
    assert "had to be killed" in (record.error_message or "")
    assert record.phase("train") is not None


def test_ctrl_c_lets_the_worker_write_its_record_and_keeps_the_state(bench: Bench) -> None:
    bench.behaviours = ["hang"]
    thread = interrupt_when_ready(bench)
    outcome = bench.run()
    thread.join()
    assert (outcome.exit_code, outcome.is_interrupted, outcome.num_failed) == (130, True, 0)
    (record,) = bench.store.records()
    assert (record.status, record.error_kind) == ("interrupted", "interrupted")
    assert bench.run().num_finished == 3


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    bench.behaviours = ["stubborn"]
    thread = interrupt_when_ready(bench)
    outcome = bench.run()
    thread.join()
    (record,) = bench.store.records()
    assert (outcome.exit_code, record.status, record.error_kind) == (130, "interrupted", "interrupted")
    assert "had to be killed" in (record.error_message or "")


def test_a_second_ctrl_c_kills_at_once_and_closes_the_ledger(bench: Bench) -> None:
    bench.behaviours = ["stubborn"]
    bench.options = RunOptions(grace_second=60, min_free_byte=0)
    thread = interrupt_when_ready(bench, num_times=2)
    outcome = bench.run()
    thread.join()
    (record,) = bench.store.records()
    assert (outcome.exit_code, record.status, record.error_kind) == (130, "interrupted", "interrupted")
    train = record.phase("train")
    assert train is not None
    assert train.wall_second > 0


def test_children_of_a_dead_worker_do_not_outlive_it(bench: Bench) -> None:
    bench.behaviours = ["parent"]
    bench.run(ONE_CELL)
    pid = int((bench.first().path / "child").read_text())
    status = Path(f"/proc/{pid}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_a_folder_left_by_a_dead_coordinator_is_closed_as_lost_and_its_cell_run(bench: Bench) -> None:
    bench.behaviours = ["SIGKILL"]
    bench.run(ONE_CELL)
    left = bench.first()
    left.record_path.unlink()  # as if the coordinator had been killed with its worker
    outcome = bench.run(ONE_CELL)
    assert outcome.num_finished == 1
    record = left.record
    assert record is not None
    assert (record.status, record.error_kind) == ("failed", "lost")
    assert f"closed {left.run_id}" in bench.said
    assert record.phase("train") is not None


def test_a_corrupt_run_folder_is_told_and_stops_nothing(bench: Bench) -> None:
    bench.run(ONE_CELL)
    bench.first().record_path.write_text('{"half": ')
    outcome = bench.run(ONE_CELL)
    assert outcome.num_finished == 1
    assert "record is not JSON" in bench.said


def test_a_cell_is_not_started_on_a_disk_that_is_nearly_full(bench: Bench) -> None:
    bench.options = RunOptions(min_free_byte=2**60)
    with pytest.raises(StoreError, match="disk is nearly full") as caught:
        bench.run(ONE_CELL)
    assert caught.value.exit_code == 4
    assert bench.store.folders() == []


def test_only_a_kill_that_the_kernel_counted_is_out_of_host_memory(bench: Bench) -> None:
    bench.run(ONE_CELL)
    folder = bench.first()
    assert cause_of(Ending(-9, num_oom_kills=1), folder).kind == "out_of_memory_host"
    assert cause_of(Ending(-9, num_oom_kills=0), folder).kind == "killed"
    assert cause_of(Ending(-11, num_oom_kills=1), folder).kind == "killed"


@pytest.mark.parametrize(
    ("line", "file", "text"),
    [
        ("0::/job", "job/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("4:memory:/job", "memory/job/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        ("4:memory:/gone", "memory/memory.oom_control", "oom_kill_disable 0\noom_kill 2\n"),
    ],
)
def test_the_kernels_kills_are_read_from_both_kinds_of_control_group(
    tmp_path: Path, line: str, file: str, text: str
) -> None:
    (tmp_path / "cgroup").write_text(f"{line}\n")
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert count_oom_kills(tmp_path / "cgroup", tmp_path) == 2


def test_a_cell_that_would_pass_the_budget_is_left_out_and_said(bench: Bench) -> None:
    bench.run(ONE_CELL)
    bench.behaviours = ["never started"]
    outcome = bench.run("budget.energy_kwh=1.0e-9")
    assert (outcome.num_skipped, outcome.num_left_out, outcome.exit_code) == (1, 2, 3)
    assert "left out, budget:" in bench.said
    assert len(bench.store.folders()) == 1


def test_ctrl_c_ends_the_cool_down(bench: Bench) -> None:
    bench.when_said(": finished", lambda: os.kill(os.getpid(), signal.SIGINT))
    began = time.monotonic()
    outcome = bench.run("measure.cooldown_second=60")
    assert time.monotonic() - began < 10
    assert (outcome.exit_code, outcome.num_finished, len(outcome.run_ids)) == (130, 1, 1)


def test_a_study_waits_for_an_orphaned_worker_and_takes_its_result(bench: Bench) -> None:
    cell = bench.study(ONE_CELL).cells[0]
    folder = bench.store.create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=1)
    with machine_lock(study="green", store="here", mode="refuse", on_wait=print) as lock:
        assert lock is not None
        job = start_held(LocalExecutor(bench.command), folder, lock)
    outcome = bench.run(ONE_CELL)  # the coordinator that started it is gone; its worker holds the machine
    assert job.poll() == 0
    assert (outcome.num_skipped, outcome.run_ids) == (1, ())
    assert "waiting for this machine" in bench.said


def test_cells_run_two_at_a_time_and_each_once(bench: Bench) -> None:
    executor = LocalExecutor(bench.command, gpus=["GPU-a", "GPU-b"])
    bench.behaviours = ["lost"]
    outcome = bench.run(executor=executor)
    assert (outcome.num_finished, outcome.exit_code, len(outcome.run_ids)) == (3, 0, 4)
    assert sorted((r.attempt, r.status) for r in bench.store.records()) == [
        (1, "failed"), (1, "finished"), (1, "finished"), (2, "finished"),
    ]  # fmt: skip
    assert bench.run(executor=executor).num_skipped == 3


def test_ctrl_c_ends_all_that_run_at_a_time_and_leaves_their_records(bench: Bench) -> None:
    bench.behaviours = ["hang", "hang"]

    def interrupt() -> None:
        end = time.monotonic() + 20
        while len(list(bench.store.path.glob("*/ready"))) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome = bench.run(executor=LocalExecutor(bench.command, gpus=["GPU-a", "GPU-b"]))
    thread.join()
    assert outcome.exit_code == 130
    assert [record.error_kind for record in bench.store.records()] == ["interrupted", "interrupted"]


def test_recipe_of_several_processes_is_refused_where_a_cell_has_one_gpu(bench: Bench) -> None:
    with pytest.raises(PlanError, match="trains in 2 processes, one a GPU, and executor local gives a cell 1"):
        bench.run("recipes={a: [ddp]}", executor=LocalExecutor(bench.command, gpus=["GPU-a", "GPU-b"]))
    assert bench.store.folders() == []


def test_run_that_ends_while_a_new_driver_looks_at_it_is_not_closed_again(bench: Bench) -> None:
    """The job of an earlier driver writes its record just before its executor is asked for it."""
    cell = bench.study(ONE_CELL).cells[0]
    folder = bench.store.create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=1)
    write_job(folder.path, "away")

    class Away(LocalExecutor):
        name, is_here = "away", False

        def adopt(self, path: Path) -> None:
            subprocess.run([*bench.command(path)], check=True)

    outcome = bench.run(ONE_CELL, executor=Away(bench.command))
    assert (outcome.num_skipped, outcome.run_ids) == (1, ())
    assert [record.status for record in bench.store.records()] == ["finished"]
