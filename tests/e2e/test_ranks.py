"""Cells and trainings of two processes over gloo: the same learning, one bill, and an end for every rank."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import rank_trainings
import worker_cells
from kilowit.errors import StudyError
from kilowit.parts.executor import worker_command
from kilowit.parts.ranks import has_deepspeed
from kilowit.store import RunFolder

TESTS = Path(__file__).parents[1]
NEEDS_DEEPSPEED = pytest.mark.skipif(
    not has_deepspeed(), reason="deepspeed is not installed: DS_BUILD_OPS=0 pip install 'kilowit[deepspeed]'"
)
TOLERANCE = 1e-4
TORCH = ["ddp", "ddp_accumulated", "fsdp", "fsdp_accumulated", "fsdp_t5", "fsdp_llama"]
DEEPSPEED = ["zero1", "zero2_accumulated", "zero3", "zero3_buckets", "zero2_bf16", "offload2", "offload3"]
BESIDE_TORCH = [*(f"ddp+{change}" for change in rank_trainings.CHANGES), "fsdp+lora"]
BESIDE_DEEPSPEED = ["zero3+lora"]


def in_two_processes(names: list[str], folder: Path) -> dict[str, Any]:
    """Train in these ways, one after the other, in the same two processes."""
    out = folder / "results.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(TESTS / "rank_trainings.py"), str(out), *names], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return results


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    names = [name for name in rank_trainings.WAYS if name.startswith("alone")]
    names += [f"alone+{change}" for change in rank_trainings.CHANGES]
    return {name: rank_trainings.run(name) for name in names}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every way in one launch: two processes import torch once, and DeepSpeed once where it is."""
    names = [*TORCH, *BESIDE_TORCH, *([*DEEPSPEED, *BESIDE_DEEPSPEED] if has_deepspeed() else ())]
    return in_two_processes(names, tmp_path_factory.mktemp("ranks"))


def assert_learned_the_same(name: str, here: dict[str, Any], alone: dict[str, Any], tolerance: float) -> None:
    """Compare with one process at the same batch: losses, tokens, weights, summaries."""
    _, sign, kind = name.partition("+" if "+" in name else "_")
    other = alone[f"alone{sign}{kind}" if f"alone{sign}{kind}" in alone else "alone"]
    for figure in ("losses", "validation"):
        assert here[figure] == pytest.approx(other[figure], abs=tolerance)
    assert here["weight_sum"] == pytest.approx(other["weight_sum"], rel=tolerance * 10)
    for figure in ("num_steps", "num_input_tokens", "tied", "generated"):
        assert here[figure] == other[figure]


@pytest.mark.parametrize("name", TORCH)
def test_two_processes_learn_what_one_learns_and_show_that_they_were_two(
    name: str, together: dict[str, Any], alone: dict[str, Any]
) -> None:
    assert_learned_the_same(name, together[name], alone, TOLERANCE)
    evidence = together[name]["evidence"][name.partition("_")[0]]
    assert evidence["applied"]
    whole = evidence["numbers"]["num_parameters"]
    share = whole // 2 if name.startswith("fsdp") else whole
    assert evidence["numbers"]["parameters_held"] == [share, share]
    assert evidence["numbers"].get("num_dtensor_parameters", 1) > 0


