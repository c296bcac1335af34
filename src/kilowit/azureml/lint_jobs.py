"""Rules for jobs: what a command names is bound, is there, and would run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from kilowit.azureml.lint import File, Folder
from kilowit.azureml.lint_resources import check_image
from kilowit.azureml.space import input_name
from kilowit.errors import near_name_hint
from kilowit.study_yaml import DocumentPath

BINDING: Final = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_HALF: Final = re.compile(r"\$\{\{(?![^{}]*\}\})|(?<!\$)\{\{\s*(inputs|outputs|search_space)\.")
_SPACES: Final = ("inputs", "outputs", "search_space")
_FILE: Final = re.compile(r"[\w./-]+\.(ya?ml|py|sh)")
_OF_ENVIRONMENT: Final = "azureml:<name>:<version>, of an environment file of this folder"
_SAMPLED_BY: Final = {
    "grid": ("choice",),
    "bayesian": ("choice", "uniform", "quniform"),
    "random": ("choice", "uniform", "quniform", "loguniform", "qloguniform", "normal", "qnormal", "lognormal",
               "qlognormal", "randint"),
}  # fmt: skip


def check_command_job(file: File, folder: Folder) -> None:
    """Check a command job that stands alone."""
    _check_command(file, folder, (), {name: set(file.mapping(name)) for name in ("inputs", "outputs")})
    check_cluster_of(file, folder, (), file.get("compute"))
    _check_limits(file, ())


def check_sweep_job(file: File, folder: Folder) -> None:
    """Check a sweep: its trial, its space, its objective."""
    bound = {name: set(file.mapping(name)) for name in _SPACES}
    command = _check_command(file, folder, ("trial",), bound)
    used = {name.partition(".")[2] for name in BINDING.findall(command) if name.startswith("search_space.")}
    for name in sorted(bound["search_space"] - used):
        message = "the trial's command does not take it: all trials would be alike in it"
        file.fault(("search_space", name), message, f"Add ${{{{search_space.{name}}}}} to trial.command.", at_key=True)
    check_cluster_of(file, folder, (), file.get("compute"))
    _check_space(file)
    _check_objective(file)
    limits = file.mapping("limits")
    total, at_once = limits.get("max_total_trials"), limits.get("max_concurrent_trials")
    if not isinstance(total, int) or total < 1:
        file.fault(("limits",), "no max_total_trials of 1 or more", "Say how many trials may be paid for.")
    elif isinstance(at_once, int) and at_once > total:
        message = f"max_concurrent_trials {at_once} is above max_total_trials {total}"
        file.fault(("limits", "max_concurrent_trials"), message, f"Give at most {total}.")
    _check_limits(file, ())


def check_pipeline_job(file: File, folder: Folder) -> None:
    """Check a pipeline: each step, and that no step waits for itself."""
    default = file.get("settings", "default_compute")
    steps = file.mapping("jobs")
    if not steps:
        file.fault(("jobs",), "no steps", "Add jobs.")
    for name, step in steps.items():
        if not isinstance(step, dict) or step.get("type") != "command":
            continue  # its own loader knows other kinds
        path: DocumentPath = ("jobs", name)
        bound = {space: set(file.mapping("jobs", name, space)) for space in ("inputs", "outputs")}
        _check_command(file, folder, path, bound)
        check_cluster_of(file, folder, path, step.get("compute") or default)
        _check_limits(file, path)
        _check_parents(file, path, steps)
    _check_order(file, steps)


def check_cluster_of(file: File, folder: Folder, path: DocumentPath, compute: Any) -> None:
    """Check that a job has a cluster, and one that is defined here."""
    known = folder.names("amlCompute")
    at = (*path, "compute")
    if not isinstance(compute, str) or not compute:
        file.fault(at, "no compute: nothing would run it", f"Add compute: azureml:<cluster>. Here: {_listed(known)}.")
        return
    name = compute.removeprefix("azureml:")
    if not compute.startswith("azureml:"):
        file.fault(at, f'"{compute}" does not begin with azureml:', f"Write azureml:{name}.")
    elif name not in known:
        file.fault(at, f'no file here defines the cluster "{name}"', near_name_hint(name, known))


def _check_command(file: File, folder: Folder, path: DocumentPath, bound: Mapping[str, set[str]]) -> str:
    """Check command, code and environment of a job, a step or a trial; return the command."""
    command = file.get(*path, "command")
    if not isinstance(command, str) or not command.strip():
        file.fault((*path, "command"), "no command", "Say what is to be run.")
        return ""
    at = (*path, "command")
    for name in BINDING.findall(command):
        _check_binding(file, at, name, bound)
    if match := _HALF.search(command):
        part = command[match.start() : match.start() + 30]
        file.fault(at, f'"{part}" is no binding and would be passed on as it is', "Write ${{inputs.name}}.")
    for name in sorted(bound.get("outputs", set()) - _used(command, "outputs")):
        message = "the command does not write it: it would be empty"
        file.fault((*path, "outputs", name), message, f"Add ${{{{outputs.{name}}}}} to the command.", at_key=True)
    _check_code(file, path, command)
    _check_environment(file, folder, (*path, "environment"))
    _check_inputs(file, folder, path)
    return command


def _check_binding(file: File, at: DocumentPath, name: str, bound: Mapping[str, set[str]]) -> None:
    space, _, rest = name.partition(".")
    own = rest.partition(".")[0]
    if space not in bound:
        known = " or ".join(bound)
        file.fault(
            at, f"${{{{{name}}}}} cannot be bound here", f"A command takes {known}. {near_name_hint(space, bound)}"
        )
    elif own not in bound[space]:
        hint = near_name_hint(own, bound[space]) if bound[space] else f"Add {space}: {{{own}: ...}}."
        file.fault(at, f"${{{{{name}}}}} is not bound: no {space} of that name", hint)


def _used(command: str, space: str) -> set[str]:
    return {name.split(".")[1] for name in BINDING.findall(command) if name.startswith(f"{space}.")}


def _check_code(file: File, path: DocumentPath, command: str) -> None:
    code = file.get(*path, "code")
    if code is None:
        return
    if not isinstance(code, str) or "://" in code or code.startswith("azureml:"):
        return  # kept by Azure: what is in it cannot be seen from here
    folder = file.folder / code
    if not folder.is_dir():
        file.fault((*path, "code"), f'no folder "{code}"', "Name the folder that is to be uploaded, e.g. ./source.")
        return
    try:
        words = shlex.split(command)
    except ValueError as error:
        file.fault((*path, "command"), f"no shell reads it ({error})", "Close the quotation.")
        return
    for word in words:
        if _FILE.fullmatch(word) and not word.startswith("/") and not (folder / word).exists():
            known = [item.name for item in folder.iterdir() if item.is_file()]
            message = f'"{word}" is not in {code}, which is all that the node will have'
            file.fault((*path, "command"), message, near_name_hint(word, known))


def _check_environment(file: File, folder: Folder, at: DocumentPath) -> None:
    environment = file.get(*at)
    if isinstance(environment, dict):
        check_image(file, at, environment)
        return
    if not isinstance(environment, str) or not environment:
        file.fault(at, "no environment: nothing would be installed", f"Name {_OF_ENVIRONMENT}.")
        return
    check_pinned(file, at, environment, folder.versions("environment"), "environment")


def check_pinned(file: File, at: DocumentPath, reference: str, known: set[str], what: str) -> None:
    """Check a reference to an asset: with a version, and one that a file here defines."""
    if reference.startswith("azureml://"):
        return  # of a registry, with its version in the address; its own loader knows
    name = reference.removeprefix("azureml:")
    if not reference.startswith("azureml:"):
        file.fault(at, f'"{reference}" does not begin with azureml:', f"Name azureml:<name>:<version> of the {what}.")
    elif "@" in name or ":" not in name:
        message = f"{reference} is not pinned: another {what} tomorrow, under the same name"
        file.fault(at, message, near_name_hint(name.partition("@")[0], known))
    elif name not in known:
        file.fault(at, f"no file here defines the {what} {name}", near_name_hint(name, known) if known else "Add one.")


def _check_inputs(file: File, folder: Folder, path: DocumentPath) -> None:
    for name, given in file.mapping(*path, "inputs").items():
        at = (*path, "inputs", name)
        if not isinstance(given, dict) or given.get("type") not in ("uri_file", "uri_folder", "mltable"):
            continue
        where = given.get("path")
        if path and path[0] == "jobs" and where is None:
            continue
        if not isinstance(where, str):
            file.fault(at, "no path", "Name a data asset, azureml:<name>:<version>, or a local path.", at_key=True)
        elif where.startswith("azureml:"):
            check_pinned(file, (*at, "path"), where, folder.versions("data"), "data asset")
        elif "://" not in where and not (file.folder / where).exists():
            file.fault((*at, "path"), f'"{where}" is not there', "Name a file or folder beside this one.")


def _check_limits(file: File, path: DocumentPath) -> None:
    for name in ("timeout", "trial_timeout"):
        timeout = file.get(*path, "limits", name)
        if isinstance(timeout, int) and timeout <= 0:
            file.fault((*path, "limits", name), f"{timeout} s ends the job at once", "Give seconds, at least 1.")


def _check_space(file: File) -> None:
    space, algorithm = file.mapping("search_space"), file.get("sampling_algorithm")
    if not space:
        file.fault(("search_space",), "nothing is searched", "Add a setting and its range.")
    for name, expression in space.items():
        at = ("search_space", name)
        kind = expression.get("type") if isinstance(expression, dict) else None
        allowed = _SAMPLED_BY.get(str(algorithm), ())
        if allowed and kind not in allowed:
            message = f"{algorithm} sampling does not take {kind}"
            file.fault((*at, "type"), message, f"It takes {', '.join(allowed)}.")
        if not isinstance(expression, dict):
            continue
        low, high, values = (expression.get(key) for key in ("min_value", "max_value", "values"))
        if isinstance(low, int | float) and isinstance(high, int | float) and not low < high:
            file.fault((*at, "min_value"), f"min_value {low:g} is not below max_value {high:g}", "Swap them.")
        if kind == "choice" and not values:
            file.fault(at, "no values to choose from", "List two or more.")


def _check_objective(file: File) -> None:
    """Hold the metric that a sweep reads against what the trial's study reports."""
    metric = file.get("objective", "primary_metric")
    code = file.get("trial", "code")
    study = file.folder / str(code) / "study.yaml"
    if not study.is_file() or "kilowit azureml trial" not in str(file.get("trial", "command")):
        return
    search = (yaml.safe_load(study.read_text(encoding="utf-8")) or {}).get("search") or {}
    objective = search.get("objective", "rouge2")
    reported = [objective] if isinstance(objective, str) else list(objective)
    if metric not in reported:
        message = f'no trial reports "{metric}": the sweep would choose by nothing'
        file.fault(("objective", "primary_metric"), message, f"The study's search.objective is {', '.join(reported)}.")
    for name in search.get("space", {}):
        if input_name(name) not in file.mapping("search_space"):
            message = f'the study searches "{name}" and the sweep does not'
            file.fault(("search_space",), message, f"Add {input_name(name)}, or export the study again.", at_key=True)


