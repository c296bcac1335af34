"""One MLflow experiment: runs found again by our tags, and nothing written twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError, StoreError
from kilowit.mirror.destination import Destination
from kilowit.mirror.history import Point

MAX_METRICS: Final = 900  # of a batch; MLflow takes 1,000 metrics, 100 params and 100 tags
MAX_PARAMS: Final = 90
PARENT: Final = "mlflow.parentRunId"
# A tracking server that is away must not hold us for its usual seven tries of 120 s; nobody is to hear of our use.
_ENVIRONMENT: Final = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Tracking:
    """The runs of one experiment at a destination.

    Args:
        destination: where.
        study_name: names the experiment where the destination does not.

    Raises:
        PartError: MLflow is not installed.
        StoreError: the tracking server or database cannot be used.
    """

    def __init__(self, destination: Destination, study_name: str) -> None:
        self.destination = destination
        _quiet()
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise PartError(
                f"a mirror needs the package {error.name}", hint="Install it: pip install 'kilowit[mlflow]'."
            ) from error
        self._client: Any
        self._experiment_id: str

        def connect() -> None:
            self._client = MlflowClient(tracking_uri=destination.tracking_uri)
            self._experiment_id = self._experiment(destination.experiment or study_name)

        self._try(connect)

    def find_run(self, tag: str, value: str) -> str | None:
        """Return the id of the run that has a tag of this value, or None."""
        found = self._try(
            lambda: self._client.search_runs([self._experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        )
        return str(found[0].info.run_id) if found else None

    def create_run(self, name: str, start_ms: int, tags: Mapping[str, str]) -> str:
        """Make a run and return its id; unless tagged otherwise it is a child of the job's own run, if there is one."""
        job = self.destination.parent_run_id
        own = {**({PARENT: job} if job else {}), **tags}
        run = self._try(lambda: self._client.create_run(self._experiment_id, start_ms, own, name))
        return str(run.info.run_id)

    def log(
        self, run_id: str, *, points: Sequence[Point] = (), params: Mapping[str, str] = {}, tags: Mapping[str, str] = {}
    ) -> None:
        """Send points, params and tags."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points]
        given = [Param(key, value) for key, value in params.items()]
        named = [RunTag(key, value) for key, value in tags.items()]
        num_batches = max(-(-len(metrics) // MAX_METRICS), -(-max(len(given), len(named)) // MAX_PARAMS))
        for i in range(num_batches):
            batch = (
                metrics[i * MAX_METRICS : (i + 1) * MAX_METRICS],
                given[i * MAX_PARAMS : (i + 1) * MAX_PARAMS],
                named[i * MAX_PARAMS : (i + 1) * MAX_PARAMS],
            )
            self._try(lambda batch=batch: self._client.log_batch(run_id, *batch))

    def log_missing(self, run_id: str, points: Iterable[Point], params: Mapping[str, str]) -> None:
        """Send what the run has not: some servers keep a value as often as it is sent, and refuse a param's second."""
        run = self._try(lambda: self._client.get_run(run_id))
        by_key: dict[str, list[Point]] = {}
        for point in points:
            by_key.setdefault(point.key, []).append(point)
        missing: list[Point] = []
        for key, own in by_key.items():
            there: set[Point] = set()
            if key in run.data.metrics:
                history = self._try(lambda key=key: self._client.get_metric_history(run_id, key))
                there = {Point(key, m.value, m.timestamp, m.step) for m in history}
            missing += [point for point in own if point not in there]
        self.log(run_id, points=missing, params={k: v for k, v in params.items() if k not in run.data.params})

    def log_file(self, run_id: str, path: Path) -> None:
        """Send a file."""
        self._try(lambda: self._client.log_artifact(run_id, str(path)))

    def log_json(self, run_id: str, value: Mapping[str, Any], name: str) -> None:
        """Send a value as a file of JSON."""
        self._try(lambda: self._client.log_dict(run_id, dict(value), name))

    def end(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Say how and when a run ended."""
        self._try(lambda: self._client.set_terminated(run_id, status, end_ms))

    def tags(self, run_id: str) -> dict[str, str]:
        """Return the tags of a run."""
        return dict(self._try(lambda: self._client.get_run(run_id)).data.tags)

    def _experiment(self, name: str) -> str:
        if self.destination.experiment_id:
            return self.destination.experiment_id
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "active":
            return str(found.experiment_id)
        if found is not None:
            self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=self.destination.artifact_location))

    def _try(self, call: Any) -> Any:
        """Call MLflow; whatever it raises is one error of ours: its servers and plugins raise what they like."""
        try:
            return call()
        except Exception as error:
            raise StoreError(
                f"MLflow cannot be written: {reason_of(error)}",
                place=self.destination.shown,
                hint="Look whether it is up, and bring it level by `kilowit export-records RUNS URI --format mlflow`.",
            ) from error


def reason_of(error: BaseException) -> str:
    """Return why MLflow failed, in one line: the refusal of the network where it is one, else what it says itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    words = (f"{start}//{rest.rpartition('@')[2]}" if slashes else start
             for start, slashes, rest in (word.partition("//") for word in str(error).split()))  # fmt: skip
    return " ".join(words)[:300] or type(error).__name__


def _quiet() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
