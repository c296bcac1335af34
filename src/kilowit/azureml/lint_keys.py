"""Rules for keys and plain values: what azure-ai-ml's own schemas take, so that a slip is found without that package.

The keys are those of azure-ai-ml 1.35.2; a test holds them against the schemas of the package itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.azureml.lint import SCHEMA_KEY, File, Folder
from kilowit.errors import near_name_hint
from kilowit.study_yaml import DocumentPath

_JOB: Final = (
    "compute description display_name experiment_name identity inputs name outputs properties services tags type"
)
_RUNS: Final = "code command distribution environment environment_variables queue_settings resources"
KEYS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(text.split())
    for kind, text in {
        "commandJob": f"{_JOB} {_RUNS} limits parent_job_name",
        "sweepJob": f"{_JOB} early_termination limits objective queue_settings resources sampling_algorithm "
        "search_space trial",
        "pipelineJob": f"{_JOB} component jobs settings",
        "step": f"{_RUNS} comment component compute identity inputs limits outputs properties services type",
        "trial": _RUNS,
        "amlCompute": "description enable_node_public_ip identity idle_time_before_scale_down location max_instances "
        "min_instances name network_settings resource_id size ssh_public_access_enabled ssh_settings tags tier type",
        "environment": "auto_delete_setting build conda_file datastore description id image inference_config name "
        "os_type tags version",
        "data": "auto_delete_setting datastore description id name path tags type version",
        "managedOnlineEndpoint": "auth_mode description id identity location mirror_traffic name openapi_uri "
        "properties provisioning_state public_network_access scoring_uri tags traffic",
        "managedOnlineDeployment": "app_insights_enabled code_configuration data_collector description "
        "egress_public_network_access endpoint_name environment environment_variables id instance_count instance_type "
        "liveness_probe model model_mount_path name private_network_connection properties provisioning_state "
        "readiness_probe request_settings scale_settings tags type",
        "schedule": "create_job description display_name id name properties tags trigger",
    }.items()
}
_ONE_OF: Final[Mapping[str, Mapping[tuple[str, ...], tuple[str, ...]]]] = {
    "commandJob": {("type",): ("command",), ("distribution", "type"): ("pytorch", "mpi", "tensorflow", "ray")},
    "sweepJob": {
        ("type",): ("sweep",),
        ("sampling_algorithm",): ("random", "grid", "bayesian"),
        ("objective", "goal"): ("minimize", "maximize"),
    },
    "pipelineJob": {("type",): ("pipeline",)},
    "amlCompute": {("type",): ("amlcompute",), ("tier",): ("dedicated", "low_priority")},
    "data": {("type",): ("uri_file", "uri_folder", "mltable")},
    "managedOnlineEndpoint": {("auth_mode",): ("key", "aml_token", "aad_token")},
    "schedule": {("trigger", "type"): ("cron", "recurrence")},
}
_WHOLE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "commandJob": (("limits", "timeout"), ("resources", "instance_count")),
    "sweepJob": (("limits", "timeout"), ("limits", "trial_timeout"), ("limits", "max_total_trials"),
                 ("limits", "max_concurrent_trials")),
    "amlCompute": (("min_instances",), ("max_instances",), ("idle_time_before_scale_down",)),
    "managedOnlineDeployment": (("instance_count",), ("request_settings", "request_timeout_ms"),
                                ("request_settings", "max_concurrent_requests_per_instance")),
}  # fmt: skip


def check_keys(file: File, folder: Folder) -> None:
    """Check the keys of a file, of its steps and of its trial, and the values that are one of a few."""
    _check_names(file, (), file.value, KEYS[file.kind] | {SCHEMA_KEY})
    for name, step in file.mapping("jobs").items():
        if isinstance(step, dict) and step.get("type") == "command":
            _check_names(file, ("jobs", name), step, KEYS["step"] | {SCHEMA_KEY})
    if file.kind == "sweepJob":
        _check_names(file, ("trial",), file.mapping("trial"), KEYS["trial"])
    for path, known in _ONE_OF.get(file.kind, {}).items():
        value = file.get(*path)
        if value is None and len(path) > 1 and not file.mapping(path[0]):
            continue
        if value is None and path != ("type",) and path != ("sampling_algorithm",):
            continue
        if str(value).lower() not in known:
            said = "is missing" if value is None else f'"{value}" is not taken'
            file.fault(path, said, near_name_hint(str(value), known))
    for path in _WHOLE.get(file.kind, ()):
        value = file.get(*path)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            file.fault(path, f'expected a whole number, found "{value}"', "Write it in digits, without a unit.")


def _check_names(file: File, at: DocumentPath, value: Mapping[str, Any], known: frozenset[str]) -> None:
    for key in value:
        if key not in known:
            file.fault((*at, key), f'no key "{key}" here', near_name_hint(str(key), known), at_key=True)
