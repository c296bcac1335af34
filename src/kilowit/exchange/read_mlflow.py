"""MLflow runs: of its SQLite database, read by the standard library, or of JSON as ``Run.to_dictionary`` writes it.

Metrics by Hugging Face names become phases and scores; all others are kept as stated. A run's own start and end give
its length, in which its phases must fit.
Source of the tables: mlflow 3.17, ``store/tracking/dbmodels/models.py`` (Apache-2.0).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kilowit.errors import DataError
from kilowit.exchange import checks
from kilowit.exchange.foreign import ForeignRun, Reading, energies, number, read_json
from kilowit.exchange.read_hugging_face import run_of_metrics
from kilowit.imported import Contradiction
from kilowit.record import ModelFacts, PhaseFigures, Status

_SQLITE: Final = b"SQLite format 3\0"
_HINT: Final = "Name mlflow.db, or JSON of runs: {info: {...}, data: {metrics: {...}, params: {...}, tags: {...}}}."
_MODEL_PARAMS: Final = ("model_name_or_path", "_name_or_path", "model_name")
_STATUS: Final[dict[str, Status]] = {
    "FAILED": "failed", "KILLED": "interrupted", "RUNNING": "interrupted", "SCHEDULED": "interrupted",
}  # fmt: skip


@dataclass(frozen=True)
class _Row:
    run_id: str
    name: str
    status: str
    start_ms: int | None
    end_ms: int | None
    metrics: Mapping[str, Any]
    params: Mapping[str, Any]
    tags: Mapping[str, Any]


def is_mlflow(path: Path, head: str) -> bool:
    """Whether a file is an SQLite database, or JSON of runs."""
    if head.encode("utf-8", "replace").startswith(_SQLITE):
        return True
    return path.suffix == ".json" and '"info"' in head and '"run_id"' in head and '"data"' in head


def read_mlflow(path: Path, region: str | None = None) -> Reading:
    """Read all runs of a database or a JSON file.

    Raises:
        DataError: it is neither, or holds no run.
    """
    rows = _of_database(path) if _is_database(path) else [_of_json(item, path) for item in _items(path)]
    if not rows:
        raise DataError("holds no run", place=str(path), hint=_HINT)
    return Reading(tuple(_run(row, path) for row in rows))


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise DataError(f"cannot be read ({error})", place=str(path), hint="Name a file that is there.") from error


def _of_database(path: Path) -> list[_Row]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return [
                _Row(
                    run_id=run_id,
                    name=name or run_id,
                    status=status or "",
                    start_ms=start,
                    end_ms=end,
                    metrics=dict(
                        database.execute(
                            "SELECT key, value FROM latest_metrics WHERE run_uuid = ? AND NOT is_nan", (run_id,)
                        )
                    ),
                    params=dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,))),
                    tags=dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,))),
                )
                for run_id, name, status, start, end in database.execute(
                    "SELECT run_uuid, name, status, start_time, end_time FROM runs "
                    "WHERE lifecycle_stage = 'active' ORDER BY start_time, run_uuid"
                ).fetchall()
            ]
    except sqlite3.Error as error:
        raise DataError(f"no database of MLflow ({error})", place=str(path), hint=_HINT) from error


def _items(path: Path) -> Iterable[Any]:
    value = read_json(path)
    return value if isinstance(value, list) else [value]


def _of_json(item: Any, path: Path) -> _Row:
    try:
        info, data = item["info"], item["data"]
        return _Row(
            run_id=str(info["run_id"]),
            name=str(info.get("run_name") or info["run_id"]),
            status=str(info.get("status") or ""),
            start_ms=info.get("start_time"),
            end_ms=info.get("end_time"),
            metrics=dict(data.get("metrics") or {}),
            params=dict(data.get("params") or {}),
            tags=dict(data.get("tags") or {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"no run of MLflow ({error!r})", place=str(path), hint=_HINT) from error


def _run(row: _Row, path: Path) -> ForeignRun:
    place = f"{path}: run {row.run_id}"
    run = run_of_metrics(row.metrics, place=place, name=row.name)
    start, end = (number(ms, name="time", place=place) for ms in (row.start_ms, row.end_ms))
    second = None if start is None or end is None else (end - start) / 1000
    spent = sum(phase.wall_second for phase in run.phases)
    found = None
    if second is not None and run.phases and spent > second * (1 + checks.SAME):
        message = f"its phases took {spent:.6g} s, the run itself {second:.6g} s from start to end"
        found = Contradiction(kind="two_values", message=message)
    phases = run.phases
    if second is not None and second >= spent:
        rest = PhaseFigures(phase="unsplit", wall_second=second - spent, **energies("mlflow"))
        phases = (*phases, rest)
    model = next((str(row.params[name]) for name in _MODEL_PARAMS if row.params.get(name)), None)
    status: Status = _STATUS.get(row.status, "finished")
    return replace(
        run,
        place=f"run {row.run_id}",
        started_at=_utc(start),
        ended_at=_utc(end),
        started_at_source="file: start_time",
        phases=phases,
        model=None if model is None else ModelFacts(name=model.rpartition("/")[2], family="unknown", source=model),
        environment={"mlflow": {"params": dict(row.params), "source": row.tags.get("mlflow.source.name")}},
        status=status,
        error_message=None if status == "finished" else f"MLflow says {row.status}",
    ).with_contradictions(found)


def _utc(ms: float | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
