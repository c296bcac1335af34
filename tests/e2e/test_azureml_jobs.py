"""The jobs of an export, run as a node would run them: every command in a shell, its inputs and outputs bound."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import kilowit
from azure_environment import own_environment
from azure_exports import Node, export, load
from kilowit.azureml import scoring
from kilowit.cell import Cell
from kilowit.errors import StoreError
from kilowit.record import Record
from kilowit.run.search import SearchRun
from kilowit.store import Store
from kilowit.study import Study

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow
STEPS = ("prepare", "train", "compress", "evaluate", "report")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the whole pipeline has run, a folder a step; ``azure`` is the export."""
    folder = tmp_path_factory.mktemp("pipeline")
    exported = export(folder, search=None, recipe="[{truncate: {max_source_tokens: 24}}]").folder
    job = load(exported, "pipeline.yml")
    node = Node(exported, folder, {"KILOWIT_LOCK": str(folder / "lock")})
    assert tuple(job["jobs"]) == STEPS
    for name, step in job["jobs"].items():
        bound = {}
        for key, written in step.get("inputs", {}).items():
            words = written.strip("${} ").split(".")
            bound[key] = exported / "data" if words[:2] == ["parent", "inputs"] else folder / words[2] / words[4]
        done = node.run(step, name, bound)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    return folder


def test_each_step_of_the_pipeline_leaves_what_the_next_one_takes(pipeline: Path) -> None:
    plan = json.loads((pipeline / "prepare" / "plan" / "plan.json").read_text())
    assert plan["total"]["time_second"]["low"] > 0
    runs = Store(pipeline / "train" / "runs").records()
    assert [r.status for r in runs] == ["finished"]
    chosen = json.loads((pipeline / "compress" / "model" / "chosen.json").read_text())
    assert chosen["run_id"] in {r.run_id for r in runs}
    assert (chosen["runtime"], chosen["precision"], chosen["objective"]) == ("onnxruntime", "int8", "rouge2")
    assert (pipeline / "compress" / "model" / "summarizer" / "summarizer.json").is_file()
    assert list((pipeline / "report" / "report").glob("*.html"))


def test_the_evaluation_is_a_run_beside_the_trained_ones(pipeline: Path) -> None:
    store = Store(pipeline / "report" / "store")
    by_recipe = {record.cell["recipe"]: record for record in store.records()}
    assert set(by_recipe) == {"cell", "onnxruntime-int8"}
    evaluated = by_recipe["onnxruntime-int8"]
    assert evaluated.status == "finished", evaluated.error_message
    assert evaluated.score("rouge2") is not None
    assert evaluated.phase("train") is None
    assert evaluated.cell["settings"]["train"]["max_source_tokens"] == 24  # as its recipe cut them in training
    assert evaluated.cell["factors"]["machine"] is None  # no price is known of the size without a GPU
    assert by_recipe["cell"].cell["factors"]["machine"] == "Standard_NC4as_T4_v3"


def test_runs_of_a_node_are_those_of_the_study_here(pipeline: Path) -> None:
    here = {cell.key for cell in Study.load(pipeline / "here" / "study.yaml").cells}
    assert {record.cell_key for record in Store(pipeline / "train" / "runs").records()} == here


def test_a_job_that_begins_again_runs_nothing_twice(pipeline: Path, tmp_path: Path) -> None:
    """The node is new, its output is not: as after a low-priority node was taken away."""
    exported = pipeline / "azure"
    node = Node(exported, pipeline / "again")
    before = sorted(path.name for path in (pipeline / "train" / "runs").iterdir())
    job = load(exported, "train.yml")
    (pipeline / "again" / "train").mkdir(parents=True)
    (pipeline / "again" / "train" / "runs").symlink_to(pipeline / "train" / "runs")
    done = node.run(job, "train", {"data": exported / "data"})
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (pipeline / "train" / "runs").iterdir()) == before


