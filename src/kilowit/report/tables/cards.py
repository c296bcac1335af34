"""What it ran on and with: environment, models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kilowit.record import ModelFacts, Record
from kilowit.report.quantity import measure
from kilowit.report.runs import Choice
from kilowit.report.table import Column, Entry, Table

_TABLES_OF_PACKAGES: Final = ("packages",)
MAX_VALUES: Final = 4  # distinct values of one fact that are shown


def environment_table(records: Sequence[Record]) -> Table:
    """Return one row per fact of the environment; what differs between runs is shown with its number of runs."""
    values: dict[str, dict[str, int]] = {}
    for record in records:
        for name, value in _facts(record.environment):
            counts = values.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    rows = tuple((Entry(name), Entry(_spread(counts, len(records)))) for name, counts in values.items())
    columns = (Column("fact", "Fact"), Column("value", "Value"))
    return Table("environment", "Environment", columns, rows)


def _facts(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Flatten nested objects to dotted names; package versions become one fact."""
    if isinstance(value, Mapping) and path in _TABLES_OF_PACKAGES:
        yield path, ", ".join(f"{name} {version}" for name, version in sorted(value.items()))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _facts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield f"{path}[{index}]", ", ".join(f"{key} {text}" for key, text in _facts(item))
    elif isinstance(value, list):
        yield path, ", ".join(str(item) for item in value) or "none"
    elif path.endswith("_byte") and isinstance(value, int | float):
        yield path.removesuffix("_byte"), measure(value, "byte")
    elif value is not None and value != "":
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _spread(counts: Mapping[str, int], num_records: int) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    if len(most) == 1 and most[0][1] == num_records:
        return most[0][0]
    shown = "; ".join(f"{value} ({num} of {num_records} runs)" for value, num in most[:MAX_VALUES])
    return shown + (f"; and {len(most) - MAX_VALUES} other values" if len(most) > MAX_VALUES else "")


_MODEL_COLUMNS: Final = (
    Column("choice", "Choice"),
    Column("family", "Family"),
    Column("source", "Source"),
    Column("num_parameters", "Parameters", "count"),
    Column("num_trainable_parameters", "Trainable", "count"),
    Column("model_disk_byte", "Disk", "byte"),
    Column("dtype", "Weights"),
    Column("vocabulary_size", "Vocabulary", "count"),
    Column("flop_per_input_token", "Forward, per input token", "flop"),
    Column("flop_per_output_token", "Forward, per output token", "flop"),
)


def model_table(choices: Sequence[Choice]) -> Table:
    """Return one row per choice: recipes change what is trained, stored and computed."""
    rows = []
    for choice in choices:
        facts = next((run.record.model for run in reversed(choice.runs) if run.record.model is not None), None)
        if facts is not None:
            rows.append(_model_row(choice.label, facts, choice.is_baseline))
    notes = ("FLOP by the family's formula (see its file in parts/models).",) if rows else ()
    return Table("models", "Models", _MODEL_COLUMNS, tuple(rows), notes)


def _model_row(label: str, facts: ModelFacts, is_baseline: bool) -> tuple[Entry, ...]:
    reason = "training-free: has no weights" if is_baseline else "not recorded"
    names = ("num_parameters", "num_trainable_parameters", "model_disk_byte", "dtype", "vocabulary_size",
             "flop_per_input_token", "flop_per_output_token")  # fmt: skip
    return (
        Entry(label),
        Entry(facts.family),
        Entry(facts.source),
        *(Entry(getattr(facts, name), reason=reason) for name in names),
    )
