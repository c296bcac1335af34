"""A cell over two nodes, two workers of one run folder on this machine: one learning, two meters, one bill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import worker_cells
from kilowit.meter import read_ledger
from kilowit.parts.executor import node_environment, worker_command
from kilowit.record import Record
from kilowit.store import RunFolder


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_nodes(folder: RunFolder, num_nodes: int = 2) -> list[subprocess.Popen[bytes]]:
    """Start the worker once a node, as an executor does."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    where = f"127.0.0.1:{free_port()}"
    with folder.log_path.open("ab") as log:
        return [
            subprocess.Popen(
                worker_command(folder.path), stdout=log, stderr=log, start_new_session=True,
                env={**variables, **node_environment(num_nodes, number, where)},
            )
            for number in range(num_nodes)
        ]  # fmt: skip


def energy(record: Record) -> float:
    return sum(phase.energy_total_joule or 0.0 for phase in record.phases)


def test_two_nodes_train_one_cell_and_the_record_is_their_sum_with_each_apart(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, recipe="[ddp]")
    statuses = [process.wait(120) for process in start_nodes(folder)]
    record = folder.record
    assert record is not None, folder.log_path.read_text()[-3000:]
    assert record.status == "finished", record.error_message
    assert statuses == [0, 0]
    (evidence,) = record.methods
    assert evidence.applied
    assert evidence.evidence["num_processes"] == 2
    first, second = record.nodes
    assert (first.node, second.node, record.num_nodes) == (0, 1, 2)
    own, other = read_ledger(folder.ledger_path), read_ledger(folder.path / "nodes" / "1")
    assert (own.clean, other.clean) == (True, True)
    total = (own.total.energy_total_joule or 0) + (other.total.energy_total_joule or 0)
    assert energy(record) == pytest.approx(total, rel=1e-6)
    assert (other.total.energy_total_joule or 0) > 0
    # The second node is on the bill until the first has finished, and the cell takes no longer for that.
    assert other.total.wall_second > 0.6 * (own.total.wall_second - 0.1)
    train, there = record.phase("train"), next(p for p in second.phases if p.phase == "train")
    assert train is not None
    assert train.wall_second == pytest.approx(next(p for p in first.phases if p.phase == "train").wall_second)
    assert there.wall_second > 0


def test_node_that_is_lost_ends_the_cell_as_lost_and_what_it_took_is_billed(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, recipe="[ddp]", overrides=["train.num_steps=5000"])
    first, second = start_nodes(folder)
    end, ledger = time.monotonic() + 90, folder.path / "nodes" / "1" / "ledger.jsonl"
    while not (ledger.exists() and '"phase":"train"' in ledger.read_text()) and time.monotonic() < end:
        assert first.poll() is None, folder.log_path.read_text()[-3000:]
        time.sleep(0.1)
    second.kill()  # its ranks go with it
    assert first.wait(120) == 0
    second.wait()
    record = folder.record
    assert record is not None
    assert (record.status, record.error_kind) == ("failed", "lost"), record.error_message
    assert "node 1 of 2 is gone" in (record.error_message or "")
    assert len(record.nodes) == 2
    assert sum(phase.energy_total_joule or 0.0 for phase in record.nodes[1].phases) > 0


def test_processes_that_the_nodes_cannot_share_out_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, recipe="[ddp]")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **node_environment(3, 0, "127.0.0.1:1")}
    done = subprocess.run(worker_command(folder.path), env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "2 processes are not shared out evenly over 3 nodes" in done.stderr
