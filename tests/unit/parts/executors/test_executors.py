"""Executors: cards, what a study may say of them, GPUs one by one, and a machine that cells share."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import pytest

from kilowit import parts
from kilowit.errors import ExecutorError, StudyError
from kilowit.meter import Meter
from kilowit.parts.executor import ExecutorCall, Loss, num_cells_at_once, read_job, worker_environment, write_job
from kilowit.parts.executors import local
from kilowit.parts.sensor import ENERGY, POWER, Channel, Opening, Sweep
from kilowit.parts.shared_sensor import SharedSensor
from kilowit.run.nodes import this_node
from kilowit.study import Study
from meter_bench import bench

fake = bench("meter_fake_nvml")
HEADINGS = ("What it does", "When to use", "When not", "Trade-off", "Options", "Needs", "Source")
STUDY = "{name: a, models: [lead], datasets: [docstrings], executor: %s}"


@pytest.mark.parametrize("name", parts.names("executors"))
def test_every_executor_has_a_card_with_every_heading_and_option(name: str) -> None:
    card = parts.card("executors", name)
    assert card.startswith(f"{name}: ")
    assert [heading for heading in HEADINGS if not re.search(rf"^{heading}  ", card, re.MULTILINE)] == []
    assert all(option in card for option in parts.load("executors", name).Options.model_fields)


def test_study_names_an_executor_and_its_key_does_not_know(tmp_path: Path) -> None:
    plain, ray = Study.parse(STUDY % "local"), Study.parse(STUDY % "{name: ray, num_cpus: 2.0}")
    assert plain.executor == ExecutorCall("local", {})
    assert ray.executor == ExecutorCall("ray", {"num_cpus": 2.0})
    assert plain.cells[0].key == ray.cells[0].key


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("slrm", 'no executor "slrm". Did you mean "slurm"?'),
        ("{name: ray, cpus: 2}", 'no key "cpus"'),
        ("[local]", "expected an executor's name"),
        ("{name: slurm, nodes: 0}", "found 0"),
    ],
)
def test_what_is_wrong_with_an_executor_is_said_at_its_place(written: str, words: str) -> None:
    with pytest.raises(StudyError, match=re.escape(words)) as caught:
        Study.parse(STUDY % written)
    assert "executor" in str(caught.value)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [fake.FakeGpu(f"GPU-{letter}", lambda: 1.0, lambda: 1.0) for letter in "abc"]
    monkeypatch.setitem(sys.modules, "pynvml", fake.FakeNvml(devices))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_named_by_uuid_and_only_those_that_may_be_used(
    three_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local.visible_gpus("all") == ["GPU-a", "GPU-b", "GPU-c"]
    assert local.visible_gpus([2, 0, 2]) == ["GPU-c", "GPU-a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert local.visible_gpus("all") == ["GPU-b"]
    with pytest.raises(ExecutorError, match="no GPU 0; those that may be used: 1"):
        local.visible_gpus([0])


def test_on_a_machine_without_a_gpu_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake.FakeNvml([], init_error=12))
    with pytest.raises(ExecutorError, match="no NVIDIA GPU") as caught:
        ExecutorCall("local", {"gpus": "all"}).make(4)
    assert caught.value.hint is not None


WORKER = """
import json, os, pathlib, sys
names = ("CUDA_VISIBLE_DEVICES", "KILOWIT_NUM_CELLS_AT_ONCE")
pathlib.Path(sys.argv[1], "seen").write_text(json.dumps([os.environ.get(name) for name in names]))
"""


def test_each_cell_sees_one_gpu_and_gives_it_back(three_gpus: None, tmp_path: Path) -> None:
    def command(folder: Path) -> list[str]:
        return [sys.executable, "-S", "-c", WORKER, str(folder)]

    executor = local.LocalExecutor(command, gpus=local.visible_gpus([0, 1]))
    assert (executor.num_at_once, executor.num_gpus) == (2, 1)
    seen = []
    for number in range(2):
        folders = [tmp_path / f"{number}{letter}" for letter in "xy"]
        for folder in folders:
            folder.mkdir()
        jobs = [executor.start(folder) for folder in folders]
        for job in jobs:
            while job.poll() is None:
                threading.Event().wait(0.01)
        seen += sorted((folder / "seen").read_text() for folder in folders)
    assert seen == ['["GPU-a", "2"]', '["GPU-b", "2"]'] * 2


class _Host:
    name, components, may_hang = "host", ("cpu",), False

    def __init__(self) -> None:
        self.number = 0

    def open(self) -> Opening:
        return Opening([
            Channel("cpu", "counter", ENERGY, "cpu", "cpu", "rapl", wrap=1000.0),
            Channel("gpu", "power", POWER, "gpu", "gpu", "nvml_sampled"),
        ])  # fmt: skip

    def read(self, *, cheap_only: bool) -> Sweep:
        self.number += 1
        return Sweep({"cpu": 100.0 * self.number, "gpu": 50.0}, {})

    def close(self) -> None: ...

    def describe(self) -> dict[str, object]:
        return {"sensor": self.name}


def test_joules_that_cells_share_are_booked_as_a_share_up_to_the_whole() -> None:
    second = [0.0]
    meter = Meter(
        sensors=[SharedSensor(_Host(), 4)], period_second=None, clock=lambda: second[0], utc_clock=lambda: 0.0
    )  # type: ignore[list-item]
    with meter, meter.phase("train"):
        second[0] += 10.0
    train = meter.stop().phase("train")
    assert train is not None
    assert train.energy_cpu_joule == pytest.approx(25.0)  # the counter moved by 100 J
    assert (train.energy_cpu_joule_low, train.energy_cpu_joule_high) == (pytest.approx(25.0), pytest.approx(100.0))
    assert train.energy_cpu_source == "rapl/4"
    assert train.energy_gpu_joule == pytest.approx(500.0)


def test_job_is_found_again_by_the_executor_that_left_it(tmp_path: Path) -> None:
    assert read_job(tmp_path, "slurm") is None
    write_job(tmp_path, "slurm", job_id="12")
    assert read_job(tmp_path, "slurm") == {"executor": "slurm", "job_id": "12"}
    assert read_job(tmp_path, "ray") is None
    assert num_cells_at_once(worker_environment("ray", 3)) == 3
    assert Loss("lost", "gone").kind == "lost"


def test_node_that_makes_no_sense_is_refused() -> None:
    for number, where in (("2", "a:1"), ("x", "a:1"), ("0", "nowhere")):
        said = {"KILOWIT_NUM_NODES": "2", "KILOWIT_NODE": number, "KILOWIT_RENDEZVOUS": where}
        with pytest.raises(ExecutorError, match="is no node of a cell"):
            this_node(said)
