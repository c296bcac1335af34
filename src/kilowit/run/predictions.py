"""predictions.jsonl: one line per test example with its summary and, once scored, the values of every metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_predictions(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line; the file is whole or as it was."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    temporary.replace(path)


def add_scores(
    path: Path,
    per_example: Mapping[str, Sequence[float]],
    contributions: Mapping[str, Sequence[float]] | None = None,
) -> int:
    """Put the values of each example beside its summary; return the number of examples.

    Args:
        per_example: by metric, in the order of the lines.
        contributions: of the scores that are no means, what each example adds to them.
    """
    with path.open(encoding="utf-8") as file:  # not splitlines(): a summary may hold U+2028
        rows = [json.loads(line) for line in file]
    for i, row in enumerate(rows):
        row["scores"] = {name: round(values[i], 6) for name, values in per_example.items()}
        if contributions:
            row["contributions"] = {name: round(values[i], 6) for name, values in contributions.items()}
    write_predictions(path, rows)
    return len(rows)
