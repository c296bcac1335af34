"""Cells as jobs of submitit: its real local executor, and its Slurm executor before commands that run the scripts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import fake_slurm
import lead_studies
from kilowit.parts.executor import read_job
from kilowit.store import Store

pytest.importorskip("submitit", reason="needs submitit: pip install 'kilowit[slurm]'")
SLURM = "{name: slurm, tenancy: shared, look_second: 0.2}"
LOCAL = "{name: slurm, cluster: local, tenancy: shared, look_second: 0.2}"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    bin_folder = fake_slurm.install(tmp_path / "slurm")
    return lead_studies.environment(PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}")


def test_job_that_is_preempted_is_billed_and_its_cell_tried_anew(variables: dict[str, str], tmp_path: Path) -> None:
    study, store = lead_studies.write_study(tmp_path, 1, executor=SLURM, idle_second=2.5), Store(tmp_path / "runs")
    driver = lead_studies.start(lead_studies.command(study, store.path), variables)
    lead_studies.wait_until(lambda: bool(lead_studies.idling(store)), driver)
    fake_slurm.end(tmp_path / "slurm", "1000", "PREEMPTED")
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0, said
    lost, finished = lead_studies.assert_each_once(store, 1)
    assert (lost.status, lost.error_kind, lost.error_phase) == ("failed", "preempted", "idle")
    assert "its machine was taken away: SIGTERM" in (lost.error_message or "")
    assert (lost.attempt, finished.attempt) == (1, 2)
    assert sum(phase.wall_second for phase in lost.phases) > 0.5
    assert finished.environment["executor"]["name"] == "slurm"
    assert finished.environment["tenancy"]["kind"] == "shared"
    assert "#SBATCH --no-requeue" in (tmp_path / "slurm" / "1000.sh").read_text()


@pytest.mark.parametrize("executor", [SLURM, LOCAL])
def test_driver_that_is_killed_leaves_its_jobs_and_the_next_one_adopts_them(
    executor: str, variables: dict[str, str], tmp_path: Path
) -> None:
    study, store = lead_studies.write_study(tmp_path, 1, executor=executor, idle_second=4), Store(tmp_path / "runs")
    driver = lead_studies.start(lead_studies.command(study, store.path), variables)
    lead_studies.wait_until(lambda: bool(lead_studies.idling(store)), driver)
    driver.kill()
    driver.wait()
    command = lead_studies.command(study, store.path)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "started by an earlier driver: adopted" in done.stderr
    (record,) = lead_studies.assert_each_once(store, 1)
    assert record.attempt == 1


def test_ctrl_c_cancels_the_job_and_leaves_a_record(variables: dict[str, str], tmp_path: Path) -> None:
    study, store = lead_studies.write_study(tmp_path, 1, executor=SLURM, idle_second=30), Store(tmp_path / "runs")
    driver = lead_studies.start(lead_studies.command(study, store.path), variables)
    lead_studies.wait_until(lambda: bool(lead_studies.idling(store)), driver)
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, said
    (record,) = store.records()
    assert (record.status, record.error_kind) == ("interrupted", "interrupted")
    assert (tmp_path / "slurm" / "1000.state").read_text().startswith("CANCELLED")


def test_job_that_is_gone_without_a_driver_is_closed_and_billed(variables: dict[str, str], tmp_path: Path) -> None:
    study, store = lead_studies.write_study(tmp_path, 1, executor=SLURM, idle_second=2), Store(tmp_path / "runs")
    driver = lead_studies.start(lead_studies.command(study, store.path), variables)
    lead_studies.wait_until(lambda: bool(lead_studies.idling(store)), driver)
    driver.kill()
    driver.wait()
    (folder,) = store.folders()
    facts = read_job(folder.path, "slurm")
    assert facts is not None
    fake_slurm.end(tmp_path / "slurm", facts["job_id"], "NODE_FAIL", signal.SIGKILL)
    command = lead_studies.command(study, store.path)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lost, finished = lead_studies.assert_each_once(store, 1)
    assert (lost.error_kind, lost.error_phase, finished.status) == ("lost", "idle", "finished")


def test_without_slurm_the_error_names_the_way_out(tmp_path: Path) -> None:
    if shutil.which("srun"):
        pytest.skip("there is a Slurm here")
    study = lead_studies.write_study(tmp_path, 1, executor="slurm")
    command = lead_studies.command(study, tmp_path / "runs")
    variables = lead_studies.environment()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert "cluster: local" in done.stderr
    assert "Traceback" not in done.stderr
