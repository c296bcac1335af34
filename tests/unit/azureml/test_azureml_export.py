"""What an export holds, what it says, and what it refuses before a file is written."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from azure_exports import MACHINE, export, load, write_study
from kilowit.azureml import AzureOptions, export_study
from kilowit.azureml.options import azure_name, fault_of_cron
from kilowit.azureml.space import read_parameters, search_space
from kilowit.azureml.steps import compress_best, read_chosen, run_trial
from kilowit.azureml.wheel import installed_versions, write_wheel
from kilowit.cli import main
from kilowit.errors import PartError, StoreError, StudyError
from kilowit.settings import RuntimeSettings
from kilowit.study import Study


def test_cells_of_the_exported_study_have_the_keys_of_the_original(exported: Path, tmp_path: Path) -> None:
    """With the data where a node has it: beside the study."""
    there = tmp_path / "node"
    there.mkdir()
    (there / "study.yaml").write_bytes((exported / "source" / "study.yaml").read_bytes())
    (there / "data").symlink_to(exported / "data")
    original = Study.load(exported.parent / "here" / "study.yaml")
    assert [c.key for c in Study.load(there / "study.yaml").cells] == [c.key for c in original.cells]
    assert original.search is not None


def test_another_content_has_another_version(exported: Path, tmp_path: Path) -> None:
    again = export(tmp_path / "same").folder
    for name in ("environment.yml", "environment-serving.yml", "data.yml"):
        assert load(again, name)["version"] == load(exported, name)["version"]
    study = write_study(tmp_path / "other")
    (tmp_path / "other" / "pairs.jsonl").open("a").write('{"document": "a b c", "summary": "a"}\n')
    other = export_study(study, tmp_path / "changed", AzureOptions(machine=MACHINE))
    assert load(other.folder, "data.yml")["version"] != load(exported, "data.yml")["version"]
    assert any("no Azure region" in note for note in other.notes)


def test_the_images_name_what_a_study_needs(tmp_path: Path) -> None:
    folder = export(tmp_path, search="tpe").folder
    training = (folder / "environment" / "Dockerfile").read_text()
    serving = (folder / "serving" / "Dockerfile").read_text()
    assert "[metrics,onnx,search,train]" in training and "azureml-mlflow==" in training
    assert "[onnx]" in serving and "@sha256:" in serving
    pins = (folder / "environment" / "constraints.txt").read_text().split()
    assert all("+" not in pin for pin in pins)
    names = {pin.partition("==")[0] for pin in pins}
    assert {"torch", "transformers", "onnxruntime", "optuna", "pydantic"} < names
    assert not names & {"mlflow", "fastapi", "openvino", "requests", "kilowit"}
    assert "pydantic" not in (folder / "serving" / "constraints.txt").read_text()


def test_an_extra_that_asks_for_another_brings_its_pins() -> None:
    names = {pin.partition("==")[0] for pin in installed_versions(["openvino"])}
    assert {"openvino", "onnx", "onnxruntime", "psutil"} <= names


def test_the_wheel_runs_where_nothing_else_of_kilowit_is(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    assert write_wheel(tmp_path).read_bytes() == wheel.read_bytes()
    names = zipfile.ZipFile(wheel).namelist()
    assert "kilowit/azureml/vm_sizes.csv" in names and not [n for n in names if n.endswith((".pyc", ".so"))]
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import kilowit; print(kilowit.__file__)"],
        env={**os.environ, "PYTHONPATH": str(wheel)}, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert str(wheel) in done.stdout, done.stderr


def test_the_readme_says_what_is_known_of_prices_and_no_more(exported: Path) -> None:
    text = (exported / "README.md").read_text()
    assert f"| train | `{MACHINE}` | 0.526 USD (" in text
    assert "| endpoint | `Standard_D4as_v4` | not known here | not known here |" in text
    assert "$" not in text.replace("$PATH", "")
    for name in exported.glob("*.yml"):
        assert f"`{name.name}`" in text


def test_the_script_is_one_that_a_shell_reads_and_explains_itself(exported: Path) -> None:
    script = exported / "azure.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    usage = subprocess.run([str(script)], capture_output=True, text=True, check=True).stdout
    readme = (exported / "README.md").read_text()
    for verb in usage.replace("\n", " ").partition("azure.sh")[2].split("|"):
        assert f"azure.sh {verb.split()[0]}" in readme, verb


def test_the_script_makes_and_unmakes_all_that_the_files_define(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "az").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n')
    (tmp_path / "az").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    asked = ("up", "train", "sweep", "pipeline", "schedule", "unschedule", "unserve", "down")
    for verb in (*([verb] for verb in asked), ["serve", "job"], ["serve-triton", "f"], ["ask", "f"], ["watch", "job"]):
        subprocess.run([str(exported / "azure.sh"), *verb], env=environment, check=True, capture_output=True)
    calls = (tmp_path / "calls").read_text()
    for path in exported.glob("*.yml"):
        assert f"--file {path.name}" in calls, path.name
    assert "workspace delete --all-resources --permanently-delete" in calls and "group delete" in calls


@pytest.mark.parametrize("algorithm", ["asha", "pbt"])
def test_a_search_that_azure_has_not_runs_within_the_train_job(algorithm: str, tmp_path: Path) -> None:
    done = export(tmp_path, search=algorithm)
    assert "sweep.yml" not in done.files
    assert any("no like among sweeps" in note for note in done.notes)
    assert "search" in yaml.safe_load((done.folder / "source" / "study.yaml").read_text())


@pytest.mark.parametrize(
    ("algorithm", "rate"),
    [
        ("random", {"type": "loguniform", "min_value": math.log(1e-4), "max_value": math.log(1e-2)}),
        ("tpe", {"type": "uniform", "min_value": math.log(1e-4), "max_value": math.log(1e-2)}),
        ("grid", {"type": "choice", "values": pytest.approx([1e-4, 1e-3, 1e-2])}),
    ],
)
def test_a_space_goes_there_and_comes_back(algorithm: str, rate: dict[str, object], tmp_path: Path) -> None:
    search = Study.load(write_study(tmp_path, search=algorithm)).search
    assert search is not None
    space = search_space(search)
    assert space == {"train_learning_rate": rate, "train_batch_size": {"type": "choice", "values": [2, 4]}}
    drawn = str(math.log(1e-3)) if algorithm == "tpe" else str(space["train_learning_rate"].get("values", [0, 1e-3])[1])
    found = read_parameters(search, [f"train_learning_rate={drawn}", "train_batch_size=4"])
    assert found == {"train.learning_rate": pytest.approx(1e-3), "train.batch_size": 4}
    assert isinstance(found["train.batch_size"], int)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["train_learning_rate"], "no parameter of this search"),
        (["train_rate=1"], "no parameter of this search"),
        (["train_learning_rate=0.001"], "no value for train_batch_size"),
        (["train_learning_rate=3", "train_batch_size=2"], "not within"),
        (["train_learning_rate=x", "train_batch_size=2"], "no number"),
        (["train_learning_rate=0.001", "train_batch_size=3"], "no choice"),
    ],
)
def test_parameters_that_are_not_of_the_space_are_refused(given: list[str], said: str, tmp_path: Path) -> None:
    search = Study.load(write_study(tmp_path)).search
    assert search is not None
    with pytest.raises(StudyError, match=said) as caught:
        read_parameters(search, given)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--machine", "Standard_NC6s_v3"], "was retired 2025-09-30"),
        (["--machine", "Standard_NC4as"], "no VM size"),
        ([], "nobody says on which VM size"),
        (["--machine", MACHINE, "--cpu-machine", MACHINE], "leave idle"),
        (["--machine", MACHINE, "--serve-machine", "Standard_D4ds_v5"], "do not take"),
        (["--machine", MACHINE, "--runtime", "onnx"], 'no runtime "onnx"'),
        (["--machine", MACHINE, "--schedule", "daily"], "has 1 fields"),
        (["--machine", MACHINE, "--region", "westus22"], "westus22"),
        (["--machine", MACHINE, "--set", "models=[lead]", "--set", "search=null"], "no cell of this study is trained"),
        (["--machine", MACHINE, "--set", "search.space={predict.num_beams: {choice: [null, 2]}}"], "cannot hand on"),
    ],
)
def test_what_could_not_run_is_refused_and_leaves_nothing(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "here")
    assert main(["azureml", "export", str(study), "--out", str(tmp_path / "azure"), *options]) == 2
    message = capsys.readouterr().err
    assert said in message and len(message.strip().splitlines()) >= 2
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_the_verb_writes_the_files_and_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path)
    out = tmp_path / "azure"
    command = ["azureml", "export", str(study), "--out", str(out), "--machine", MACHINE, "--set", "train.num_steps=2"]
    assert main(command) == 0
    assert str(out / "pipeline.yml") in capsys.readouterr().out
    assert load(out / "source", "study.yaml")["train"]["num_steps"] == 2
    assert main(command) == 4
    assert "is there already" in capsys.readouterr().err


def test_a_judge_of_this_machine_is_not_sent_away(tmp_path: Path) -> None:
    judge = tmp_path / "judge.sh"
    judge.write_text("#!/bin/sh\n")
    judge.chmod(0o755)
    study = write_study(tmp_path)
    text = study.read_text().replace(
        "metrics: [rouge]", "metrics: [rouge, {judge: {name: j, command: [./judge.sh], scores: [mine], version: '1'}}]"
    )
    study.write_text(text)
    with pytest.raises(StudyError) as caught:
        export_study(study, tmp_path / "azure", AzureOptions(machine=MACHINE))
    assert "judge.sh" in str(caught.value)


def test_a_store_without_models_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="kept its model") as caught:
        compress_best(tmp_path, tmp_path / "out", "rouge2", RuntimeSettings(name="torch"))
    assert "keep_model" in str(caught.value.hint)
    with pytest.raises(StoreError, match="not the output of compress"):
        read_chosen(tmp_path)


def test_a_trial_of_no_search_or_no_cell_is_refused(tmp_path: Path) -> None:
    plain = Study.load(write_study(tmp_path / "plain", search=None))
    with pytest.raises(StudyError, match="has no search"):
        run_trial(plain, "00", [], 0, tmp_path / "work", tmp_path / "home")
    searched = Study.load(write_study(tmp_path / "searched"))
    with pytest.raises(StudyError, match="0 trained cells"):
        run_trial(searched, "zz", [], 0, tmp_path / "work", tmp_path / "home")
    with pytest.raises(StudyError, match="which trial"):
        run_trial(searched, searched.cells[0].key[:12], [], None, tmp_path / "work", tmp_path / "home")


@pytest.mark.parametrize("expression", ["0 3 1 * *", "*/15 0-6 * 1,7 1-5", "0 0 * * 0"])
def test_a_schedule_that_comes_is_taken(expression: str) -> None:
    assert fault_of_cron(expression) is None


@pytest.mark.parametrize("expression", ["60 3 1 * *", "0 3 0 * *", "a 3 1 * *", "0 3 1 13 *", "0 3 1 *", "0 3 1 * 7-9"])
def test_a_schedule_that_never_comes_is_not(expression: str) -> None:
    assert fault_of_cron(expression)


@pytest.mark.parametrize("text", ["SAMSum_green.2", "9-lives", "a" * 60, "x--y_"])
def test_names_fit_clusters_assets_and_endpoints(text: str) -> None:
    from kilowit.azureml.lint_serving import ENDPOINT_NAME

    assert ENDPOINT_NAME.fullmatch(azure_name(text)) or len(azure_name(text)) < 3


def test_a_size_without_a_price_trains_and_is_billed_by_none(tmp_path: Path) -> None:
    done = export(tmp_path, options={"machine": "Standard_D8ds_v5"})
    assert load(done.folder, "compute-train.yml")["size"] == "Standard_D8ds_v5"
    assert load(done.folder / "source", "study.yaml")["factors"]["machine"] is None
    assert "--machine" not in load(done.folder, "pipeline.yml")["jobs"]["prepare"]["command"]
    assert any("no price of Standard_D8ds_v5" in note for note in done.notes)


def test_a_runtime_that_lacks_the_number_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartError):
        export(tmp_path, options={"runtime": "torch", "precision": "int3"})
