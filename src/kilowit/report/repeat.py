"""How to repeat: the study that these records came from, rebuilt from their cells, and the commands."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from kilowit.record import Record
from kilowit.report.runs import model_label

MAX_STUDIES: Final = 8  # beyond it a report of many studies would be mostly their text
_BLOCKS: Final = ("train", "predict", "serve", "measure")


@dataclass(frozen=True)
class Repeat:
    """One study to run again."""

    name: str
    yaml: str
    commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


def repeats_of(records: Sequence[Record]) -> list[Repeat]:
    """Return one study per name and settings that the records' cells can be rebuilt from."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        cell = _asked(record.cell)
        if cell is None:
            continue
        shared = [record.study_name, *(cell.get(k) for k in ("settings", "metrics", "factors", "search"))]
        groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(cell)
    names: dict[str, int] = {}
    found = []
    for cells in list(groups.values())[:MAX_STUDIES]:
        name = str(cells[0].get("study_name", "study"))
        names[name] = names.get(name, 0) + 1
        found.append(_repeat(name if names[name] == 1 else f"{name}-{names[name]}", cells))
    if len(groups) > MAX_STUDIES:
        more = f"{len(groups) - MAX_STUDIES:,} more studies or settings: their cell.json files say what was asked."
        found[-1] = replace(found[-1], notes=(*found[-1].notes, more))
    return found


def _asked(cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the study asked for: of a search's winner the template and the search, of a trial nothing."""
    search = cell.get("search")
    if not search:
        return cell
    if search["role"] == "trial":
        return None
    kept = ("algorithm", "space", "objective", "options")
    asked = {key: value for key in kept if (value := search[key])}
    return {**cell, **search["template"], "seed": search["seed"], "search": asked}


def _repeat(name: str, cells: Sequence[Mapping[str, Any]]) -> Repeat:
    trained = [c for c in cells if "baseline" not in c.get("model", {})]
    ordered = sorted(trained, key=lambda c: (len(c.get("methods", [])), str(c.get("recipe"))))
    recipes = {str(c["recipe"]): [_method(m) for m in c.get("methods", [])] for c in ordered}
    study: dict[str, Any] = {
        "name": name,
        "models": sorted(_distinct(_model(c["model"]) for c in cells if "model" in c), key=_trained_first),
        "datasets": _distinct(_dataset(c["dataset"]) for c in cells if "dataset" in c),
        **({"recipes": recipes} if recipes else {}),
        "seeds": sorted({int(c.get("seed", 0)) for c in trained}) or [0],
        "exclude": _excluded(trained, recipes),
        **{block: _written(cells[0].get("settings", {}).get(block, {})) for block in _BLOCKS},
        "metrics": list(cells[0].get("metrics", ["rouge"])),
        "factors": _written(cells[0].get("factors", {})),
        "search": cells[0].get("search", {}),
    }
    study = {key: value for key, value in study.items() if value not in ([], {})}
    text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    file = shlex.quote(f"{name}.yaml")
    commands = (f"kilowit plan {file}", f"kilowit run {file}", "kilowit report runs")
    local = any("folder" in c.get("model", {}) or c.get("content") for c in cells)
    notes = ["It names local files: their content must be the same for the same cells."] if local else []
    num_here = len(_distinct({axis: c.get(axis) for axis in ("model", "dataset", "recipe", "seed")} for c in trained))
    pairs = _distinct({axis: c.get(axis) for axis in ("model", "dataset", "recipe")} for c in trained)
    if num_here < len(pairs) * len(study.get("seeds", [])):
        notes.append("It asks for every seed of every choice; the runs reported here do not have them all.")
    return Repeat(name, text, commands, tuple(notes))


def _distinct(values: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(json.dumps(value, sort_keys=True, default=str), value)
    return list(found.values())


def _trained_first(model: Any) -> tuple[bool, str]:
    """Runs are shuffled; an order of our own makes the same study the same text."""
    text = json.dumps(model, sort_keys=True)
    return isinstance(model, str) and "/" not in model, text


def _written(block: Any) -> dict[str, Any]:
    """Leave out what is unset."""
    return {key: value for key, value in (block or {}).items() if value is not None}


def _model(spec: Mapping[str, Any]) -> Any:
    rest = {key: value for key, value in spec.items() if value is not None and key != "fingerprint"}
    if set(rest) == {"hub"}:
        return rest["hub"]
    if "baseline" in rest:
        options = rest.get("options") or {}
        return {"baseline": rest["baseline"], **options} if options else rest["baseline"]
    return rest


def _dataset(spec: Mapping[str, Any]) -> Any:
    rest = {key: value for key, value in spec.items() if value is not None}
    return rest["name"] if set(rest) == {"name"} else rest


def _method(call: Mapping[str, Any]) -> Any:
    options = _written(call.get("options"))
    return {call["name"]: options} if options else call["name"]


def _excluded(trained: Sequence[Mapping[str, Any]], recipes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say which pairs of model and recipe the records do not have."""
    models = list(dict.fromkeys(model_label(c["model"]) for c in trained))
    present = {(model_label(c["model"]), str(c["recipe"])) for c in trained}
    missing = [pair for pair in itertools.product(models, recipes) if pair not in present]
    return [{"model": model, "recipe": recipe} for model, recipe in missing]