def test_the_script_brings_a_job_home_and_merges_it(pipeline: Path, tmp_path: Path) -> None:
    """`az` is a stand-in that leaves what `az ml job download --all` leaves; merge and report are real."""
    az = tmp_path / "bin" / "az"
    az.parent.mkdir()
    az.write_text(
        "#!/bin/bash\n"
        f'echo "$@" >> "{tmp_path}/calls"\n'
        'if [ "$2 $3" = "job list" ]; then echo job_0; fi\n'
        'if [ "$2 $3" = "job download" ]; then\n'
        '  while [ $# -gt 0 ]; do [ "$1" = --download-path ] && to=$2; [ "$1" = --name ] && name=$2; shift; done\n'
        '  mkdir -p "$to/artifacts/logs" && echo log > "$to/artifacts/logs/std_log.txt"\n'
        '  [ "$name" = job_0 ] && exit 0\n'
        '  mkdir -p "$to/named-outputs"\n'
        f'  cp -r "{pipeline}/train/runs" "{pipeline}/evaluate/runs" "$to/named-outputs/"\n'
        f'  cp -r "{pipeline}/evaluate/runs" "$to/named-outputs/evaluation"\n'
        "fi\n",
        encoding="utf-8",
    )
    az.chmod(0o755)
    node = Node(pipeline / "azure", tmp_path)
    environment = node._environment()
    environment["PATH"] = f"{az.parent}{os.pathsep}{environment['PATH']}"
    store = tmp_path / "store"
    done = subprocess.run(
        ["bash", str(pipeline / "azure" / "azure.sh"), "home", "job"],
        env={**environment, "STORE": str(store)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {record.cell["recipe"] for record in Store(store).records()} == {"cell", "onnxruntime-int8"}
    assert (store / "report").is_dir()
    calls = (tmp_path / "calls").read_text()
    assert "ml job download --name job --all" in calls and "--workspace-name tiny" in calls


def test_the_scoring_script_answers_with_summaries_and_their_bill(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded by its path, as Azure's inference server loads it."""
    import runpy

    monkeypatch.setenv("AZUREML_MODEL_DIR", str(pipeline / "compress" / "model"))
    script = runpy.run_path(str(pipeline / "azure" / "scoring" / "score.py"))
    script["init"]()
    documents = ["return the value of a given key from this list", "raise an error when it is not there"]
    answer = script["run"](json.dumps({"documents": documents, "num_beams": 1}))
    with kilowit.load_summarizer(pipeline / "compress" / "model" / "summarizer", num_beams=1) as same:
        assert answer["summaries"] == same.summarize(documents)
    bill = answer["bill"]
    assert bill["wall_second"] > 0 and bill["num_output_tokens"] > 0
    assert bill["energy_total_joule_low"] <= bill["energy_total_joule"] <= bill["energy_total_joule_high"]
    for wrong, said in (
        ("{", "not JSON"), ('{"texts": []}', "documents"), ('{"documents": []}', "0 documents"),
        ('{"documents": ["a"], "beams": 2}', 'no option "beams"'),
    ):  # fmt: skip
        refused = script["run"](wrong)
        assert said in refused["error"] and refused["hint"]


def test_the_inference_server_of_microsoft_serves_it(pipeline: Path, repository: Path) -> None:
    """In an environment with what the endpoint's image has: its server, kilowit's wheel, the runtime; no torch."""
    programs = own_environment(repository, "azureml-serving")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "AZUREML_MODEL_DIR": str(pipeline / "compress" / "model"), "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": ""}
    script = pipeline / "azure" / "scoring" / "score.py"
    with (pipeline / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(programs / "azmlinfsrv"), "--entry_script", str(script), "--port", str(port)],
            env=environment, stdout=log, stderr=log, cwd=pipeline, start_new_session=True,
        )  # fmt: skip
    try:
        answers = [_ask(port, body, server) for body in ({"documents": ["return the value of a key"]}, {"texts": 1})]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    (status, answer), (refused, refusal) = answers
    assert status == 200 and len(answer["summaries"]) == 1 and answer["bill"]["energy_total_joule"] > 0
    assert refused == 400 and "documents" in refusal["error"]


def _ask(port: int, body: Mapping[str, object], server: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any]]:
    """Ask until the server answers; status and content."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/score", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(600):
        assert server.poll() is None, "the server has ended: see server.log"
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not answer within a minute")


def test_a_scoring_script_without_its_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    with pytest.raises(StoreError, match="0 summarizers"):
        scoring.init()
    monkeypatch.delenv("AZUREML_MODEL_DIR")
    with pytest.raises(StoreError, match="is not set"):
        scoring.init()


def test_trials_of_a_sweep_come_home_as_the_trials_of_the_search(tmp_path: Path) -> None:
    """A trial reports its objective to MLflow; a search that finds its trials done goes on to the winner."""
    pytest.importorskip("mlflow")
    exported = export(tmp_path, search="random", num_trials=1).folder
    job = load(exported, "sweep.yml")
    runs = tmp_path / "trial" / "runs"
    tracking = {"MLFLOW_TRACKING_URI": f"file://{tmp_path}/mlflow", "MLFLOW_ALLOW_FILE_STORE": "true"}
    node = Node(exported, tmp_path, {"AZUREML_RUN_ID": "gentle_sweep_0", **tracking})
    drawn = {"search_space.train_learning_rate": "0.0015", "search_space.train_batch_size": "4"}
    done = node.run({**job, **job["trial"]}, "trial", {"data": exported / "data"}, drawn)
    assert done.returncode == 0, done.stderr
    (trial,) = Store(runs).records()
    validate = trial.phase("validate")
    assert trial.cell["search"]["parameters"] == {"train.learning_rate": 0.0015, "train.batch_size": 4}
    (reported,) = (tmp_path / "mlflow").glob("*/*/metrics/validation_loss")
    assert validate is not None and float(reported.read_text().split()[1]) == pytest.approx(validate.loss_last)
    study = Study.load(tmp_path / "here" / "study.yaml")
    assert study.search is not None
    asked: list[Cell] = []

    def note_cell(cell: Cell, earlier: Sequence[Record]) -> Record | None:
        asked.append(cell)
        return None

    SearchRun(study.cells[0], study.search, Store(runs), note_cell, lambda record: True, print).run()
    (winner,) = asked
    assert winner.search is not None and winner.search["role"] == "winner"
    assert winner.search["parameters"] == trial.cell["search"]["parameters"]


def test_a_study_that_was_exported_reads_as_the_one_it_came_from(tmp_path: Path) -> None:
    exported = export(tmp_path).folder
    document = yaml.safe_load((exported / "source" / "study.yaml").read_text())
    assert document["datasets"][0]["path"] == "./data/0/pairs.jsonl"
    assert document["factors"] == {"machine": "Standard_NC4as_T4_v3", "region": "azure/westus2"}
    assert (exported / "data" / "0" / "pairs.jsonl").read_bytes() == (tmp_path / "here" / "pairs.jsonl").read_bytes()
