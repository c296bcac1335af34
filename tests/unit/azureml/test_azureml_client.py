"""Exports in the hands of Microsoft's own client, with every connection refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from azure_exports import export
from azure_mutations import MUTATIONS
from kilowit.azureml import submit
from kilowit.azureml.lint_keys import KEYS
from kilowit.errors import PartError, StudyError

TYPES = {
    "compute-steps.yml": "AmlCompute", "compute-train-low.yml": "AmlCompute", "compute-train.yml": "AmlCompute",
    "data.yml": "Data", "deployment-triton.yml": "ManagedOnlineDeployment", "deployment.yml": "ManagedOnlineDeployment",
    "endpoint.yml": "ManagedOnlineEndpoint", "environment-serving.yml": "Environment", "environment.yml": "Environment",
    "pipeline.yml": "PipelineJob", "schedule.yml": "JobSchedule", "sweep.yml": "SweepJob", "train.yml": "Command",
}  # fmt: skip
CHECKED_BY_CLIENT = 12  # of the slips, at least: the client and the lint look at different things


def client(python: Path, repository: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    """What tests/azure_client.py prints, a JSON object a line."""
    script = repository / "tests" / "azure_client.py"
    done = subprocess.run([str(python), str(script), *map(str, arguments)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def loaded(
    azure_python: Path,
    repository: Path,
    exported: Path,
    mutants: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[dict[str, Any]]]:
    """What became of every file of every folder, by folder; one process loads all."""
    grid = export(tmp_path_factory.mktemp("grid"), search="grid").folder
    bayesian = export(tmp_path_factory.mktemp("tpe"), search="tpe", more="seeds: [0, 1]\n").folder
    folders = {"good": exported, "grid": grid, "tpe": bayesian, **mutants}
    changed = [folder / MUTATIONS[name].read_by for name, folder in mutants.items()]
    files = client(azure_python, repository, "load", exported, grid, bayesian, *changed)
    by_folder = {str(folder): name for name, folder in folders.items()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in folders}
    for file in files:
        found[by_folder[file["folder"]]].append(file)
    return found


def test_every_exported_file_loads_offline(loaded: dict[str, list[dict[str, Any]]]) -> None:
    assert {file["file"]: file.get("type") for file in loaded["good"]} == TYPES
    assert not [file for name in ("good", "grid", "tpe") for file in loaded[name] if "error" in file]
    assert sum("has_payload" in file for file in loaded["good"]) >= 9
    assert {f["file"] for f in loaded["tpe"]} == {*TYPES, "sweep-1.yml", "sweep-2.yml"} - {"sweep.yml"}


def test_no_slip_goes_past_both(loaded: dict[str, list[dict[str, Any]]], mutants: dict[str, Path]) -> None:
    from kilowit.azureml import lint_folder

    refused_by_client = {name for name in mutants if any("error" in file for file in loaded[name])}
    refused_by_lint = {name for name in mutants if lint_folder(mutants[name])}
    assert refused_by_client | refused_by_lint == set(MUTATIONS)
    assert len(refused_by_client) >= CHECKED_BY_CLIENT, sorted(refused_by_client)


def test_the_lint_knows_the_keys_of_the_client(azure_python: Path, repository: Path) -> None:
    (keys,) = client(azure_python, repository, "keys")
    assert {kind: set(names) for kind, names in keys.items()} == {kind: set(names) for kind, names in KEYS.items()}


def test_the_extra_installs_alone(azure_python: Path) -> None:
    done = subprocess.run([str(azure_python), "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    found = subprocess.run([str(azure_python.parent / "kilowit"), "--version"], capture_output=True, text=True, cwd="/")
    assert found.stdout.startswith("kilowit "), found.stderr


@pytest.fixture(scope="session")
def submitted(
    azure_python: Path,
    repository: Path,
    exported: Path,
    mutants: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """What became of each job that was submitted; one process submits all."""
    denied = shutil.copytree(exported, tmp_path_factory.mktemp("denied") / "azure")
    job = yaml.safe_load((denied / "train.yml").read_text())
    (denied / "train.yml").write_text(yaml.safe_dump({**job, "experiment_name": "refused"}))
    jobs = {kind: exported / f"{kind}.yml" for kind in ("train", "sweep", "pipeline")}
    jobs |= {"denied": denied / "train.yml", "slip": mutants["no compute"] / "train.yml"}
    return dict(zip(jobs, client(azure_python, repository, "submit", *jobs.values()), strict=True))


@pytest.mark.parametrize(("job", "kind"), [("train", "Command"), ("sweep", "Sweep"), ("pipeline", "Pipeline")])
def test_a_job_is_submitted_through_the_real_client(job: str, kind: str, submitted: dict[str, dict[str, Any]]) -> None:
    taken = submitted[job]
    assert taken["status"] == "NotStarted" and taken["studio_url"] == "https://studio/job", taken
    put = taken["requests"][-1]
    assert put["method"] == "PUT" and put["path"].endswith(f"/jobs/{taken['name']}")
    assert put["body"]["properties"]["jobType"] == kind
    if kind == "Sweep":
        space = put["body"]["properties"]["searchSpace"]
        assert space["train_batch_size"] == ["choice", [[2, 4]]]
        assert space["train_learning_rate"][0] == "loguniform"


def test_what_azure_refuses_is_one_error_with_its_words(submitted: dict[str, dict[str, Any]]) -> None:
    answer = submitted["denied"]
    assert answer["exit_code"] == 5
    assert "you may not run jobs here" in answer["error"] and "az login" in answer["error"]


def test_a_folder_with_a_slip_is_not_submitted(submitted: dict[str, dict[str, Any]]) -> None:
    answer = submitted["slip"]
    assert answer["exit_code"] == 2 and "no compute" in answer["error"] and answer["requests"] == []


def test_without_the_extra_the_error_names_it(exported: Path) -> None:
    if importlib.util.find_spec("azure") is not None:
        pytest.skip("azure-ai-ml is installed here")
    wanted = {"subscription": "s", "resource_group": "g", "workspace": "w"}
    with pytest.raises(StudyError, match='no job "trian"'):
        submit(exported, "trian", **wanted)
    with pytest.raises(PartError) as caught:
        submit(exported, "train", **wanted)
    assert "kilowit[azureml]" in str(caught.value.hint)
