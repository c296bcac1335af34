"""Executors: what a cell costs beside `local`, and what is lost when workers, drivers and hosts are.

    python benchmarks/executors.py [overhead] [ray] [hosts]

`overhead`: cells of `lead` one at a time, by each executor; seconds a cell beyond `local`. Slurm is submitit
with the suite's stand-in for sbatch, srun, sacct and scancel (`tests/fake_slurm.py`), which starts jobs at once: what
is measured is what kilowit and submitit add, not a cluster's queue.
`ray`: 100 cells on 2 workers of a Ray cluster of this machine; Ray's worker process is killed in one, then the driver.
`hosts`: 3 hosts as network namespaces (needs root); one is cut off while cells run on all three.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from bars import Bar, at_most, report

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import fake_slurm  # noqa: E402
import lead_studies  # noqa: E402
import ray_hosts  # noqa: E402
from kilowit.record import Record  # noqa: E402
from kilowit.store import RunFolder, Store  # noqa: E402

NUM_CELLS, NUM_TIMED = 100, 10
LOCAL = "local"
RAY = "{name: ray, tenancy: shared, at_once: %d}"
SLURM = "{name: slurm, tenancy: shared, at_once: 1, look_second: 0.5}"
MAX_OVERHEAD_SECOND = 1.0


def main(chosen: list[str]) -> int:
    """Measure what is asked for; 1 when a bar is missed."""
    bars: list[Bar] = []
    for name, measure in (("overhead", overhead), ("ray", killed), ("hosts", cut_off)):
        if name in chosen or not chosen:
            with tempfile.TemporaryDirectory(prefix="kilowit-executors-") as folder:
                os.environ["KILOWIT_LOCK"] = f"{folder}/lock"
                bars += measure(Path(folder))
    return report("executors", bars)


def overhead(folder: Path) -> list[Bar]:
    """Time whole studies, from the first cell's start to the last one's end; one cell at a time."""
    second = {}
    path = f"{fake_slurm.install(folder / 'cluster')}{os.pathsep}{os.environ['PATH']}"
    for name, executor in (("local", LOCAL), ("ray", RAY % 1), ("slurm", SLURM)):
        own = folder / name
        own.mkdir()
        study, store = lead_studies.write_study(own, NUM_TIMED, executor=executor), Store(own / "runs")
        command, variables = lead_studies.command(study, store.path), lead_studies.environment(PATH=path)
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        second[name] = cell_second(store)
        print(f"{name}: {second[name]:.2f} s a cell")
    return [
        at_most(f"{name}: a cell beyond local", second[name] - second["local"], MAX_OVERHEAD_SECOND, "s")
        for name in ("ray", "slurm")
    ]


def cell_second(store: Store) -> float:
    """Mean seconds from one cell's folder to the next one's, the first left out: a cluster's workers start in it."""
    born = sorted(folder.cell_path.stat().st_mtime for folder in store.folders())
    over = max(folder.record_path.stat().st_mtime for folder in store.folders())
    return (over - born[1]) / (len(born) - 1)


def killed(folder: Path) -> list[Bar]:
    """Kill Ray's worker under a cell, then the driver, and run the study again to its end."""
    study, store = lead_studies.write_study(folder, NUM_CELLS, executor=RAY % 2, idle_second=1), Store(folder / "runs")
    command, variables = lead_studies.command(study, store.path), lead_studies.environment()
    driver = lead_studies.start(command, variables)
    wait_for(store, 20, driver)
    first = next_running(store, driver)
    worker_of(first).parent().kill()
    wait_for(store, 40, driver)
    second = next_running(store, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    print(done.stderr.splitlines()[-1])
    return bars_of(store, NUM_CELLS, {first.run_id, second.run_id}, done.returncode)


def cut_off(folder: Path) -> list[Bar]:
    """Cut one of three hosts off while cells run on all."""
    if why := ray_hosts.why_not():
        print(f"hosts: not measured, {why}")
        return []
    with ray_hosts.RayHosts(num_hosts=3) as hosts:
        executor = f"{{name: ray, address: '{hosts.address}', tenancy: shared}}"
        study, store = lead_studies.write_study(folder, 9, executor=executor, idle_second=3), Store(folder / "runs")
        driver = lead_studies.start(hosts.command(lead_studies.command(study, store.path)), hosts.environment())
        lead_studies.wait_until(lambda: len(lead_studies.idling(store)) == 3, driver)
        began_second = time.monotonic()
        hosts.cut_off(3)
        said, _ = driver.communicate()
        print(f"cut off, and over after {time.monotonic() - began_second:.0f} s\n{said}")
    lost = {record.run_id for record in store.records() if record.status != "finished"}
    return [
        *bars_of(store, 9, lost, driver.returncode),
        Bar("attempts on the host that was cut off", f"{len(lost)}", "1", len(lost) == 1),
    ]


def bars_of(store: Store, num_cells: int, lost: set[str], exit_status: int) -> list[Bar]:
    """Judge a study that has gone through losses."""
    records = store.records()
    finished = Counter(record.cell_key for record in records if record.status == "finished")
    billed = {record.run_id: joule(record) for record in records if record.status != "finished"}
    print(f"{len(records)} runs; not finished: {billed}")
    is_billed = len(records) == len(store.folders()) and all(billed.get(run_id, 0.0) > 0 for run_id in lost)
    once = len(finished) == num_cells and set(finished.values()) == {1}
    return [
        Bar("cells with one finished record", f"{len(finished)} of {num_cells}", f"{num_cells}, each once", once),
        Bar("lost attempts with joules on the bill", f"{len(billed)}", "all", is_billed and bool(lost)),
        Bar("exit status of the study", f"{exit_status}", "0", exit_status == 0),
    ]


def joule(record: Record) -> float:
    """What a run took."""
    return sum(phase.energy_total_joule or 0.0 for phase in record.phases)


def wait_for(store: Store, num_finished: int, driver: subprocess.Popen[str]) -> None:
    """Wait until so many cells have a record."""
    while sum(folder.record_path.exists() for folder in store.folders()) < num_finished:
        if driver.poll() is not None:
            raise SystemExit(driver.communicate()[0])
        time.sleep(0.1)


def next_running(store: Store, driver: subprocess.Popen[str]) -> RunFolder:
    """Wait until a run is in its idle phase and has said so at home."""
    lead_studies.wait_until(lambda: bool(lead_studies.idling(store)), driver)
    return lead_studies.idling(store)[0]


def worker_of(folder: RunFolder) -> psutil.Process:
    """The process `kilowit worker` of a run."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "worker" in words and words[-1].endswith(f"/{folder.run_id}"):
            return process
    raise SystemExit(f"no worker of {folder.run_id}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
