"""What one training, check, summary and idle second of a choice take: measured by its runs, or planned without any."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from kilowit.cell import Cell
from kilowit.plan.estimate import Estimate
from kilowit.plan.hardware import Hardware
from kilowit.plan.interval import Interval, add_up
from kilowit.plan.life_cycle import Effort, Efforts, LifeCycle, life_cycle
from kilowit.plan.prices import Prices
from kilowit.plan.serving import second_per_summary
from kilowit.plan.workload import Workload
from kilowit.record import NOT_OF_A_RUN, PhaseFigures, Record
from kilowit.served import ServedRuntime, ServedScenario
from kilowit.settings import MaintenanceSettings, RuntimeSettings
from kilowit.study import Study

_CHECKED = ("predict", "score")  # what a drift check does with each document


def life_cycles(
    study: Study,
    records: Sequence[Record],
    planned: Callable[[Cell, MaintenanceSettings], Efforts | None],
    prices: Prices,
) -> tuple[LifeCycle, ...]:
    """Return the working life of each choice of a study; empty where it asks for none.

    Args:
        study: with or without `maintenance`.
        records: finished runs on the planned hardware: a choice that has some is told by them.
        planned: foretells a cell that has none.
        prices: of the planned machine.
    """
    if study.maintenance is None:
        return ()
    by_key = {record.cell_key: record for record in records if record.cell.get("search") is None}
    choices: dict[str, list[Cell]] = {}
    for cell in study.cells:
        choices.setdefault(dataclasses.replace(cell, seed=0).key, []).append(cell)
    cycles = []
    for cells in choices.values():
        runs = [by_key[cell.key] for cell in cells if cell.key in by_key]
        efforts = measured_efforts(runs, study.maintenance) if runs else planned(cells[0], study.maintenance)
        if efforts is not None:
            label = cells[0].label.removesuffix(f"_s{cells[0].seed}")
            cycles.append(life_cycle(label, efforts, study.maintenance, prices))
    return tuple(cycles)


def measured_efforts(records: Sequence[Record], maintenance: MaintenanceSettings) -> Efforts | None:
    """Say from finished runs of one choice what the parts of its working life take; None where none says it.

    Ends reach over runs and over the intervals of their sensors.
    """
    records = [r for r in records if (p := r.phase("predict")) is not None and p.num_examples]
    if not records:
        return None
    served_by, summary, notes = _measured_summary(records, maintenance)
    is_trained = any(record.phase("train") is not None for record in records)
    training = _over([[p for p in record.phases if p.phase not in NOT_OF_A_RUN] for record in records])
    return Efforts(
        basis=f"measured in {len(records)} run{'s' if len(records) > 1 else ''}",
        served_by=served_by,
        training=training if is_trained else None,
        check_start=_over([[p for p in record.phases if p.phase == "load"] for record in records]),
        check_document=_over(
            [[p for p in record.phases if p.phase in _CHECKED] for record in records],
            _num_predicted(records),
        ),
        summary=summary,
        idle_watt=_idle_watt(records),
        notes=notes,
    )


def planned_efforts(
    work: Workload, estimate: Estimate, hardware: Hardware, maintenance: MaintenanceSettings
) -> Efforts | None:
    """Say from the plan of a cell what the parts of its working life will take; None where its time is unknown."""
    if estimate.time_second is None or "predict" not in estimate.phase_second:
        return None

    def of(names: Iterable[str], count: float = 1.0) -> Effort:
        asked = [name for name in names if name in estimate.phase_second]
        joules = [estimate.phase_joule[name] for name in asked if name in estimate.phase_joule]
        second = add_up(estimate.phase_second[name] for name in asked)
        return Effort(second, add_up(joules) if len(joules) == len(asked) else None) * (1 / count)

    num_documents = max(1.0, work.num_test_examples.likely)
    served_by, summary = _planned_summary(work, hardware, maintenance) or (
        f"prediction, batches of {work.predict_batch_size}",
        of(("predict",), num_documents),
    )
    whole = [name for name in estimate.phase_second if name not in NOT_OF_A_RUN]
    return Efforts(
        basis="planned",
        served_by=served_by,
        training=of(whole) if "train" in whole else None,
        check_start=of(("load",)),
        check_document=of(_CHECKED, num_documents),
        summary=summary,
        idle_watt=hardware.idle_watt(),
    )


def _planned_summary(work: Workload, hardware: Hardware, maintenance: MaintenanceSettings) -> tuple[str, Effort] | None:
    served = work.settings.serve
    if served is None:
        return None
    chosen = maintenance.runtime or served.runtimes[0]
    second = second_per_summary(work, chosen, maintenance.scenario, hardware)
    if second is None:
        return None
    return f"{chosen.label}, {maintenance.scenario}", Effort(second, second * hardware.busy_watt("predict"))


def _measured_summary(
    records: Sequence[Record], maintenance: MaintenanceSettings
) -> tuple[str, Effort, tuple[str, ...]]:
    """Return who serves, what a summary takes, and what is to be noted of it."""
    found: dict[str, list[ServedScenario]] = {}
    for record in records:
        for served in record.serving:
            for row in served.scenarios:
                if row.scenario == maintenance.scenario and row.num_examples and _is(served, maintenance.runtime):
                    found.setdefault(served.label, []).append(row)
    by_label = {label: _over([[_of_scenario(r)] for r in rows], [float(r.num_examples) for r in rows])
                for label, rows in found.items()}  # fmt: skip
    if by_label:
        label = min(by_label, key=lambda name: _dearness(by_label[name]))
        return f"{label}, {maintenance.scenario}", by_label[label], ()
    predicted = _over([[p for p in r.phases if p.phase == "predict"] for r in records], _num_predicted(records))
    asked = f"{maintenance.runtime.label}, " if maintenance.runtime is not None else ""
    note = f"{asked}{maintenance.scenario} was not served: a summary takes what one took in prediction"
    return "prediction, in batches", predicted, (note,)


def _num_predicted(records: Sequence[Record]) -> list[float]:
    """Summaries that each run wrote; `measured_efforts` has left out those that wrote none."""
    return [float(p.num_examples or 1) for record in records if (p := record.phase("predict")) is not None]


def _is(served: ServedRuntime, asked: RuntimeSettings | None) -> bool:
    return asked is None or (
        served.runtime == asked.name
        and asked.precision in (None, served.precision)
        and asked.num_threads in (None, served.num_threads)
    )


def _dearness(effort: Effort) -> tuple[bool, float]:
    """Order by energy; what no sensor read comes last, by time."""
    return effort.joule is None, effort.second.likely if effort.joule is None else effort.joule.likely


def _of_scenario(row: ServedScenario) -> PhaseFigures:
    return PhaseFigures(
        phase="serve", wall_second=row.wall_second, energy_total_joule=row.energy_total_joule,
        energy_total_joule_low=row.energy_total_joule_low, energy_total_joule_high=row.energy_total_joule_high,
    )  # fmt: skip


def _idle_watt(records: Sequence[Record]) -> Interval | None:
    """Return the power of the idle baseline; None where none was taken."""
    rows = [p for record in records if (p := record.phase("idle")) is not None and p.wall_second]
    if rows and (joule := _over([[p] for p in rows], [p.wall_second for p in rows]).joule) is not None:
        return joule
    known = [record.idle_power_watt for record in records if record.idle_power_watt is not None]
    return Interval.spanning(known) if known else None


def _over(runs: Sequence[Sequence[PhaseFigures]], counts: Sequence[float] = ()) -> Effort:
    """Return the mean of a sum of phases over runs, per piece; ends are the outermost of any run and its sensors.

    Args:
        runs: the phases of each run, at least one run.
        counts: pieces of each run; empty = one each.
    """
    per = counts or [1.0] * len(runs)
    seconds = [math.fsum(p.wall_second for p in phases) / n for phases, n in zip(runs, per, strict=True)]
    second = Interval(min(seconds), math.fsum(seconds) / len(seconds), max(seconds))
    ends = [[_joule(phases, end) for phases in runs] for end in ("_low", "", "_high")]
    if any(joule is None for joules in ends for joule in joules):
        return Effort(second, None)
    low, likely, high = (
        [joule / n for joule, n in zip(joules, per, strict=True) if joule is not None] for joules in ends
    )
    mean = math.fsum(likely) / len(likely)
    return Effort(second, Interval(min(*low, mean), mean, max(*high, mean)))


def _joule(phases: Sequence[PhaseFigures], end: str) -> float | None:
    """Sum the joules of phases at one end; None where one that took time has none."""
    values = []
    for phase in phases:
        value = phase.energy_total_joule if (at := getattr(phase, f"energy_total_joule{end}")) is None else at
        if value is None and phase.wall_second > 0:
            return None
        values.append(value or 0.0)
    return math.fsum(values)
