"""One measured run on a machine: the second waits or refuses and says who holds it; a dead holder holds nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from study_bench import ONE_CELL, Bench, start_held

from kilowit.errors import ExecutorError, StudyError
from kilowit.meter.machine_lock import MachineLock, lock_path, machine_lock

HOLD = """
import sys, time
from kilowit.meter.machine_lock import machine_lock
with machine_lock(study="other", store="/elsewhere", mode="refuse", on_wait=print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_measured_run_refuses_and_says_who_holds_the_machine(bench: Bench, holder) -> None:
    with pytest.raises(ExecutorError) as caught:
        bench.run(ONE_CELL, "measure.lock=refuse")
    assert caught.value.exit_code == 5
    assert f"process {holder.pid} " in str(caught.value)
    assert "study other in /elsewhere" in str(caught.value)
    assert bench.store.folders() == []


def test_a_second_measured_run_waits_until_the_holder_is_gone(bench: Bench, holder) -> None:
    bench.when_said("waiting for", holder.kill)
    outcome = bench.run(ONE_CELL)
    assert outcome.num_finished == 1
    assert f"waiting for this machine: process {holder.pid} " in bench.said
    assert f"(lock {lock_path()}); until it ends. KILOWIT_LOCK names another lock" in bench.said


def test_the_waiting_ends_at_its_limit_with_who_holds_the_machine(bench: Bench, holder) -> None:
    with pytest.raises(ExecutorError, match=r"still after 0\.3 s") as caught:
        bench.run(ONE_CELL, "measure.lock_wait_second=0.3")
    assert caught.value.exit_code == 5
    assert caught.value.place == str(lock_path())
    assert f"process {holder.pid} " in str(caught.value) and "measure.lock_wait_second" in str(caught.value)
    assert "for at most 0.3 s" in bench.said
    assert bench.store.folders() == []


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the kernel does not list its locks here")
def test_a_holder_that_has_not_signed_is_named_by_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(ExecutorError, match=f"process {os.getpid()}, which has not said its name"),
            machine_lock(study="a", store="b", mode="refuse", on_wait=print, path=path),
        ):
            pass


def test_a_limit_to_waiting_where_nothing_waits_is_an_error(bench: Bench) -> None:
    with pytest.raises(StudyError, match="lock: refuse waits for nothing"):
        bench.run(ONE_CELL, "measure.lock=refuse", "measure.lock_wait_second=5")


def test_ctrl_c_ends_the_waiting(bench: Bench, holder) -> None:
    bench.when_said("waiting for", lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome = bench.run(ONE_CELL)
    assert (outcome.exit_code, outcome.run_ids) == (130, ())


def test_a_lock_file_left_behind_holds_nothing(bench: Bench, holder) -> None:
    holder.kill()
    holder.wait()
    assert lock_path().exists()
    assert bench.run(ONE_CELL, "measure.lock=refuse").num_finished == 1


def test_a_worker_that_outlives_its_coordinator_still_holds_the_machine(bench: Bench) -> None:
    bench.behaviours = ["hang"]
    study = {"study": "green", "store": str(bench.store.path), "mode": "refuse", "on_wait": print}
    with machine_lock(**study) as lock:
        assert isinstance(lock, MachineLock)
        folder = bench.store.create({"study_name": "green"}, label="x", cell_key="k", attempt=1)
        from kilowit.parts.executors.local import LocalExecutor

        job = start_held(LocalExecutor(bench.command), folder, lock)
    try:
        assert folder.is_running
        with pytest.raises(ExecutorError), machine_lock(**study):
            pass
    finally:
        job.kill()
    assert not folder.is_running
    with machine_lock(**study) as lock:
        assert lock is not None


def test_another_users_lock_file_that_may_not_be_written_can_still_be_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "lock"
    path.write_text("")
    opened = os.open

    def as_another_user(name: object, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")  # root may write everything, so it is played
        return opened(name, flags, mode)  # type: ignore[call-overload]

    monkeypatch.setenv("KILOWIT_LOCK", str(path))
    monkeypatch.setattr(os, "open", as_another_user)
    with machine_lock(study="a", store="b", mode="refuse", on_wait=print) as lock:
        assert lock is not None
        with (
            pytest.raises(ExecutorError, match="not said its name"),
            machine_lock(study="a", store="b", mode="refuse", on_wait=print),
        ):
            pass


def test_a_lock_that_cannot_be_opened_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KILOWIT_LOCK", str(tmp_path / "nowhere" / "lock"))
    with (
        pytest.raises(ExecutorError, match="Set KILOWIT_LOCK"),
        machine_lock(study="a", store="b", mode="refuse", on_wait=print),
    ):
        pass
