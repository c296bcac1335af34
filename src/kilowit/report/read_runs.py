"""What reports and recommendations are made of: a store, its folder, or records; and the predictions beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kilowit.errors import StudyError
from kilowit.record import Record
from kilowit.store import Store

RunSource = Store | str | Path | Sequence[Record]


def read_runs(
    runs: RunSource, *, study: str | None = None, predictions: Mapping[str, Path] | None = None
) -> tuple[list[Record], dict[str, Path]]:
    """Return records, and ``predictions.jsonl`` by run id: those given and those that a store holds.

    Args:
        runs: a store, its folder, or records.
        study: only the runs of this one.
        predictions: for runs that are not in the store.

    Raises:
        StudyError: no run of a study of that name.
    """
    store = Store(runs) if isinstance(runs, str | Path) else runs
    records = store.records() if isinstance(store, Store) else list(store)
    files = dict(predictions or {})
    if isinstance(store, Store):
        files |= {run.run_id: run.predictions_path for run in store.folders() if run.predictions_path.is_file()}
    if study is not None and records:
        names = sorted({record.study_name for record in records})
        records = [record for record in records if record.study_name == study]
        if not records:
            place = str(store.path) if isinstance(store, Store) else None
            raise StudyError(f'no run of a study "{study}"', place=place, hint=f"Known: {', '.join(names)}.")
    return records, files
