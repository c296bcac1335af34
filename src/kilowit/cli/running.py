"""What `run`, `demo`, `report` and `compare` do with a store, and what is shown of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kilowit.console import say, show, show_json, show_table
from kilowit.endpoint.folder import is_serving_folder
from kilowit.errors import StoreError, StudyError, near_name_hint
from kilowit.plan import foretell
from kilowit.record import Record
from kilowit.report import ReportFiles, write_report, write_serving_report
from kilowit.report import compare as compare_sides
from kilowit.run.budget import Forecast
from kilowit.run.coordinator import run_study
from kilowit.run.progress import make_progress
from kilowit.run.session import RunOptions
from kilowit.settings import FactorSettings
from kilowit.store import Store
from kilowit.study import Study
from kilowit.study_yaml import parse_document

NO_FACTORS = FactorSettings()  # price every record where its own study says


def run(path: Path, folder: Path, overrides: Sequence[str], *, retry_failed: bool, with_report: bool) -> int:
    """Run what is not done of a study, report on it, and return the exit code.

    Raises:
        KilowitError: the study is wrong, or the store or the machine cannot be used.
    """
    study, store = Study.load(path, overrides), Store(folder)
    for note in study.notes:
        say(f"note: {note}")
    outcome = run_study(
        study,
        store,
        progress=make_progress(),
        options=RunOptions(retry_failed=retry_failed),
        forecast=_forecast(study, store),
    )
    if with_report and outcome.num_finished + outcome.num_skipped:
        report(folder, None, study_name=study.name, factors=NO_FACTORS, as_json=False)
    return outcome.exit_code


def _forecast(study: Study, store: Store) -> Forecast | None:
    """What the plan says of each cell; None where no limit asks for it."""
    limits = [study.budget, *([] if study.search is None else [study.search.budget])]
    return foretell(study, store) if any(limit.model_dump(exclude_none=True) for limit in limits) else None


def report(
    folder: Path,
    out: Path | None,
    *,
    study_name: str | None,
    factors: FactorSettings,
    as_json: bool,
    maintenance: Sequence[str] = (),
) -> ReportFiles:
    """Write the report of a store, or of a server's folder, and show its answer and where it is.

    Raises:
        StoreError: the store has no runs, or the folder cannot be written.
        StudyError: no run of a study of that name, or a change to `maintenance:` that it does not take.
        PartError: the region or machine is unknown.
    """
    if is_serving_folder(folder):
        if study_name is not None:
            raise StudyError("a server has no studies", place=str(folder), hint="Leave out --study.")
        files = write_serving_report(folder, out, region=factors.region, machine=factors.machine, pue=factors.pue)
        _show_report(files, as_json=as_json)
        return files
    store = Store(folder)
    records = _records_of(store, study_name)
    predictions = {run.run_id: run.predictions_path for run in store.folders() if run.predictions_path.is_file()}
    files = write_report(
        records,
        out or folder / "report",
        region=factors.region,
        machine=factors.machine,
        pue=factors.pue,
        predictions=predictions,
        maintenance=_changes(maintenance),
    )
    _show_report(files, as_json=as_json)
    return files


def _changes(assignments: Sequence[str]) -> dict[str, Any] | None:
    """Read ``summaries_per_day=5000``, its value as in a study; None where nothing is changed.

    Raises:
        StudyError: no assignment, or its value is not YAML.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, _ = assignment.partition("=")
        if not equals or not name.strip():
            hint = "Example: --maintenance summaries_per_day=5000"
            raise StudyError(f'"{assignment}" is no assignment', place="--maintenance", hint=hint)
        changes |= parse_document(assignment.replace("=", ": ", 1), "--maintenance").value
    return changes or None


def _records_of(store: Store, study_name: str | None) -> list[Record]:
    records = store.records()
    for problem in store.problems:
        say(f"skipped: {problem}")
    if not records:
        raise StoreError(
            "no finished or failed run here", place=str(store.path), hint="Run a study, or name its --store."
        )
    names = {record.study_name for record in records}
    if study_name is not None and study_name not in names:
        raise StudyError(
            f'no run of a study "{study_name}"', place=str(store.path), hint=near_name_hint(study_name, names)
        )
    return [record for record in records if study_name in (None, record.study_name)]


def _show_report(files: ReportFiles, *, as_json: bool) -> None:
    if as_json:
        show_json({"html": files.html, "markdown": files.markdown, "csv": files.csv, "answer": files.answer.sentences})
    elif sys.stdout.isatty():
        from rich.console import Console

        from kilowit.report.console import answer_panel

        Console().print(answer_panel(files.answer, files.html))
    else:
        for sentence in files.answer.sentences:
            show(sentence)
        show(str(files.html))


def compare(a: str, b: str, folder: Path, fail_if: Sequence[str], *, as_json: bool) -> int:
    """Compare two sides, show it, and return 1 if a condition holds, else 0.

    Raises:
        StudyError: a side without runs, nothing in common, or a condition that cannot be judged.
        StoreError: a store cannot be read.
    """
    stores = [Store(folder), *(Store(Path(side)) for side in (a, b) if Path(side).is_dir())]
    predictions = {run.run_id: run.predictions_path for store in stores for run in store.folders()}
    result = compare_sides(a, b, records=stores[0].records(), fail_if=fail_if, predictions=predictions)
    if as_json:
        show_json(result.to_dict())
    elif sys.stdout.isatty():
        from rich.console import Console

        from kilowit.report.console import comparison_tables

        Console().print(comparison_tables(result))
    else:
        columns = ("figure", "a", "b", "effect", "kind", "ci95_low", "ci95_high", "num_pairs", "p_holm", "verdict")
        rows = [
            (
                row.figure,
                row.a,
                row.b,
                row.effect.value,
                "difference" if row.is_difference else "ratio",
                row.effect.low,
                row.effect.high,
                row.num_pairs,
                None if row.contrast is None else row.contrast.p_method_holm,
                row.verdict,
            )
            for row in result.rows
        ]
        show_table(columns, rows)
    for violation in result.violations:
        say(f"violated: {violation.condition.text}  (A {violation.a:.6g}, B {violation.b:.6g})")
    return result.exit_code
