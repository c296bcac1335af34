"""Run by the Python of an environment that has azure-ai-ml: load an export, or submit a job to an Azure of its own.

    python azure_client.py load PATH...       what became of each file: one JSON object a line
    python azure_client.py keys               the keys that its schemas take, by kind
    python azure_client.py submit FILE...     what was submitted, and every request that the client made, a line a job

No socket is opened: whoever tries is refused.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

SUBSCRIPTION, GROUP, WORKSPACE = "00000000-0000-0000-0000-000000000000", "group", "workspace"
CLUSTERS = ("steps", "train", "train-low")
ROOT = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/"
    f"Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
)


def refuse(*arguments: object, **options: object) -> None:
    raise OSError("this test opens no connection")


def loaders() -> dict[str, Callable[[Path], Any]]:
    from azure.ai.ml import (
        load_compute,
        load_data,
        load_environment,
        load_job,
        load_online_deployment,
        load_online_endpoint,
    )
    from azure.ai.ml.entities._load_functions import load_schedule

    return {
        "commandJob": load_job, "sweepJob": load_job, "pipelineJob": load_job, "schedule": load_schedule,
        "managedOnlineEndpoint": load_online_endpoint, "managedOnlineDeployment": load_online_deployment,
        "environment": load_environment, "amlCompute": load_compute, "data": load_data,
    }  # fmt: skip


def loaded(path: Path, known: dict[str, Callable[[Path], Any]]) -> dict[str, Any]:
    """What a file became; ``error`` if its loader, or its own check, refused it."""
    found: dict[str, Any] = {"folder": str(path.parent), "file": path.name}
    try:
        kind = yaml.safe_load(path.read_text())["$schema"].rpartition("/")[2].partition(".")[0]
        entity = known[kind](path)
        found["type"] = type(entity).__name__
        checked = entity._validate() if hasattr(entity, "_validate") else None
        if checked is not None and not checked.passed:
            found["error"] = json.dumps(checked.error_messages)
        elif hasattr(entity, "_to_rest_object") and kind != "managedOnlineDeployment":
            entity._to_rest_object()
            found["has_payload"] = True
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def load(paths: list[Path]) -> None:
    known = loaders()
    for given in paths:
        for path in sorted(given.glob("*.yml")) if given.is_dir() else [given]:
            print(json.dumps(loaded(path, known)))


def submit(jobs: list[Path]) -> None:
    import jwt
    from azure.core.credentials import AccessToken

    from kilowit.azureml import submit as hand_over
    from kilowit.errors import KilowitError

    class Credential:
        def get_token(self, *scopes: str, **options: object) -> AccessToken:
            claims = {"aud": scopes[0].removesuffix("/.default")}
            return AccessToken(jwt.encode(claims, "k" * 32), 9_999_999_999)

    for job in jobs:
        transport, seen = fake_azure()
        try:
            taken = hand_over(
                job.parent, job.name, subscription=SUBSCRIPTION, resource_group=GROUP, workspace=WORKSPACE,
                credential=Credential(), transport=transport,
            )  # fmt: skip
            result: dict[str, Any] = vars(taken)
        except KilowitError as error:
            result = {"error": str(error), "exit_code": error.exit_code}
        print(json.dumps({**result, "requests": seen}))


def keys() -> None:
    from azure.ai.ml._schema._deployment.online.online_deployment import ManagedOnlineDeploymentSchema
    from azure.ai.ml._schema._endpoint.online.online_endpoint import ManagedOnlineEndpointSchema
    from azure.ai.ml._schema._sweep.sweep_job import SweepJobSchema
    from azure.ai.ml._schema.assets.data import DataSchema
    from azure.ai.ml._schema.assets.environment import EnvironmentSchema
    from azure.ai.ml._schema.compute.aml_compute import AmlComputeSchema
    from azure.ai.ml._schema.job.command_job import CommandJobSchema
    from azure.ai.ml._schema.job.parameterized_command import ParameterizedCommandSchema
    from azure.ai.ml._schema.pipeline.component_job import CommandSchema
    from azure.ai.ml._schema.pipeline.pipeline_job import PipelineJobSchema
    from azure.ai.ml._schema.schedule.schedule import JobScheduleSchema
    from azure.ai.ml.constants._common import BASE_PATH_CONTEXT_KEY

    schemas = {
        "commandJob": CommandJobSchema, "sweepJob": SweepJobSchema, "pipelineJob": PipelineJobSchema,
        "step": CommandSchema, "trial": ParameterizedCommandSchema, "amlCompute": AmlComputeSchema,
        "environment": EnvironmentSchema, "data": DataSchema, "managedOnlineEndpoint": ManagedOnlineEndpointSchema,
        "managedOnlineDeployment": ManagedOnlineDeploymentSchema, "schedule": JobScheduleSchema,
    }  # fmt: skip
    found = {}
    for kind, schema in schemas.items():
        fields = schema(context={BASE_PATH_CONTEXT_KEY: "."}).fields
        found[kind] = sorted(f.data_key or name for name, f in fields.items() if not f.dump_only)
    print(json.dumps(found))


def fake_azure() -> tuple[Any, list[dict[str, Any]]]:
    """The least of Azure that takes a job: it has the source already, and gives back what was put.

    It answers below azure-core's own transport, in place of the sockets of `requests`.
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport

    seen: list[dict[str, Any]] = []

    class Azure(requests.adapters.BaseAdapter):
        def send(self, request: Any, *arguments: Any, **options: Any) -> requests.Response:
            path = request.url.partition("?")[0].partition("azure.com")[2]
            body = json.loads(request.body) if request.body else None
            seen.append({"method": request.method, "path": path, "body": body})
            status, value = answer(request.method, path, body)
            response = requests.Response()
            response.status_code, response.reason, response.request = status, "as asked", request
            response.url, response.headers["content-type"] = request.url, "application/json"
            response.raw = io.BytesIO(json.dumps(value).encode())
            return response

        def close(self) -> None: ...

    session = requests.Session()
    session.mount("https://", Azure())
    return RequestsTransport(session=session, session_owner=False), seen


def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
    kind, _, name = path.removeprefix(ROOT).strip("/").partition("/")
    own = {"id": path, "name": name.rpartition("/")[2], "type": kind, "systemData": {}}
    if method == "PUT" and kind == "jobs":
        if "refused" in json.dumps(body):
            return 403, {"error": {"code": "AuthorizationFailed", "message": "you may not run jobs here"}}
        body["properties"] |= {"status": "NotStarted", "services": {"Studio": {"endpoint": "https://studio/job"}}}
        return 201, {**own, **body}
    if method == "GET" and kind == "codes":
        code = {**own, "properties": {"codeUri": "https://store/code"}}
        versions = {"value": [{**code, "id": f"{path}/1", "name": "1"}]}
        return 200, versions if name.endswith("versions") else code
    if method == "GET" and kind == "computes" and name in CLUSTERS:
        return 200, {**own, "location": "westus2", "properties": {"computeType": "AmlCompute", "properties": {}}}
    if kind == "components":
        return (404, {"error": {"code": "NotFound", "message": "new"}}) if method == "GET" else (201, {**own, **body})
    return 404, {"error": {"code": "NotFound", "message": f"no {path}"}}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse  # type: ignore[assignment]
    if sys.argv[1] == "load":
        load([Path(path) for path in sys.argv[2:]])
    elif sys.argv[1] == "keys":
        keys()
    else:
        submit([Path(path) for path in sys.argv[2:]])
