"""A study that is mirrored to a real MLflow server which dies: the study finishes, says so, and is completed later."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from kilowit import Store, mirror_runs
from kilowit.exchange.read_mlflow import read_mlflow
from kilowit.store.mirrored import mirror_state
from worker_cells import write_pairs

pytest.importorskip("mlflow.server", reason="needs a server: pip install mlflow")
STUDY = """
name: live
models: [lead]
datasets:
  - {{name: local_files, path: {one}, test_fraction: 0.1}}
  - {{name: local_files, path: {two}, test_fraction: 0.1}}
metrics: [rouge]
measure: {{idle_second: 4, cooldown_second: 0, order: listed}}
"""


@dataclass
class Server:
    """A tracking server of one worker on a port of its own."""

    uri: str
    database: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it and all its workers at once, as a crash does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def num_runs(self) -> int:
        """Return how many runs its database has."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    port, database = free_port(), tmp_path / "server.db"
    command = [
        str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", f"sqlite:///{database}",
        "--default-artifact-root", str(tmp_path / "artifacts"), "--no-serve-artifacts", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    quiet = {
        "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **quiet}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    started = Server(f"http://127.0.0.1:{port}", database, process)
    try:
        wait_until(lambda: is_up(started.uri), 150)
        yield started
    finally:
        started.kill()


def is_up(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(is_so: object, second: float) -> None:
    end = time.monotonic() + second
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_study_outlives_its_tracking_server_and_a_later_export_completes_it(server: Server, tmp_path: Path) -> None:
    pairs = [write_pairs(tmp_path / f"{name}.jsonl", num) for name, num in (("one", 40), ("two", 60))]
    (tmp_path / "study.yaml").write_text(STUDY.format(one=pairs[0], two=pairs[1]), encoding="utf-8")
    command = [sys.executable, "-m", "kilowit", "run", "study.yaml", "--no-report", "--mirror", server.uri]
    study = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = Store(tmp_path / "runs")
    wait_until(lambda: server.num_runs() == 2, 120)  # the second run has begun and is in its idle phase
    server.kill()
    _, said = study.communicate(timeout=150)
    assert study.returncode == 0, said
    assert "2 finished of 2" in said and "mirror: 1 of 2 runs are not whole" in said
    first, second = store.records()
    assert [r.status for r in (first, second)] == ["finished", "finished"]
    assert not [w for w in first.warnings if w.startswith("mirror:")]
    (warning,) = [w for w in second.warnings if w.startswith("mirror:")]
    assert server.uri in warning and "export-records" in warning
    state = mirror_state(store.find(second.run_id))
    assert state is not None and state.problem is not None and "Connection refused" in state.problem

    database = f"sqlite:///{server.database}"
    assert mirror_runs(store, database).num_new == 1
    assert mirror_runs(store, database).num_new == 0
    assert not [w for r in store.records() for w in r.warnings if w.startswith("mirror:")]
    foreign = read_mlflow(server.database).runs
    assert [run.status for run in foreign] == ["finished", "finished"]  # no third run: it was found by its tag
    for record, run in zip((first, second), foreign, strict=True):
        with closing(sqlite3.connect(server.database)) as rows:
            query = "SELECT value FROM latest_metrics WHERE run_uuid = ? AND key = 'bill/energy_total_joule'"
            ((joule,),) = rows.execute(query, (run.place.removeprefix("run "),)).fetchall()
        assert joule == pytest.approx(sum(p.energy_total_joule or 0 for p in record.phases))
        assert len(list((tmp_path / "artifacts").glob("*/*/artifacts/record.json"))) == 2
