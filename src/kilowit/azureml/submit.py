"""Hand a job of an export to Azure, through Microsoft's own client (extra `azureml`). The only module that needs it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.azureml.lint import require_clean
from kilowit.errors import ExecutorError, PartError, StudyError, near_name_hint

_JOBS: Final = ("train", "sweep", "pipeline")  # what the names of job files begin with


@dataclass(frozen=True)
class Submitted:
    """A job that Azure has taken."""

    name: str
    status: str | None
    studio_url: str | None


def submit(
    folder: str | Path,
    job: str,
    *,
    subscription: str,
    resource_group: str,
    workspace: str,
    credential: Any = None,
    **client_options: Any,
) -> Submitted:
    """Check a folder, then submit one of its jobs; its source goes along, environment and data must be there.

    Args:
        folder: what `export_study` left.
        job: file of the job, e.g. ``train.yml``, or its name without the ending.
        subscription: id of the Azure subscription.
        resource_group: name of the resource group.
        workspace: name of the workspace.
        credential: of the package azure-identity; None = `DefaultAzureCredential`: az login, environment, identity.
        client_options: handed on to `azure.ai.ml.MLClient`, e.g. ``transport``.

    Raises:
        StudyError: a finding in the folder, or no such job.
        PartError: the extra `azureml` is not installed.
        ExecutorError: Azure refused; its own words are in the message.

    Example:
        >>> submit("azure", "train", subscription="...", resource_group="g", workspace="w")  # doctest: +SKIP
    """
    folder = Path(folder)
    require_clean(folder)
    path = _job_file(folder, job)
    _require_package()
    return _hand_over(path, (subscription, resource_group, workspace), credential, client_options)


def _hand_over(path: Path, place: tuple[str, str, str], credential: Any, client_options: dict[str, Any]) -> Submitted:
    """Load a job and submit it to the workspace that subscription, resource group and name say."""
    from azure.ai.ml import MLClient, load_job
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError
    from marshmallow import ValidationError

    if credential is None:
        from azure.identity import DefaultAzureCredential

        credential = DefaultAzureCredential()
    options = {"enable_telemetry": False, "show_progress": False, **client_options}
    try:
        taken = MLClient(credential, *place, **options).jobs.create_or_update(load_job(path))
    except (AzureError, MlException, ValidationError, OSError) as error:
        raise ExecutorError(
            f"Azure did not take the job ({_one_line(error)})",
            place=str(path),
            hint="`./azure.sh up` makes workspace, clusters, images and data; `az login` says who you are.",
        ) from error
    return Submitted(str(taken.name), taken.status, taken.studio_url)


def _job_file(folder: Path, job: str) -> Path:
    known = sorted(path.name for path in folder.glob("*.yml") if path.name.startswith(_JOBS))
    name = job if job.endswith(".yml") else f"{job}.yml"
    if name not in known:
        raise StudyError(f'no job "{job}"', place=str(folder), hint=near_name_hint(name, known))
    return folder / name


def _require_package() -> None:
    if importlib.util.find_spec("azure") is None or importlib.util.find_spec("azure.ai.ml") is None:
        raise PartError(
            "azure-ai-ml is not installed",
            hint="pip install 'kilowit[azureml]' in an environment of its own; ./azure.sh needs az alone.",
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
