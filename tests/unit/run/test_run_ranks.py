"""Who is asked to run as ranks, and whose failure a record names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch

import worker_cells
from kilowit.cell import Cell
from kilowit.errors import StoreError
from kilowit.run import ranks, worker
from kilowit.run.batches import IGNORED
from kilowit.run.engines import sharding
from kilowit.run.failure import Failure
from kilowit.run.nodes import Node
from kilowit.run.ranks import ALONE, Rank
from tiny_training import tiny_model

ECHO = Failure("error", "RuntimeError: gloo: Connection closed by peer [127.0.0.1]:4711")


def leave_word(folder: Path, number: int, **word: object) -> None:
    (folder / f"rank{number}.json").write_text(json.dumps({"node": 0, **word}), encoding="utf-8")


def test_ranks_are_asked_for_by_the_recipe_alone(tmp_path: Path) -> None:
    def asked(name: str, **what: str) -> int | None:
        folder = worker_cells.create(tmp_path / name, **what)
        return ranks.num_processes_of(Cell.from_dict(folder.cell))

    assert asked("plain") is None
    assert asked("ddp", recipe="[{ddp: {num_processes: 4}}]") == 4
    assert asked("fsdp", recipe="[fsdp]") == 2
    assert ranks.current() is ALONE


def test_failure_of_another_rank_is_named_instead_of_its_echo(tmp_path: Path) -> None:
    first = Rank(0, 3, tmp_path)
    leave_word(tmp_path, 1, pid=os.getpid(), ended=True, kind="error", message=ECHO.message)
    leave_word(tmp_path, 2, pid=os.getpid(), ended=True, kind="out_of_memory_gpu", message="CUDA out of memory")
    for own in (ECHO, Failure("interrupted", "ended by SIGTERM")):  # torchrun ends the others by it
        assert first.cause_of(own) == Failure("out_of_memory_gpu", "rank 2 of 3: CUDA out of memory")


def test_rank_that_died_without_a_word_is_killed(tmp_path: Path) -> None:
    leave_word(tmp_path, 1, pid=2**22 + 1, ended=False)  # above the largest pid of Linux
    failure = Rank(0, 2, tmp_path).cause_of(ECHO)
    assert (failure.kind, failure.message) == ("killed", "rank 1 of 2 died of a signal and left no reason")


def test_own_failure_stands_where_it_is_no_echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_word(tmp_path, 1, pid=os.getpid(), ended=False)
    first = Rank(0, 2, tmp_path)
    divergence, stop = Failure("divergence", "loss is nan"), Failure("interrupted", "ended by SIGTERM")
    began = time.monotonic()
    assert first.cause_of(divergence) is divergence
    assert first.cause_of(stop) is stop
    assert ALONE.cause_of(ECHO) is ECHO
    assert time.monotonic() - began < 1
    monkeypatch.setattr(ranks, "ECHO_SECOND", 0.0)
    assert first.cause_of(ECHO) is ECHO


def test_folder_that_was_run_is_not_launched_again(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, recipe="[ddp]")
    folder.write_environment({})
    with pytest.raises(StoreError, match="never run again"):
        worker.main(folder.path)


@pytest.mark.parametrize(("number", "expected"), [(0, [0, 1]), (1, [2])])
def test_ranks_share_a_batch_in_its_order(number: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "rank", lambda: number)
    share = sharding.ShareCollator(lambda indices: {"labels": torch.tensor([[i] for i in indices])}, 2)
    assert share([0, 1, 2])["labels"].flatten().tolist() == expected


def test_rank_without_a_share_computes_one_example_that_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "rank", lambda: 1)
    share = sharding.ShareCollator(lambda indices: {"labels": torch.tensor([[i, 7] for i in indices])}, 2)
    assert share([5, 6])["labels"].tolist() == [[IGNORED, IGNORED]]


@pytest.mark.parametrize("family", ["bart", "t5", "pegasus"])
def test_hollow_copy_filled_again_is_the_model(family: str) -> None:
    model = tiny_model(family)
    hollow = sharding.hollow_copy(model)
    assert all(p.device.type == "meta" for p in hollow.parameters())
    whole = sharding.whole_model(model, hollow, torch.device("cpu"))
    assert whole.get_input_embeddings().weight is whole.get_output_embeddings().weight
    assert len(list(whole.parameters())) == len(list(model.parameters()))
    for (name, value), (other, copied) in zip(model.state_dict().items(), whole.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value, copied)
        assert value.data_ptr() != copied.data_ptr()


def test_node_that_has_said_nothing_of_its_end_is_lost_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "ECHO_SECOND", 0.0)
    leave_word(tmp_path, 1, pid=os.getpid(), ended=False, node=1)
    failure = Rank(0, 2, tmp_path, node=Node(0, 2, "host:1")).cause_of(ECHO)
    assert failure.kind == "lost"
    assert failure.message.startswith("node 1 of 2 is gone: RuntimeError: gloo")
