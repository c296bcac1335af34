"""Slips that people make in files for Azure ML: each is one change to one file of a good export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Mutation:
    """One slip.

    Args:
        file: that is changed.
        change: changes its plain values in place.
        said: words of the finding that names it.
        text: changes the text instead, of any file of the export.
    """

    file: str
    said: str
    change: Callable[[dict[str, Any]], object] | None = None
    text: tuple[str, str] | None = None

    @property
    def read_by(self) -> str:
        """The YAML file that names what is changed."""
        readers = {"environment": "environment.yml", "scoring": "deployment.yml"}
        return readers.get(self.file.partition("/")[0], self.file)

    def apply(self, folder: Path) -> None:
        path = folder / self.file
        if self.text is not None:
            old = path.read_text(encoding="utf-8")
            assert self.text[0] in old, f"{self.file} has no {self.text[0]!r}"
            path.write_text(old.replace(*self.text), encoding="utf-8")
            return
        assert self.change is not None
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.change(value)
        path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


MUTATIONS: dict[str, Mutation] = {
    # commands and what they name
    "an input that nobody binds": Mutation("train.yml", "not bound", text=("inputs.data}}", "inputs.dataset}}")),
    "an output that nobody binds": Mutation("train.yml", "not bound", text=("outputs.runs}}", "outputs.store}}")),
    "an output that nobody writes": Mutation(
        "train.yml", "does not write it", _set("outputs", "model", to={"type": "uri_folder"})
    ),
    "a binding of one brace": Mutation("train.yml", "no binding", text=('"${{inputs.data}}"', '"{{inputs.data}}"')),
    "a study that is not uploaded": Mutation(
        "train.yml", "is all that the node will have", text=("run study.yaml", "run stdy.yaml")
    ),
    "a source folder that is not there": Mutation("train.yml", "no folder", _set("code", to="./src")),
    "no command": Mutation("train.yml", "no command", _drop("command")),
    "an open quotation": Mutation("train.yml", "no shell reads it", text=('outputs.runs}}"', "outputs.runs}}")),
    "a wrong type of job": Mutation("train.yml", "not taken", _set("type", to="comand")),
    "a key that is none": Mutation("train.yml", "no key", _set("computee", to="azureml:train")),
    "a time in words": Mutation("train.yml", "whole number", _set("limits", "timeout", to="two hours")),
    "no time at all": Mutation("train.yml", "ends the job at once", _set("limits", "timeout", to=0)),
    # clusters
    "no compute": Mutation("train.yml", "no compute", _drop("compute")),
    "a cluster that nobody defines": Mutation(
        "train.yml", "no file here defines the cluster", _set("compute", to="azureml:gpu-cluster")
    ),
    "a size that never was": Mutation("compute-train.yml", "no VM size", _set("size", to="Standard_NC4as_T4_v33")),
    "a size that was retired": Mutation(
        "compute-train.yml", "was retired 2025-09-30", _set("size", to="Standard_NC6s_v3")
    ),
    "no size": Mutation("compute-train.yml", "no VM size", _drop("size")),
    "a tier that is called spot": Mutation("compute-train-low.yml", "not taken", _set("tier", to="spot")),
    "nodes that never rest": Mutation("compute-train.yml", "billed while nobody works", _set("min_instances", to=1)),
    "nodes that wait a day": Mutation(
        "compute-train.yml", "idle nodes", _set("idle_time_before_scale_down", to=86_400)
    ),
    "many nodes in words": Mutation("compute-train.yml", "whole number", _set("max_instances", to="many")),
    "a cluster's name with an underscore": Mutation(
        "compute-train.yml", "name of a cluster", _set("name", to="train_gpu")
    ),
    # environments and data
    "an environment that moves": Mutation(
        "train.yml", "not pinned", _set("environment", to="azureml:tiny-environment@latest")
    ),
    "an environment of another version": Mutation(
        "train.yml", "no file here defines", _set("environment", to="azureml:tiny-environment:1")
    ),
    "an environment without an image": Mutation("environment.yml", "neither image nor build", _drop("build")),
    "an image that moves": Mutation(
        "environment.yml",
        "not pinned",
        lambda v: (v.pop("build"), v.update(image="mcr.microsoft.com/azureml/base:latest")),
    ),
    "a base image without a tag": Mutation(
        "environment/Dockerfile",
        "Dockerfile:2: image python is not pinned",
        text=("python:3.11.9-slim-bookworm", "python"),
    ),
    "a wheel that is not in the context": Mutation(
        "environment/Dockerfile", "not in the build context", text=("COPY kilowit-", "COPY kilowit_")
    ),
    "data that is not there": Mutation("data.yml", "is not there", _set("path", to="./corpus")),
    "data of no version": Mutation("data.yml", "no version", _drop("version")),
    # sweeps
    "a setting that no trial takes": Mutation(
        "sweep.yml", "does not take it", _set("search_space", "warmup", to={"type": "choice", "values": [0, 10]})
    ),
    "a metric that no trial reports": Mutation(
        "sweep.yml", "no trial reports", _set("objective", "primary_metric", to="rougeLsum_per_wh")
    ),
    "a goal that is none": Mutation("sweep.yml", "not taken", _set("objective", "goal", to="up")),
    "a sampling that is none": Mutation("sweep.yml", "not taken", _set("sampling_algorithm", to="evolution")),
    "a grid over a range": Mutation(
        "sweep.yml", "grid sampling does not take loguniform", _set("sampling_algorithm", to="grid")
    ),
    "a range upside down": Mutation(
        "sweep.yml", "is not below", _set("search_space", "train_learning_rate", "min_value", to=1.0)
    ),
    "more at once than in all": Mutation(
        "sweep.yml", "is above max_total_trials", _set("limits", "max_concurrent_trials", to=9)
    ),
    # pipeline and schedule
    "a step that is not there": Mutation(
        "pipeline.yml", "no step of that name", text=("jobs.train.outputs", "jobs.tran.outputs")
    ),
    "an output that a step has not": Mutation(
        "pipeline.yml", "no such output", text=("jobs.compress.outputs.model", "jobs.compress.outputs.models")
    ),
    "a step that waits for itself": Mutation(
        "pipeline.yml",
        "waits for itself",
        _set("jobs", "prepare", "inputs", "runs", to="${{parent.jobs.report.outputs.store}}"),
    ),
    "an hour that no day has": Mutation("schedule.yml", "hour 25", _set("trigger", "expression", to="0 25 * * *")),
    "a schedule of nothing": Mutation("schedule.yml", "no job of this folder", _set("create_job", to="./pipelin.yml")),
    # serving
    "an endpoint in capitals": Mutation("endpoint.yml", "name of an endpoint", _set("name", to="Tiny")),
    "an endpoint of two letters": Mutation("endpoint.yml", "name of an endpoint", _set("name", to="ab")),
    "a password": Mutation("endpoint.yml", "not taken", _set("auth_mode", to="password")),
    "a deployment to nowhere": Mutation(
        "deployment.yml", "no file here defines the endpoint", _set("endpoint_name", to="tinny")
    ),
    "a size that endpoints do not take": Mutation(
        "deployment.yml", "do not take VM size", _set("instance_type", to="Standard_D4ds_v5")
    ),
    "two instances in words": Mutation("deployment.yml", "whole number", _set("instance_count", to="two")),
    "a request of ten minutes": Mutation(
        "deployment.yml", "is not within 1 to 180000", _set("request_settings", "request_timeout_ms", to=600_000)
    ),
    "a script that is not there": Mutation(
        "deployment.yml", 'no "main.py"', _set("code_configuration", "scoring_script", to="main.py")
    ),
    "a script without run": Mutation("scoring/score.py", "has no run", text=("import init, run", "import init")),
    "a model of no version": Mutation("deployment.yml", "has no version", _set("model", to="azureml:tiny")),
    "a Triton deployment of no model": Mutation("deployment-triton.yml", "no model", _drop("model")),
    # YAML
    "the same key twice": Mutation(
        "train.yml", "compute", text=("compute: azureml:train\n", "compute: azureml:train\ncompute: azureml:steps\n")
    ),
    "a schema that is none": Mutation("train.yml", "no schema", text=("commandJob.schema", "comandJob.schema")),
    "a tab": Mutation("train.yml", "", text=("type: command", "\ttype: command")),
}


def write_mutants(good: Path, out: Path) -> dict[str, Path]:
    """Write one copy of an export for each slip; what is not changed is linked."""
    folders = {}
    for number, (name, mutation) in enumerate(MUTATIONS.items()):
        folder = out / f"mutant-{number:02d}"
        folder.mkdir(parents=True)
        for item in good.iterdir():
            changed = mutation.file.partition("/")[0] == item.name
            if item.is_dir() and changed:
                shutil.copytree(item, folder / item.name)
            elif item.is_dir():
                (folder / item.name).symlink_to(item)
            else:
                shutil.copyfile(item, folder / item.name)
        mutation.apply(folder)
        folders[name] = folder
    return folders
