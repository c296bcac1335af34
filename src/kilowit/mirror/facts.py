"""A run as MLflow's metrics, params and tags. Names stay ours: they end in their unit; a slash begins a group there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

import kilowit
from kilowit.cell import model_name
from kilowit.exchange.priced import priced_run, whole
from kilowit.record import DEVICES, PhaseFigures, Record
from kilowit.report.runs import sum_figures
from kilowit.served import ServedRuntime
from kilowit.settings import FactorSettings
from kilowit.store import RunFolder

RUN_ID: Final = "kilowit.run_id"
GROUP: Final = "kilowit.group"
MAX_PARAM_CHARACTERS: Final = 6000  # MLflow's limit
MAX_TAG_CHARACTERS: Final = 5000
_NUMBERS: Final = tuple(f.name for f in fields(PhaseFigures) if f.name != "phase" and not f.name.endswith("_source"))
_FORBIDDEN: Final = re.compile(r"[^\w./ :-]")  # what MLflow takes in no name


def metrics_of(record: Record) -> dict[str, float]:
    """Return all figures of a record by the names that they have there; what is unknown is left out.

    ``bill/`` is the whole run priced where its study says, ``<phase>/`` a phase, ``serve/<runtime>/`` its serving.
    """
    found = dict(_scores(record))
    for phase in record.phases:
        found |= present(phase.phase, {name: getattr(phase, name) for name in _NUMBERS})
    found |= present("bill", bill_of([record]))
    found |= present("", {"idle_power_watt": record.idle_power_watt})
    if record.model is not None:
        found |= present("model", asdict(record.model))
    for served in record.serving:
        found |= _served(served)
    return found


def _scores(record: Record) -> Iterator[tuple[str, float]]:
    for score in record.scores:
        yield score.metric, score.value
        if score.ci95_low is not None and score.ci95_high is not None:
            yield f"{score.metric}_ci95_low", score.ci95_low
            yield f"{score.metric}_ci95_high", score.ci95_high


def _served(served: ServedRuntime) -> dict[str, float]:
    group = f"serve/{_named(served.label)}"
    found = present(group, {k: v for k, v in asdict(served).items() if k != "num_threads"})
    for scenario in served.scenarios:
        found |= present(f"{group}/{scenario.scenario}", asdict(scenario))
    if served.agreement is not None:
        found |= present(f"{group}/agreement", asdict(served.agreement))
    return found


def present(group: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among values, named after their group."""
    prefix = f"{group}/" if group else ""
    return {
        f"{prefix}{name}": float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def bill_of(records: Sequence[Record]) -> dict[str, Any]:
    """Return what runs took together, priced where the study of the first says; unknown is None."""
    runs = [priced_run(record, FactorSettings()) for record in records]
    rows = [run.billed for run in runs]
    billed = whole(sum_figures("total", rows), rows)
    derived = {name: value for name, value in vars(runs[0].derived(billed)).items() if name != "wall_second"}
    energies = {name: getattr(billed, name) for name in (f"energy_{device}_joule" for device in (*DEVICES, "total"))}
    return {"wall_second": billed.wall_second, **energies, **derived}


def params_of(cell: Mapping[str, Any]) -> dict[str, str]:
    """Return what was asked, flat: ``train.num_epochs``, ``model``, ``recipe``, ``method.lora.rank``."""
    template = (cell.get("search") or {}).get("template") or {}
    found = {
        "model": model_name(template.get("model") or cell["model"]),
        "dataset": str(cell["dataset"]["name"]),
        "recipe": str(cell["recipe"]),
        "methods": ", ".join(call["name"] for call in cell["methods"]),
        "hardware": str(cell["hardware"]),
        "seed": str(cell["seed"]),
    }
    found |= dict(_flat("model", cell["model"])) | dict(_flat("dataset", cell["dataset"]))
    for call in cell["methods"]:
        found |= dict(_flat(f"method.{call['name']}", call["options"]))
    found |= dict(_flat("", cell["settings"]))
    found |= dict(_flat("search", {k: v for k, v in (cell.get("search") or {}).items() if k != "template"}))
    return {_named(name): value[:MAX_PARAM_CHARACTERS] for name, value in found.items() if value}


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), item)
    elif value is not None and value != "":
        yield prefix, str(value)


def first_tags(folder: RunFolder) -> dict[str, str]:
    """Return what can be said of a run as it starts."""
    cell = folder.cell
    return {
        RUN_ID: folder.run_id,
        "kilowit.study": str(cell.get("study_name", "")),
        "kilowit.cell_key": folder.cell_key,
        "kilowit.attempt": str(folder.attempt),
        "kilowit.version": kilowit.__version__,
        "mlflow.source.name": "kilowit",
        "mlflow.source.type": "LOCAL",
    }


def last_tags(record: Record) -> dict[str, str]:
    """Return what is known of a run once it is over."""
    git = record.environment.get("git") or {}
    found = {
        "kilowit.status": record.status,
        "kilowit.error_kind": record.error_kind,
        "kilowit.error_message": record.error_message,
        "kilowit.error_phase": record.error_phase,
        "kilowit.phase": "over",
        "kilowit.measurement_signature": record.measurement_signature,
        "kilowit.factors": ", ".join(bill_of([record])["factor_ids"]),
        "kilowit.warnings": "\n".join(record.warnings),
        "mlflow.source.git.commit": git.get("commit") if isinstance(git, Mapping) else None,
    }
    return {name: str(value)[:MAX_TAG_CHARACTERS] for name, value in found.items() if value}


def _named(name: str) -> str:
    return _FORBIDDEN.sub("_", name)
