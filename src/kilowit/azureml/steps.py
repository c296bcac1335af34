"""What the jobs do on a node, each a verb of `kilowit azureml`: run, trial, compress, evaluate.

A node's disk is fast and goes with the node; a mounted output stays and dislikes a line a second. So runs are made on
the disk, and each that has ended is merged into the output. A job that is taken away and begun again merges the other
way first, and goes on: finished cells are not run twice.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from kilowit.azureml.portable import priced
from kilowit.azureml.space import read_parameters
from kilowit.cell import Cell, model_name
from kilowit.errors import ExecutorError, StoreError, StudyError
from kilowit.parts.search import Proposal
from kilowit.parts.text_codec import Manifest
from kilowit.record import Record
from kilowit.run.coordinator import run_study
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import PlainProgress
from kilowit.run.trials import trial_cell, values_of
from kilowit.serving.export import export_model
from kilowit.settings import RuntimeSettings
from kilowit.store import Store
from kilowit.store.folder import store_errors, write_whole
from kilowit.study import Study
from kilowit.study_yaml import parse_document, read_text

CHOSEN_FILE: Final = "chosen.json"
SUMMARIZER: Final = "summarizer"  # folder of the compressed model, in the output of compress
EVALUATION_STUDY: Final = "evaluation.yaml"


class _Homing(PlainProgress):
    """Says what happens, and brings each run home that has ended."""

    def __init__(self, work: Store, home: Store) -> None:
        super().__init__()
        self._work, self._home = work, home

    def cell_ended(self, label: str, record: Record) -> None:
        """Merge what is finished into the output."""
        super().cell_ended(label, record)
        self._home.merge(self._work.path)


def run_homing(study: Study, work: Path, home: Path) -> StudyOutcome:
    """Run a study in a folder of this machine and leave its runs in another, each as soon as it has ended.

    Args:
        study: what is asked.
        work: store on this machine's own disk.
        home: store that outlives the machine; what it holds already is not run again.

    Raises:
        KilowitError: as `kilowit run`, or a store that cannot be written.
    """
    here, there = Store(work), Store(home)
    if home.is_dir():
        here.merge(home)
    outcome = run_study(study, here, progress=_Homing(here, there))
    there.merge(work)
    return outcome


def run_trial(study: Study, cell_key: str, given: Sequence[str], number: int | None, work: Path, home: Path) -> Record:
    """Run one trial of a study's search with the parameters that a sweep gave, and report its objective.

    The run says which trial of which search it is, so that `kilowit run` in a store with all of them goes on to the
    winner. The objective goes to MLflow, where a sweep reads it.

    Args:
        study: with a search.
        cell_key: first digits of the key of the cell that is searched.
        given: ``name=value``, as a sweep's command has them.
        number: of the trial; None = what the job's name ends in.
        work: store on this machine's own disk.
        home: store that outlives the machine.

    Raises:
        StudyError: no search, no such cell, or parameters that are not the search's.
        ExecutorError: the trial failed, or its objective cannot be reported.
    """
    if study.search is None:
        raise StudyError("the study has no search", place=study.place, hint="Add a block `search`.")
    if len(study.search.goals) > 1:
        raise StudyError("a sweep has one objective", place=study.place, hint="`kilowit run` runs this search.")
    template = _cell_of(study, cell_key)
    proposal = Proposal(_trial_number(number), read_parameters(study.search, given))
    cell = trial_cell(template, study.search, proposal, "trial", None)
    one = Study(
        name=study.name, description=study.description, cells=(cell,), settings=cell.settings, metrics=study.metrics,
        factors=study.factors, budget=study.budget, place=study.place,
    )  # fmt: skip
    run_homing(one, work, home)
    record = Store(home).done(cell.key)
    if record is None:
        failed = [r for r in Store(home).attempts(cell.key) if r.error_message]
        why = failed[-1].error_message if failed else "it left no record"
        raise ExecutorError(f"the trial did not finish: {why}", place=cell.label, hint="Its run folder says more.")
    (value,) = values_of(record, study.search.goals) or (None,)
    assert value is not None
    _log_metric(study.search.goals[0].name, value)
    return record


def _cell_of(study: Study, cell_key: str) -> Cell:
    found = [cell for cell in study.cells if cell.key.startswith(cell_key) and not cell.is_baseline]
    if len(found) != 1:
        known = ", ".join(f"{cell.key[:12]} ({cell.label})" for cell in study.cells if not cell.is_baseline)
        raise StudyError(f"{len(found)} trained cells have the key {cell_key}", place="--cell", hint=f"Known: {known}")
    return found[0]


def _trial_number(number: int | None) -> int:
    """Return the number of a trial: Azure calls the jobs of a sweep ``<sweep>_0``, ``<sweep>_1`` and so on."""
    if number is not None:
        return number
    name = os.environ.get("AZUREML_RUN_ID", "")
    if match := re.search(r"_([0-9]+)$", name):
        return int(match.group(1))
    raise StudyError("nobody says which trial this is", place="--trial", hint="Give its number, from 0.")


def _log_metric(name: str, value: float) -> None:
    """Report a figure to the MLflow that the job was given; outside a job there is none."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    if importlib.util.find_spec("mlflow") is None:
        raise ExecutorError(
            "the objective cannot be reported: mlflow is not installed", place=name, hint="pip install azureml-mlflow"
        )
    import mlflow

    mlflow.log_metric(name, value)