def _check_parents(file: File, path: DocumentPath, steps: Mapping[str, Any]) -> None:
    """Check what a step takes from the pipeline and from other steps, and leaves there."""
    for space in ("inputs", "outputs"):
        for name, given in file.mapping(*path, space).items():
            for binding in BINDING.findall(given) if isinstance(given, str) else ():
                _check_parent(file, (*path, space, name), binding.split("."), steps)


def _check_parent(file: File, at: DocumentPath, words: list[str], steps: Mapping[str, Any]) -> None:
    whole = "${{" + ".".join(words) + "}}"
    if words[:2] == ["parent", "jobs"] and len(words) == 5 and words[3] == "outputs":
        if words[2] not in steps:
            file.fault(at, f"{whole}: no step of that name", near_name_hint(words[2], steps))
            return
        known = file.mapping("jobs", words[2], "outputs")
        if words[4] not in known:
            file.fault(at, f"{whole}: the step has no such output", near_name_hint(words[4], known))
    elif words[:1] == ["parent"] and len(words) == 3 and words[1] in ("inputs", "outputs"):
        if words[2] not in file.mapping(words[1]):
            hint = near_name_hint(words[2], file.mapping(words[1])) if file.mapping(words[1]) else f"Add {words[1]}."
            file.fault(at, f"{whole}: the pipeline has no {words[1]} of that name", hint)
    else:
        file.fault(at, f"{whole} is no binding", "Write ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}.")


def _check_order(file: File, steps: Mapping[str, Any]) -> None:
    needs = {name: set(_parents_of(file, name)) & set(steps) for name in steps}
    while ready := [name for name, wanted in needs.items() if not wanted]:
        for name in ready:
            del needs[name]
        for wanted in needs.values():
            wanted.difference_update(ready)
    for name in sorted(needs):
        file.fault(("jobs", name), f"waits for itself, over {_listed(needs[name])}", "Break the circle.", at_key=True)


def _parents_of(file: File, name: str) -> Iterable[str]:
    for given in file.mapping("jobs", name, "inputs").values():
        for binding in BINDING.findall(given) if isinstance(given, str) else ():
            words = binding.split(".")
            if words[:2] == ["parent", "jobs"] and len(words) > 2:
                yield words[2]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
