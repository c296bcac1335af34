"""What jobs and endpoints stand on, in the words of Azure ML's v2 schema: clusters, environments, data, deployments."""

from __future__ import annotations

from typing import Final

from kilowit.azureml.context import (
    ENVIRONMENT,
    SCORING,
    SERVING_ENVIRONMENT,
    SPOT_CLUSTER,
    STEPS_CLUSTER,
    TRAIN_CLUSTER,
    Context,
    Yaml,
    schema,
)
from kilowit.azureml.portable import DATA

IDLE_SECOND: Final = 120  # a node that waits longer for a job is given back
MAX_REQUEST_MS: Final = 180_000  # the longest that a managed endpoint waits
SCORING_SCRIPT: Final = "score.py"
DEPLOYMENT, TRITON_DEPLOYMENT = "blue", "green"


def resources(context: Context) -> dict[str, Yaml]:
    """Return every resource by the name of its file."""
    found = {
        "compute-steps.yml": _cluster(STEPS_CLUSTER, context.options.cpu_machine, "dedicated", 2),
        "compute-train.yml": _cluster(TRAIN_CLUSTER, context.machine, "dedicated", context.options.max_nodes),
        "compute-train-low.yml": _cluster(SPOT_CLUSTER, context.machine, "low_priority", context.options.max_nodes),
        "environment.yml": _environment(context, ENVIRONMENT, "What the jobs run in."),
        "environment-serving.yml": _environment(context, SERVING_ENVIRONMENT, "What the endpoint runs in."),
        "endpoint.yml": _endpoint(context),
        "deployment.yml": _deployment(context),
        "deployment-triton.yml": _triton(context),
    }
    return {**found, "data.yml": _data(context)} if context.has_data else found


def _cluster(name: str, size: str, tier: str, max_nodes: int) -> Yaml:
    return {
        "$schema": schema("amlCompute"),
        "name": name,
        "type": "amlcompute",
        "size": size,
        "tier": tier,
        "min_instances": 0,  # nobody works, nothing is billed
        "max_instances": max_nodes,
        "idle_time_before_scale_down": IDLE_SECOND,
    }


def _environment(context: Context, kind: str, description: str) -> Yaml:
    return {
        "$schema": schema("environment"),
        "name": f"{context.name}-{kind}",
        "version": context.versions[kind],
        "description": description,
        "build": {"path": f"./{kind}", "dockerfile_path": "Dockerfile"},
    }


def _data(context: Context) -> Yaml:
    return {
        "$schema": schema("data"),
        "name": f"{context.name}-data",
        "version": context.versions["data"],
        "description": f"Local files that the study {context.study.name} names.",
        "type": "uri_folder",
        "path": f"./{DATA}",
    }


def _endpoint(context: Context) -> Yaml:
    return {
        "$schema": schema("managedOnlineEndpoint"),
        "name": context.name,
        "description": f"Summarizer of the study {context.study.name}.",
        "auth_mode": "key",
    }


def _deployment(context: Context) -> Yaml:
    return {
        "$schema": schema("managedOnlineDeployment"),
        "name": DEPLOYMENT,
        "endpoint_name": context.name,
        "model": f"azureml:{context.name}@latest",
        "code_configuration": {"code": f"./{SCORING}", "scoring_script": SCORING_SCRIPT},
        "environment": context.environment(SERVING_ENVIRONMENT),
        **_instances(context),
        # one at a time: a request's bill is what the machine took while it was computed
        "request_settings": {"request_timeout_ms": 90_000, "max_concurrent_requests_per_instance": 1},
        "liveness_probe": {"initial_delay": 60, "period": 30, "failure_threshold": 10},
        "readiness_probe": {"initial_delay": 30, "period": 10, "failure_threshold": 30},
    }


def _triton(context: Context) -> Yaml:
    return {
        "$schema": schema("managedOnlineDeployment"),
        "name": TRITON_DEPLOYMENT,
        "endpoint_name": context.name,
        "model": f"azureml:{context.name}-triton@latest",
        **_instances(context),
    }


def _instances(context: Context) -> Yaml:
    return {"instance_type": context.options.serving, "instance_count": 1}