@dataclass(frozen=True)
class Chosen:
    """Which run was chosen, by what, and as what it is deployed; the content of ``chosen.json``."""

    run_id: str
    label: str
    objective: str
    value: float
    runtime: str
    precision: str


def compress_best(runs: Path, out: Path, objective: str, runtime: RuntimeSettings) -> Chosen:
    """Export the best model of a store for a runtime; ``chosen.json`` says which and why.

    Seeds are repeats: recipes are compared by their means, and of the best its best seed is taken.

    Args:
        runs: store whose runs kept their models.
        out: folder that receives ``summarizer/`` and ``chosen.json``.
        objective: a score, which is to be high.
        runtime: of the export.

    Raises:
        StoreError: no finished run with a model has the score.
        PartError: the runtime does not take the model, or a package is missing.
    """
    store = Store(runs)
    groups: dict[str, list[tuple[float, Record]]] = {}
    for record in store.records():
        score = record.score(objective)
        has_model = store.find(record.run_id).model_path.is_dir()
        is_trial = (record.cell.get("search") or {}).get("role") == "trial"  # judged on the validation split
        if record.status == "finished" and has_model and not is_trial and score is not None:
            groups.setdefault(_without_seed(record), []).append((score.value, record))
    if not groups:
        raise StoreError(
            f"no finished run that kept its model has the score {objective}",
            place=str(runs),
            hint="Train with --set measure.keep_model=true, and name a score of the study with --objective.",
        )
    best = max(groups.values(), key=lambda group: fmean(value for value, _ in group))
    value, record = max(best, key=lambda pair: pair[0])
    folder = store.find(record.run_id)
    exported = export_model(folder.path, out / SUMMARIZER, runtime)
    manifest = exported.manifest
    chosen = Chosen(record.run_id, folder.label, objective, value, manifest.runtime, manifest.precision)
    write_whole(out / CHOSEN_FILE, json.dumps(vars(chosen), indent=1) + "\n")
    return chosen


def evaluate_chosen(
    study_path: Path, runs: Path, model: Path, work: Path, home: Path, machine: str | None = None
) -> StudyOutcome:
    """Score the chosen model behind its runtime on this machine, as a cell of its own: metered, billed, mergeable.

    Args:
        study_path: the study, for its dataset, metrics and search settings.
        runs: store with the chosen run.
        model: what `compress_best` left.
        work: store on this machine's own disk.
        home: store that outlives the machine.
        machine: VM size that it runs on and is billed by; None, or one without a known price = no price.

    Raises:
        KilowitError: as `kilowit run`, or a folder that `compress_best` did not leave.
    """
    chosen = read_chosen(model)
    source = Store(runs).find(chosen.run_id)
    document = parse_document(read_text(study_path), str(study_path)).value
    name = model_name(source.cell["model"])
    folder = work / "models" / name
    with store_errors(folder):
        if not folder.exists():
            shutil.copytree(source.model_path, folder)
    dataset = source.cell["dataset"]["name"]
    # of a search the winner's own settings count, which its cell has; a recipe may have cut documents shorter
    train, predict = (dict(source.cell["settings"][block]) for block in ("train", "predict"))
    train["max_source_tokens"] = Manifest.read(model / SUMMARIZER).max_source_tokens
    document |= {
        "models": [str(folder.resolve())],
        "datasets": [s for s in document["datasets"] if dataset in (s, _name_of(s))] or document["datasets"],
        "recipes": {f"{chosen.runtime}-{chosen.precision}": ["zero_shot"]},
        "seeds": [0],
        "train": _written(train, "engine"),
        "predict": {**_written(predict, "split"), "runtime": {"name": chosen.runtime, "precision": chosen.precision}},
    }
    document.setdefault("factors", {})["machine"] = None if machine is None else priced(machine)
    for key in ("search", "exclude", "serve", "budget"):
        document.pop(key, None)
    import yaml

    derived = study_path.with_name(EVALUATION_STUDY)
    write_whole(derived, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return run_homing(Study.load(derived), work / "runs", home)


def read_chosen(model: Path) -> Chosen:
    """Read what `compress_best` left.

    Raises:
        StoreError: there is none, or it is not whole.
    """
    path = model / CHOSEN_FILE
    try:
        return Chosen(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            f"not the output of compress ({error})", place=str(path), hint="Name what `kilowit azureml compress` left."
        ) from error


def _name_of(spec: Any) -> str | None:
    return str(spec.get("name")) if isinstance(spec, dict) else None


def _written(block: dict[str, Any], left_out: str) -> dict[str, Any]:
    return {key: value for key, value in block.items() if value is not None and key != left_out}


def _without_seed(record: Record) -> str:
    """What the repeats of a cell have in common."""
    return json.dumps([record.cell[key] for key in ("model", "dataset", "recipe", "settings")], sort_keys=True)
