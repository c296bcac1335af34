"""Which runs are meant: the grammar of the two sides of `kilowit compare A B`.

A side is, tried in this order:

* a folder: all runs of that store, e.g. ``runs-v100``, or the one run whose folder it is;
* ``key=value`` pairs joined by commas, all of which must hold, e.g. ``recipe=bf16,model=bart-tiny``; the keys are
  study, model, dataset, recipe, method, hardware, seed, attempt, run;
* a run id, its beginning, or its last four characters, e.g. ``20261123T101530Z_lead``;
* a cell's label with or without its seed, e.g. ``bart-tiny_samsum_bf16``;
* the name of a recipe, model, dataset or study of these runs, e.g. ``bf16``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kilowit.errors import StudyError, near_name_hint
from kilowit.record import Record
from kilowit.report.runs import model_label


def _methods(record: Record) -> set[str]:
    return {call["name"] for call in record.cell.get("methods", [])}


def _dataset(record: Record) -> set[str]:
    return {str(record.cell.get("dataset", {}).get("name"))}


def _model(record: Record) -> set[str]:
    spec = record.cell.get("model", {})
    return {model_label(spec), *(str(spec[key]) for key in ("hub", "folder") if spec.get(key))}


_READERS: Final[Mapping[str, Callable[[Record], set[str]]]] = {
    "study": lambda record: {record.study_name},
    "model": _model,
    "dataset": _dataset,
    "recipe": lambda record: {str(record.cell.get("recipe", ""))},
    "method": _methods,
    "hardware": lambda record: {str(record.cell.get("hardware", ""))},
    "seed": lambda record: {str(record.cell.get("seed", ""))},
    "attempt": lambda record: {str(record.attempt)},
    "run": lambda record: {record.run_id},
}
_NAMES: Final = ("recipe", "model", "dataset", "study")  # what a bare word may be


def select(text: str, records: Sequence[Record]) -> list[Record]:
    """Return the records that one side of a comparison means.

    Raises:
        StudyError: it means no run here; the hint names the nearest.
    """
    if not text.strip():
        raise StudyError("a side of the comparison is empty", hint="Example: kilowit compare recipe=plain recipe=bf16")
    if Path(text).is_dir():
        return _of_store(text)
    if "=" in text:
        return _of_pairs(text, records)
    found = [r for r in records if r.run_id.startswith(text)] or [r for r in records if r.run_id.endswith(f"_{text}")]
    found = found or [r for r in records if text in (_label(r), _label(r).rpartition("_s")[0])]
    for key in _NAMES:
        found = found or [r for r in records if text in _READERS[key](r)]
    if not found:
        raise StudyError(f'no run matches "{text}"', hint=_hint(text, records))
    return found


def _of_store(path: str) -> list[Record]:
    from kilowit.store import RunFolder, Store

    folder = RunFolder(Path(path))
    if folder.cell_path.is_file():
        found = [record for record in (folder.record,) if record is not None]
    else:
        found = Store(path).records()
    if not found:
        hint = "Name a folder of run folders, or a run folder that has a record."
        raise StudyError("no run with a record in this folder", place=path, hint=hint)
    return found


def _of_pairs(text: str, records: Sequence[Record]) -> list[Record]:
    found = list(records)
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in _READERS or not equals:
            raise StudyError(f'"{pair.strip()}" selects nothing', hint=near_name_hint(key, _READERS))
        known = sorted({name for r in records for name in _READERS[key](r)})
        found = [r for r in found if value in _READERS[key](r)]
        if value not in known:
            raise StudyError(f'no run has {key} "{value}"', hint=near_name_hint(value, known or ["no runs"]))
    if not found:
        raise StudyError(f'no run has all of "{text}"', hint="Leave out a condition.")
    return found


def _label(record: Record) -> str:
    """The readable middle of the run id."""
    return re.sub(r"^\d{8}T\d{6}Z_|_[0-9a-f]{4}$", "", record.run_id)


def _hint(text: str, records: Sequence[Record]) -> str:
    if not records:
        return "There are no runs: name a store with --store, or run a study."
    known: dict[str, Any] = {name: None for key in _NAMES for r in records for name in _READERS[key](r) if name}
    known |= {_label(r).rpartition("_s")[0]: None for r in records}
    return near_name_hint(text, known)
