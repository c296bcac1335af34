"""Cells as tasks of Ray, on hosts that are network namespaces: what is killed or cut off is billed and tried anew."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

import lead_studies
import ray_hosts
from kilowit.parts.carried import bring_home, run_there
from kilowit.store import RunFolder, Store

# Not importorskip: an amdsmi without its library keeps Ray from being imported, and the executor gets around it.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'kilowit[ray]'")
WITHOUT_HOSTS = ray_hosts.why_not()


@pytest.fixture(scope="module")
def hosts() -> Iterator[ray_hosts.RayHosts]:
    if WITHOUT_HOSTS:
        pytest.skip(WITHOUT_HOSTS)
    with ray_hosts.RayHosts(num_hosts=2) as made:
        yield made


def write_study(folder: Path, num_cells: int, hosts: ray_hosts.RayHosts, idle_second: float) -> Path:
    executor = f"{{name: ray, address: '{hosts.address}', tenancy: shared}}"
    return lead_studies.write_study(folder, num_cells, executor=executor, idle_second=idle_second)


def worker_of(folder: RunFolder) -> psutil.Process:
    """The process `kilowit worker` of a run, wherever its host has put the folder."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "worker" in words and words[-1].endswith(f"/{folder.run_id}"):
            return process
    raise AssertionError(f"no worker of {folder.run_id}")


def test_a_ray_worker_and_the_driver_are_killed_and_each_cell_is_done_once(
    hosts: ray_hosts.RayHosts, tmp_path: Path
) -> None:
    study, store = write_study(tmp_path, 3, hosts, idle_second=2.5), Store(tmp_path / "runs")
    command, variables = hosts.command(lead_studies.command(study, store.path)), hosts.environment()
    driver = lead_studies.start(command, variables)
    lead_studies.wait_until(lambda: len(lead_studies.idling(store)) == 2, driver)
    first = lead_studies.idling(store)[0]
    worker = worker_of(first)
    worker.parent().kill()  # Ray's own process, in the middle of a task
    lead_studies.wait_until(lambda: first.record is not None, driver)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    records = lead_studies.assert_each_once(store, 3)
    lost = [record for record in records if record.status != "finished"]
    assert first.run_id in {record.run_id for record in lost}
    assert {record.error_kind for record in lost} == {"lost"}
    assert sum(phase.wall_second for phase in next(r for r in lost if r.run_id == first.run_id).phases) > 0.5
    finished = next(record for record in records if record.status == "finished")
    assert finished.environment["executor"]["name"] == "ray"
    assert len(RunFolder(store.path / finished.run_id).predictions_path.read_text().splitlines()) > 0


def test_host_that_is_cut_off_costs_its_attempt_and_no_cell(hosts: ray_hosts.RayHosts, tmp_path: Path) -> None:
    study, store = write_study(tmp_path, 2, hosts, idle_second=2.5), Store(tmp_path / "runs")
    driver = lead_studies.start(hosts.command(lead_studies.command(study, store.path)), hosts.environment())
    lead_studies.wait_until(lambda: len(lead_studies.idling(store)) == 2, driver)
    hosts.cut_off(2)
    said, _ = driver.communicate(timeout=100)
    assert driver.returncode == 0, said
    lost, *_ = [record for record in lead_studies.assert_each_once(store, 2) if record.status != "finished"]
    assert (lost.error_kind, lost.error_phase) == ("lost", "idle")
    assert sum(phase.energy_total_joule or 0 for phase in lost.phases) > 0


CELL = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
assert (folder / "cell.json").read_text() == "asked"
(folder / "model").mkdir()
(folder / "model" / "weights").write_bytes(b"w" * 100)
for number in range(3):
    with (folder / "ledger.jsonl").open("a") as file:
        file.write(f"line {number}\\n")
    time.sleep(0.02)
(folder / ".draft").write_text("")
(folder / "record.json").write_text("result")
sys.exit(3)
"""


def test_folder_comes_home_as_it_was_and_its_record_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kilowit.parts.carried.MAX_PIECE_BYTE", 64)
    command = [sys.executable, "-S", "-c", CELL]
    pieces = list(run_there("run", {"cell.json": b"asked"}, {}, command))
    assert (pieces[-1].exit_status, pieces[-2].name) == (3, "record.json")
    for piece in pieces[:-1]:
        bring_home(tmp_path, piece)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == {
        "ledger.jsonl", "model/weights", "record.json",
    }  # fmt: skip
    assert (tmp_path / "ledger.jsonl").read_text() == "line 0\nline 1\nline 2\n"
    assert (tmp_path / "model" / "weights").read_bytes() == b"w" * 100
    assert (tmp_path / "record.json").read_text() == "result"
