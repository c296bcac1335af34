"""SQL over a store: records become four tables of an SQLite database in memory, which cannot be written.

``run`` has the record's own fields (structures as JSON text, for ``json_extract``) and the names that one groups
by; ``phase`` and ``score`` have one row each per phase and score, ``serving`` one per scenario of a runtime, joined by
``run_id``.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from kilowit.errors import StudyError, near_name_hint
from kilowit.record import PhaseFigures, Record, Score
from kilowit.served import ServedScenario

_STRUCTURES: Final = (
    "cell", "environment", "model", "dataset", "methods", "warnings", "imported", "second_opinions", "nodes",
)  # fmt: skip
_NAMES: Final = ("label", "recipe", "seed", "model_name", "dataset_name")
_TABLES: Final = ("phases", "scores", "serving")
_SCALARS: Final = tuple(f.name for f in dataclasses.fields(Record) if f.name not in (*_STRUCTURES, *_TABLES))
_RUNTIME: Final = ("runtime", "precision", "num_threads", "device")
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "run": (*_SCALARS, *_NAMES, *_STRUCTURES),
    "phase": ("run_id", *(f.name for f in dataclasses.fields(PhaseFigures))),
    "score": ("run_id", *(f.name for f in dataclasses.fields(Score))),
    "serving": ("run_id", *_RUNTIME, *(f.name for f in dataclasses.fields(ServedScenario))),
}
_ALLOWED: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def query(records: Sequence[Record], sql: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Run one SELECT over records; return the column names and the rows.

    Raises:
        StudyError: the SQL is wrong, or would write.
    """
    connection = sqlite3.connect(":memory:")
    try:
        _fill(connection, records)
        connection.set_authorizer(_authorize)
        cursor = connection.execute(sql)
        rows = cursor.fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise StudyError(f"query: {error}", place=" ".join(sql.split())[:80], hint=_hint(str(error))) from error
    finally:
        connection.close()
    if cursor.description is None:
        raise StudyError("query returns nothing", place=" ".join(sql.split())[:80], hint=_hint(""))
    return tuple(column[0] for column in cursor.description), rows


def _fill(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    rows: dict[str, Callable[[Record], Iterable[tuple[Any, ...]]]] = {
        "run": lambda record: [_run_row(record)],
        "phase": lambda record: ((record.run_id, *vars(phase).values()) for phase in record.phases),
        "score": lambda record: ((record.run_id, *vars(score).values()) for score in record.scores),
        "serving": lambda record: (
            (record.run_id, *(getattr(served, name) for name in _RUNTIME), *vars(scenario).values())
            for served in record.serving
            for scenario in served.scenarios
        ),
    }
    for table, columns in COLUMNS.items():
        connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        marks = ", ".join("?" * len(columns))
        connection.executemany(
            f"INSERT INTO {table} VALUES ({marks})", (row for record in records for row in rows[table](record))
        )


def _run_row(record: Record) -> tuple[Any, ...]:
    names = (
        record.run_id.partition("_")[2].rpartition("_")[0],
        record.cell.get("recipe"),
        record.cell.get("seed"),
        record.model.name if record.model else None,
        record.dataset.name if record.dataset else None,
    )
    structures = (getattr(record, name) for name in _STRUCTURES)
    return (*(getattr(record, name) for name in _SCALARS), *names, *(_to_json(value) for value in structures))


def _to_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, default=dataclasses.asdict, ensure_ascii=False)


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _hint(message: str) -> str:
    if found := re.search(r"no such (column|table): (?:\w+\.)?(\w+)", message):
        known = COLUMNS if found[1] == "table" else {name for columns in COLUMNS.values() for name in columns}
        hint = near_name_hint(found[2], known)
        if hint.startswith("Did"):
            return hint
    if "not authorized" in message:
        return "A query only reads: one SELECT."
    return "Tables: " + "; ".join(f"{table}({', '.join(columns)})" for table, columns in COLUMNS.items())