@NEEDS_DEEPSPEED
@pytest.mark.parametrize("name", DEEPSPEED)
def test_zero_learns_what_one_process_learns_and_shows_its_partitions(
    name: str, together: dict[str, Any], alone: dict[str, Any]
) -> None:
    assert_learned_the_same(name, together[name], alone, 1e-3 if name.endswith("bf16") else TOLERANCE)
    evidence = together[name]["evidence"]["zero_offload" if name.startswith("offload") else "zero"]
    numbers, whole = evidence["numbers"], evidence["numbers"]["num_parameters"]
    assert numbers["optimizer_parameters_held"] == [whole // 2, whole // 2]
    # Offload to the host saves nothing where the model computes on the host: said, not claimed.
    assert evidence["applied"] is name.startswith("zero")
    assert (max(numbers["parameters_held"]) < whole) is ("3" in name)


@pytest.mark.parametrize("name", [*BESIDE_TORCH, *(pytest.param(n, marks=NEEDS_DEEPSPEED) for n in BESIDE_DEEPSPEED)])
def test_methods_that_change_model_optimizer_or_batch_learn_the_same_over_two_processes(
    name: str, together: dict[str, Any], alone: dict[str, Any]
) -> None:
    assert_learned_the_same(name, together[name], alone, TOLERANCE)
    assert all(evidence["applied"] for evidence in together[name]["evidence"].values())


@pytest.mark.slow
def test_teacher_of_a_cell_is_trained_by_all_its_processes(tmp_path: Path) -> None:
    recipe = "[ddp, {distill: {decoder_layers: 1, kind: knowledge_distillation}}]"
    folder = worker_cells.create(tmp_path, recipe=recipe)
    assert start(folder).wait(120) == 0
    record = folder.record
    assert record is not None and record.status == "finished", record and record.error_message
    assert all(evidence.applied for evidence in record.methods)
    assert (compress := record.phase("compress")) is not None and compress.num_steps > 4  # type: ignore[operator]


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Start the worker as an executor does."""
    return subprocess.Popen(
        worker_command(folder.path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def ranks_of(process: subprocess.Popen[bytes], folder: RunFolder) -> list[psutil.Process]:
    """Wait until both ranks live and the first is in its idle phase; return them in order."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = {}
        for child in psutil.Process(process.pid).children():
            environment = child.environ()
            if (
                "KILOWIT_RANKS" in environment
                and Path(environment["KILOWIT_RANKS"], f"rank{environment['RANK']}.json").exists()
            ):
                found[environment["RANK"]] = child
        idles = folder.ledger_path.exists() and '"phase":"idle"' in folder.ledger_path.read_text(encoding="utf-8")
        if len(found) == 2 and idles:
            return [found["0"], found["1"]]
        time.sleep(0.05)
    raise AssertionError("the ranks never lived")


@pytest.mark.parametrize(
    ("victim", "number", "status", "kind", "message"),
    [
        ("launcher", signal.SIGTERM, "interrupted", "interrupted", "SIGTERM"),
        ("rank 1", signal.SIGKILL, "failed", "killed", "rank 1 of 2 died"),
        ("rank 0", signal.SIGKILL, "failed", "killed", "died of SIGKILL"),
    ],
)
def test_end_of_one_process_is_the_end_of_all_and_a_record_says_which(
    victim: str, number: signal.Signals, status: str, kind: str, message: str, tmp_path: Path
) -> None:
    folder = worker_cells.create(tmp_path, recipe="[ddp]", overrides=["measure.idle_second=60"])
    process = start(folder)
    first, second = ranks_of(process, folder)
    {"launcher": psutil.Process(process.pid), "rank 0": first, "rank 1": second}[victim].send_signal(number)
    assert process.wait(60) == 0
    record = folder.record
    assert record is not None
    assert (record.status, record.error_kind, record.error_phase) == (status, kind, "idle")
    assert message in (record.error_message or "")
    assert not first.is_running()
    assert not second.is_running()


def test_ranks_do_not_outlive_a_launcher_that_is_killed(tmp_path: Path) -> None:
    folder = worker_cells.create(tmp_path, recipe="[ddp]", overrides=["measure.idle_second=60"])
    process = start(folder)
    ranks = ranks_of(process, folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    gone, alive = psutil.wait_procs(ranks, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_batch_that_cannot_be_shared_out_is_an_error_of_the_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not shared out evenly over 3"):
        worker_cells.create(tmp_path, recipe="[{ddp: {num_processes: 3}}]")
