"""Rules for endpoints, deployments and schedules: names that Azure takes, scripts that answer, times that come."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Final

from kilowit.azureml.lint import File, Folder
from kilowit.azureml.lint_jobs import check_pinned
from kilowit.azureml.lint_resources import check_image
from kilowit.azureml.options import fault_of_cron
from kilowit.azureml.resources import MAX_REQUEST_MS
from kilowit.azureml.vm_sizes import fault_of_size
from kilowit.errors import near_name_hint

ENDPOINT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
_ENTRY_POINTS: Final = ("init", "run")
_FREQUENCIES: Final = ("minute", "hour", "day", "week", "month")


def check_endpoint(file: File, folder: Folder) -> None:
    """Check an endpoint: its name, and where its traffic goes."""
    _check_name(file, "name", "an endpoint")
    deployments = {f.get("name") for f in folder.of_kind("managedOnlineDeployment")}
    traffic = file.mapping("traffic")
    for name in traffic:
        if name not in deployments:
            hint = near_name_hint(str(name), map(str, deployments))
            file.fault(("traffic", name), "no file here defines this deployment", hint, at_key=True)
    if traffic and all(isinstance(share, int) for share in traffic.values()) and sum(traffic.values()) not in (0, 100):
        file.fault(("traffic",), f"the shares add up to {sum(traffic.values())}", "Let them add up to 100.")


def check_deployment(file: File, folder: Folder) -> None:
    """Check a deployment: endpoint, size, model, script, environment."""
    _check_name(file, "name", "a deployment")
    endpoints, endpoint = folder.names("managedOnlineEndpoint"), file.get("endpoint_name")
    if endpoint not in endpoints:
        hint = near_name_hint(str(endpoint), endpoints) if endpoints else "Add a file for it."
        file.fault(("endpoint_name",), f'no file here defines the endpoint "{endpoint}"', hint)
    size, count = file.get("instance_type"), file.get("instance_count")
    if not isinstance(size, str) or not size:
        file.fault(("instance_type",), "no VM size", "Name one, e.g. instance_type: Standard_D4as_v4.")
    elif fault := fault_of_size(size, serves=True):
        file.fault(("instance_type",), *fault)
    if not isinstance(count, int) or count < 1:
        file.fault(("instance_count",), f"{count} instances answer nobody", "Write instance_count: 1 or more.")
    _check_request(file)
    is_triton = _check_model(file)
    if file.get("code_configuration") is not None:
        _check_script(file)
        _check_environment(file, folder)
    elif not is_triton:
        message = "no scoring script: only a Triton or MLflow model answers without one"
        file.fault(
            ("code_configuration",), message, "Add code_configuration: {code: ./scoring, scoring_script: score.py}."
        )


def check_schedule(file: File, folder: Folder) -> None:
    """Check a schedule: a time that comes, and a job that is there."""
    kind, expression = file.get("trigger", "type"), file.get("trigger", "expression")
    if kind == "cron" and (fault := fault_of_cron(str(expression or ""))):
        file.fault(
            ("trigger", "expression"), fault, 'Five fields, e.g. "0 3 1 * *": minute, hour, day, month, weekday.'
        )
    if kind == "recurrence" and file.get("trigger", "frequency") not in _FREQUENCIES:
        hint = near_name_hint(str(file.get("trigger", "frequency")), _FREQUENCIES)
        file.fault(("trigger", "frequency"), "no such frequency", hint)
    job = file.get("create_job")
    if isinstance(job, str) and not job.startswith("azureml:"):
        jobs = {f.name for f in folder.of_kind("commandJob", "sweepJob", "pipelineJob")}
        name = job.removeprefix("file:").removeprefix("./")
        if name not in jobs:
            file.fault(("create_job",), f'"{job}" is no job of this folder', near_name_hint(name, jobs))


def _check_name(file: File, key: str, what: str) -> None:
    name = file.get(key)
    if not isinstance(name, str) or not ENDPOINT_NAME.fullmatch(name):
        remedy = "3 to 32 lower-case letters, digits and dashes, a letter first, no dash last."
        file.fault((key,), f'"{name}" cannot be the name of {what}', remedy)


def _check_request(file: File) -> None:
    timeout = file.get("request_settings", "request_timeout_ms")
    at = ("request_settings", "request_timeout_ms")
    if isinstance(timeout, int) and not 0 < timeout <= MAX_REQUEST_MS:
        file.fault(at, f"{timeout} ms is not within 1 to {MAX_REQUEST_MS}", f"Give at most {MAX_REQUEST_MS}.")
    most = file.get("request_settings", "max_concurrent_requests_per_instance")
    if isinstance(most, int) and most < 1:
        message = f"{most} requests at a time answer nobody"
        file.fault(("request_settings", "max_concurrent_requests_per_instance"), message, "Write 1 or more.")


def _check_model(file: File) -> bool:
    """Check the model of a deployment; return whether Triton answers for it, by its type or by its name."""
    model = file.get("model")
    if isinstance(model, str):
        name = model.removeprefix("azureml:")
        if not model.startswith("azureml:"):
            file.fault(("model",), f'"{model}" does not begin with azureml:', f"Write azureml:{name}@latest.")
        elif not re.search(r"[:@][^:@]+$", name) and "://" not in model:
            file.fault(("model",), f"{model} has no version", f"Write {model}:1, or {model}@latest.")
        return name.partition("@")[0].partition(":")[0].endswith("-triton")
    if isinstance(model, dict):
        path = model.get("path")
        if isinstance(path, str) and "://" not in path and not (file.folder / path).exists():
            file.fault(("model", "path"), f'"{path}" is not there', "Name a folder beside this file, or azureml:...")
        return model.get("type") in ("triton_model", "mlflow_model")
    file.fault(("model",), "no model", "Name one: model: azureml:<name>@latest.")
    return True


def _check_script(file: File) -> None:
    code, script = file.get("code_configuration", "code"), file.get("code_configuration", "scoring_script")
    if not isinstance(code, str) or not (file.folder / code).is_dir():
        file.fault(("code_configuration", "code"), f'no folder "{code}"', "Name the folder with the script.")
        return
    path = file.folder / code / str(script)
    at = ("code_configuration", "scoring_script")
    if not path.is_file():
        known = [item.name for item in (file.folder / code).iterdir()]
        file.fault(at, f'no "{script}" in {code}', near_name_hint(str(script), known))
        return
    try:
        missing = [name for name in _ENTRY_POINTS if name not in _names_in(path)]
    except SyntaxError as error:
        file.fault(at, f"{code}/{script}:{error.lineno}: {error.msg}", "Mend the script.")
        return
    if missing:
        message = f"{code}/{script} has no {' and no '.join(missing)}"
        file.fault(at, message, "Azure calls init() once and run(raw_data) for each request.")


def _names_in(path: Path) -> set[str]:
    """Return what a module defines or imports at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def _check_environment(file: File, folder: Folder) -> None:
    environment: Any = file.get("environment")
    if isinstance(environment, dict):
        check_image(file, ("environment",), environment)
    elif not isinstance(environment, str) or not environment:
        file.fault(
            ("environment",), "no environment: the script could import nothing", "Name azureml:<name>:<version>."
        )
    else:
        check_pinned(file, ("environment",), environment, folder.versions("environment"), "environment")
