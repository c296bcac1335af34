"""How each noun looks at a terminal: a study, a plan, a store, a run, this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilowit.console import say, show, show_json, show_table
from kilowit.record import PhaseFigures, Record, Score
from kilowit.report.quantity import UNKNOWN, Kind, measure, unit_for
from kilowit.report.quantity import show as write
from kilowit.store.mirrored import mirror_state

if TYPE_CHECKING:
    from kilowit.doctor import Finding
    from kilowit.imported import ImportFacts
    from kilowit.opinion import SecondOpinion
    from kilowit.plan import CellPlan, Estimate, Interval, LifeCycle, Plan, Timing
    from kilowit.store import Store
    from kilowit.study import Study


def show_new_study(path: Path) -> None:
    """Show where the first study is, and what comes next."""
    show(str(path))
    name = shlex.quote(str(path))
    say(f"Next: edit it; kilowit check {name}; kilowit plan {name}; kilowit run {name}")


def show_study(study: Study, *, as_json: bool) -> None:
    """Show the cells of a study that was found right."""
    for note in study.notes:
        say(f"note: {note}")
    if as_json:
        cells = [{"label": cell.label, "cell_key": cell.key, **cell.to_dict()} for cell in study.cells]
        show_json({"name": study.name, "num_cells": len(cells), "cells": cells})
        return
    show_table(("cell", "key"), [(cell.label, cell.key[:12]) for cell in study.cells])
    say(f"{study.place}: {_count(len(study.cells), 'cell')}, nothing wrong")


def show_plan(plan: Plan, timing: Timing | None = None, *, as_json: bool) -> None:
    """Show what each cell will take, their sum, the budget, and when to run."""
    if as_json:
        show_json(plan.to_dict() if timing is None else {**plan.to_dict(), "when": timing})
    else:
        columns = ("cell", "basis", "time", "energy", "CO2e", "cost", "GPU memory", "host memory", "disk")
        rows = [_plan_row(cell.cell_label, _basis(cell), cell.estimate) for cell in plan.cells]
        show_table(columns, [*rows, _plan_row("all that is left", plan.total.basis, plan.total)])
    say(f"for {plan.hardware}; likely (low–high); {plan.num_done} of {_count(len(plan.cells), 'cell')} done already")
    for note in dict.fromkeys((*plan.notes, *(f"{c.cell_label}: {note}" for c in plan.cells for note in c.notes))):
        say(f"note: {note}")
    for limit in plan.limits:
        say(f"budget {limit}")
    if plan.life_cycles and not as_json:
        _show_life_cycles(plan.life_cycles)
    if timing is not None and not as_json:
        _show_timing(timing)


def _show_timing(timing: Timing) -> None:
    windows = [("best", window) for window in timing.windows]
    windows += [("at once", timing.now)] if timing.now is not None else []
    columns = ("region", "", "from", "to", "g/kWh", "CO2e, operational")
    rows = [
        (w.region, word, w.starts_at_utc, w.ends_at_utc, f"{w.gram_per_kwh:.0f}", known(w.co2e_operational_kg, "mass"))
        for word, w in windows
    ]
    say(f"\nwhen: {timing.wall_hour:.2g} h and {timing.energy_kwh:.3g} kWh, as likely, in one stretch")
    show_table(columns, rows)
    if timing.saved_fraction is not None:
        say(f"the best of them saves {100 * timing.saved_fraction:.0f} % of starting at once in the study's region")


def _show_life_cycles(cycles: Sequence[LifeCycle]) -> None:
    """Show a working life a line: the energy of each part, then what the whole takes."""
    first = cycles[0].maintenance
    load = f"{first.summaries_per_day:,.10g} summaries a day"
    say(f"\na working life: {first.horizon_day:g} days, {load}; likely (low–high)")
    rows = [
        (
            cycle.label,
            cycle.served_by,
            *(_range(part.energy_total_joule, "energy_wh") for part in (*cycle.parts, cycle.total)),
            _range(cycle.total.co2e_kg, "mass"),
            _range(cycle.total.cost_usd, "money"),
        )
        for cycle in cycles
    ]
    show_table(("choice", "served by", *(part.name for part in cycles[0].parts), "all", "CO2e", "cost"), rows)
    for note in dict.fromkeys(f"{cycle.label}: {note}" for cycle in cycles for note in cycle.notes):
        say(f"note: {note}")


def show_drawn(plan: Plan, path: Path) -> None:
    """Draw the working lives of a plan into a file, and say where.

    Raises:
        StudyError: the study has no `maintenance:`, or no energy is known.
    """
    from kilowit.report.life_cycles import draw_life_cycles

    say(f"drawn: {draw_life_cycles(plan.life_cycles).save(path)}")


def _basis(cell: CellPlan) -> str:
    if cell.done:
        return "done"
    return cell.estimate.basis + {"yes": "", "unsure": ", may not fit", "no": ", cannot run"}[cell.fits]


def _plan_row(label: str, basis: str, estimate: Estimate) -> tuple[str, ...]:
    return (
        label,
        basis,
        _range(estimate.time_second, "time"),
        _range(estimate.energy_total_joule, "energy"),
        _range(estimate.co2e_kg, "mass"),
        _range(estimate.cost_usd, "money"),
        _range(estimate.memory_gpu_byte, "byte"),
        _range(estimate.memory_host_byte, "byte"),
        _range(estimate.disk_byte, "byte"),
    )


def _range(value: Interval | None, kind: Kind) -> str:
    """Write an estimate with two digits: a plan knows no more."""
    return UNKNOWN if value is None else _ranged(value.low, value.likely, value.high, kind, digits=2)


def _ranged(low: float | None, likely: float | None, high: float | None, kind: Kind, digits: int = 3) -> str:
    """Write a value and, in the same unit, its interval."""
    if likely is None:
        return UNKNOWN
    unit = unit_for(kind, [likely or high or 0.0])
    ends = (
        ""
        if low is None or high is None or low == high
        else "–".join(write(x, kind, unit, digits) for x in (low, high))
    )
    return f"{write(likely, kind, unit, digits)} {unit.name if likely or high else ''}".strip() + (
        f"\n({ends})" if ends else ""
    )


def show_status(store: Store, *, as_json: bool) -> None:
    """Show how far each study of a store is."""
    status = store.status()
    _say_problems(store)
    if as_json:
        show_json(status)
        return
    if not status:
        say(f"{store.path} holds no runs. `kilowit run study.yaml --store {store.path}` makes some.")
        return
    columns = ("study", "finished", "failed", "interrupted", "running", "partial", "invalidated", "energy", "time")
    rows = [
        (
            line.study_name,
            line.num_finished,
            line.num_failed,
            line.num_interrupted,
            line.num_running,
            line.num_partial,
            line.num_invalidated,
            known(line.energy_total_joule, "energy"),
            known(line.wall_second, "time"),
        )
        for line in status
    ]
    show_table(columns, rows)


def show_run(store: Store, name: str, *, as_json: bool) -> None:
    """Show the record of one run, or how far it is when it has none yet.

    Raises:
        StoreError: no such run, or it cannot be read.
    """
    folder = store.find(name)
    record = folder.record
    if record is None:
        state = "running" if folder.is_running else "died without a record; the next `kilowit run` closes it"
        if as_json:
            show_json({"run_id": folder.run_id, "status": None, "state": state, "cell": folder.cell})
        else:
            show(f"{folder.run_id}  {state}")
        return
    if as_json:
        show_json(record)
        return
    _show_record(record, folder.path)
    mirror = mirror_state(folder)
    if mirror is not None:
        at = f"whole at {mirror.tracking_uri} as {mirror.mlflow_run_id}"
        say(f"mirror: {at}" if mirror.problem is None else f"warning: {mirror.warning}")


def _show_record(record: Record, path: Path) -> None:
    show(f"run       {record.run_id}  (attempt {record.attempt} of study {record.study_name})")
    show(f"status    {record.status}{_failure(record)}")
    show(f"folder    {path}")
    if record.imported is not None:
        _show_origin(record.imported)
    if record.model is not None:
        parameters = f", {record.model.num_parameters:,} parameters" if record.model.num_parameters else ""
        show(f"model     {record.model.source}{parameters}")
    if record.dataset is not None:
        sizes = ", ".join(f"{split.num_examples:,} {split.split}" for split in record.dataset.splits)
        show(f"dataset   {record.dataset.name} ({record.dataset.source}): {sizes}")
    for method in record.methods:
        proof = ", ".join(f"{key} {value}" for key, value in method.evidence.items())
        show(f"method    {method.method} {'applied' if method.applied else 'NOT APPLIED'}: {proof}")
    show("")
    show_phases(record.phases)
    if record.scores:
        show("")
        columns = ("metric", "value", "95 % from", "to", "examples")
        show_table(columns, [_score_row(score) for score in record.scores])
    if record.serving:
        show("")
        _show_serving(record)
    for opinion in record.second_opinions:
        _show_opinion(record, opinion)
    for warning in record.warnings:
        say(f"warning: {warning}")
    say(record.measurement_signature)


def _show_opinion(record: Record, opinion: SecondOpinion) -> None:
    from kilowit.report.tables.opinions import NAMES, beside

    if opinion.why_not is not None:
        show(f"opinion   {opinion.tool} says nothing: {opinion.why_not}")
    for item in beside(record, opinion):
        ratio = "" if item.ratio is None else f", {item.ratio:.2f} times ours"
        show(f"opinion   {opinion.tool}, {NAMES[item.device]}: {known(item.theirs_joule, 'energy')}{ratio}")


def _show_origin(facts: ImportFacts) -> None:
    tool = f"{facts.format} {facts.tool_version}" if facts.tool_version else facts.format
    show(f"imported  {tool}, {facts.place} of {facts.file}: none of its figures was measured by kilowit")
    show(f"start     {facts.started_at_source}")
    for name, value in facts.stated.items():
        show(f"stated    {name} {value:.8g}")


def _show_serving(record: Record) -> None:
    columns = ("runtime", "scenario", "summaries/s", "p50", "p99", "energy a summary", "identical", "outcome")
    rows: list[tuple[str | None, ...]] = []
    for served in record.serving:
        identical = None if served.agreement is None else f"{served.agreement.identical_fraction:.1%}"
        for row in served.scenarios:
            joule, n = row.energy_total_joule, row.num_examples
            rows.append(
                (
                    served.label,
                    row.scenario,
                    known(row.examples_per_second, "plain"),
                    known(row.latency_p50_second, "time"),
                    known(row.latency_p99_second, "time"),
                    known(joule / n if joule is not None and n else None, "energy"),
                    identical,
                    "served",
                )
            )
        if served.error_message is not None:
            rows.append((served.label, *[None] * 6, served.error_message))
    show_table(columns, rows)


def _failure(record: Record) -> str:
    if record.error_kind is None:
        return ""
    where = f" in {record.error_phase}" if record.error_phase else ""
    return f"{where}: {record.error_kind}, {record.error_message}"


def _score_row(score: Score) -> tuple[Any, ...]:
    ends = (None if end is None else f"{end:.4f}" for end in (score.ci95_low, score.ci95_high))
    return score.metric, f"{score.value:.4f}", *ends, score.num_examples


def show_phases(phases: Iterable[PhaseFigures]) -> None:
    """Show what each phase took, one a line."""
    columns = ("phase", "time", "energy", "source", "GPU memory", "host memory", "examples/s")
    rows = [
        (
            row.phase,
            known(row.wall_second, "time"),
            _ranged(row.energy_total_joule_low, row.energy_total_joule, row.energy_total_joule_high, "energy"),
            row.energy_total_source,
            known(row.memory_gpu_max_byte, "byte"),
            known(row.memory_host_max_byte, "byte"),
            known(row.examples_per_second, "plain"),
        )
        for row in phases
    ]
    show_table(columns, rows)


def show_query(store: Store, sql: str, *, as_json: bool) -> None:
    """Show the answer to a SELECT.

    Raises:
        StudyError: the SQL is wrong or would write.
    """
    columns, rows = store.query(sql)
    _say_problems(store)
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_table(columns, rows)


def show_merged(path: Path, num_runs: int) -> None:
    """Show how many runs a store received."""
    say(f"{path}: {_count(num_runs, 'run')} new or completed")


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Show what was found on this machine."""
    if as_json:
        show_json(findings)
        return
    show_table(("what", "state", "seen", "how to get more"), [(f.what, f.state, f.seen, f.remedy) for f in findings])


def known(value: float | None, kind: Kind) -> str:
    """Write a value with its best unit, or a dash when it is not known."""
    return UNKNOWN if value is None else measure(value, kind)


def _say_problems(store: Store) -> None:
    for problem in store.problems:
        say(f"skipped: {problem}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
