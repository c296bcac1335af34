"""Where runs are mirrored to: as the study says, else as MLflow's own variables do, else a database beside the runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kilowit.errors import StudyError
from kilowit.settings import MirrorSettings, tracking_uri_fault

DATABASE: Final = "mlflow.db"
_HINT: Final = "Give sqlite:///mlflow.db, http://127.0.0.1:5000 or another tracking URI of MLflow."


@dataclass(frozen=True)
class Destination:
    """A tracking server or database, and where in it runs go.

    Args:
        tracking_uri: as MLflow takes it.
        experiment: its name; None = the study's.
        experiment_id: goes before a name: a job of AzureML may write to its own experiment alone.
        parent_run_id: the MLflow run that all of ours belong to: that of the job that runs us.
    """

    tracking_uri: str
    experiment: str | None = None
    experiment_id: str | None = None
    parent_run_id: str | None = None

    @property
    def shown(self) -> str:
        """The tracking URI without user and password."""
        scheme, separator, rest = self.tracking_uri.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"

    @property
    def artifact_location(self) -> str | None:
        """Where a new experiment keeps its files: beside a database; None = as the server says."""
        if not self.tracking_uri.startswith("sqlite:///"):
            return None
        database = Path(self.tracking_uri.removeprefix("sqlite:///").partition("?")[0]).absolute()
        return (database.parent / f"{database.stem}-artifacts").as_uri()


def destination_of(
    asked: MirrorSettings, store: str | Path, environment: Mapping[str, str] | None = None
) -> Destination:
    """Return where the runs of a store go.

    ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_ID``, ``MLFLOW_EXPERIMENT_NAME`` and ``MLFLOW_RUN_ID``, which a job of
    AzureML finds set, count where the study names no other tracking URI.

    Raises:
        StudyError: the variable holds no tracking URI.
    """
    variables = os.environ if environment is None else environment
    uri = variables.get("MLFLOW_TRACKING_URI")
    if asked.mlflow is not None and asked.mlflow != uri:
        return Destination(asked.mlflow, asked.experiment)
    if not uri:
        return Destination(f"sqlite:///{Path(store).absolute() / DATABASE}", asked.experiment)
    if (fault := tracking_uri_fault(uri)) is not None:
        raise StudyError(fault, place="MLFLOW_TRACKING_URI", hint=_HINT)
    return Destination(
        uri,
        asked.experiment or variables.get("MLFLOW_EXPERIMENT_NAME"),
        None if asked.experiment else variables.get("MLFLOW_EXPERIMENT_ID"),
        variables.get("MLFLOW_RUN_ID"),
    )


def mirror_settings(tracking_uri: str | None, experiment: str | None = None) -> MirrorSettings:
    """Return what was asked for outside of a study.

    Raises:
        StudyError: not a tracking URI.
    """
    if tracking_uri is not None and (fault := tracking_uri_fault(tracking_uri)) is not None:
        raise StudyError(fault, hint=_HINT)
    return MirrorSettings(mlflow=tracking_uri, experiment=experiment)
