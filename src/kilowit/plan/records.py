"""What earlier runs on the same hardware say of a cell: their phases, scaled by examples.

Three degrees, nearest first: runs that differ only in the seed; runs of the same model, dataset and methods, scaled
phase by phase; and, for the training rate alone, runs of models of about the same size in the same precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilowit import factors
from kilowit.cell import Cell
from kilowit.plan.hardware import Hardware
from kilowit.plan.interval import Interval, add_up
from kilowit.plan.workload import Workload
from kilowit.record import PhaseFigures, Record

# Widening of a figure on either side. Ours, estimates: repeats of one cell differ by a few per cent, more where the
# machine is shared; scaling by examples leaves out warm-up and the fixed parts of a phase.
REPEAT_FACTOR: Final = 1.15
SCALED_FACTOR: Final = 1.4
OTHER_SETTINGS_FACTOR: Final = 2.0  # another batch size, other maxima, another engine
RATE_FACTOR: Final = 1.8
SIZE_RATIO: Final = 4.0  # "about the same size": parameters within this factor
_NUM_LATEST: Final = 20  # records looked at per cell: the latest say most


@dataclass(frozen=True)
class Measured:
    """Phases of a cell as runs foretell them, and the peaks that they saw. None = no run could say."""

    phase_second: dict[str, Interval]
    energy_joule: Interval | None
    phase_joule: dict[str, Interval]
    memory_gpu_byte: Interval | None
    memory_host_byte: Interval | None
    disk_byte: Interval | None
    num_runs: int


def from_records(cell: Cell, work: Workload, records: Sequence[Record]) -> Measured | None:
    """Foretell a cell from finished runs of its model, dataset and methods; None without any.

    Args:
        records: finished runs on the planned hardware.
    """
    asked = cell.to_dict()
    repeats = [r for r in records if _kind(r.cell) == _kind(asked)][-_NUM_LATEST:]
    if repeats:
        return combine([(scaled_run(r, work), REPEAT_FACTOR) for r in repeats])
    kin = [r for r in records if _kin(r.cell) == _kin(asked)][-_NUM_LATEST:]
    return combine([(scaled_run(r, work), _widening(r.cell, asked)) for r in kin]) if kin else None


def train_rate(work: Workload, records: Iterable[Record]) -> Interval | None:
    """Return the FLOP/s that trainings of about this size reached in this precision; None without any."""
    if work.size is None:
        return None
    rates = []
    for record in records:
        phase, model = record.phase("train"), record.model
        if phase is None or model is None or not phase.flop_total or not phase.wall_second or not model.num_parameters:
            continue
        ratio = model.num_parameters / work.size.num_parameters
        if _precision(record.cell) == work.precision and 1 / SIZE_RATIO <= ratio <= SIZE_RATIO:
            rates.append(phase.flop_total / phase.wall_second)
    return Interval.spanning(rates[-_NUM_LATEST:]).widened(RATE_FACTOR) if rates else None


def on_hardware(records: Iterable[Record], hardware: Hardware) -> list[Record]:
    """Keep the finished runs on the same GPU, or, where there is none, on as many cores of the same CPU."""
    return [r for r in records if r.status == "finished" and _is_same(r.environment, hardware)]


def scaled_run(record: Record, work: Workload) -> list[PhaseFigures]:
    """Return a run's phases with seconds and joules scaled to the examples that the cell will see."""
    targets = {
        "train": work.num_examples_seen.likely,
        "validate": work.num_validation_examples_seen.likely,
        "predict": work.num_test_examples.likely,
        "score": work.num_test_examples.likely,
    }
    served = work.settings.serve
    is_served_alike = record.cell.get("settings", {}).get("serve") == (served and served.model_dump(mode="json"))
    phases = [
        _scaled(phase, targets.get(phase.phase), record)
        for phase in record.phases
        if is_served_alike or not phase.phase.startswith("serve")
    ]
    idle = work.settings.measure.idle_second
    return [_times(p, idle / p.wall_second) if p.phase == "idle" and p.wall_second else p for p in phases]


def combine(runs: list[tuple[list[PhaseFigures], float]]) -> Measured:
    """Put runs of one cell together: least, median and most of each phase, each run widened by its factor."""
    names = list(dict.fromkeys(phase.phase for phases, _ in runs for phase in phases))
    seconds = {name: _span(runs, lambda p, n=name: p.wall_second if p.phase == n else None) for name in names}
    joules = {name: energy for name in names if (energy := _energy(runs, name)) is not None}
    return Measured(
        phase_second={name: second for name, second in seconds.items() if second is not None},
        energy_joule=add_up(joules.values()) if joules else None,
        phase_joule=joules,
        memory_gpu_byte=_peak(runs, "memory_gpu_max_byte"),
        memory_host_byte=_peak(runs, "memory_host_max_byte"),
        disk_byte=_total(runs, "disk_kept_byte"),
        num_runs=len(runs),
    )


def _scaled(phase: PhaseFigures, num_examples: float | None, record: Record) -> PhaseFigures:
    seen = phase.num_examples
    if num_examples is None:
        return phase
    if not seen and phase.phase == "score":  # a metric need not count what prediction has counted
        predicted = record.phase("predict")
        seen = predicted.num_examples if predicted else None
    if not seen:
        return phase
    return _times(phase, num_examples / seen)


def _times(phase: PhaseFigures, ratio: float) -> PhaseFigures:
    """Return a phase whose seconds and joules are `ratio` times as many."""

    def joule(value: float | None) -> float | None:
        return None if value is None else value * ratio

    return dataclasses.replace(
        phase,
        wall_second=phase.wall_second * ratio,
        energy_total_joule=joule(phase.energy_total_joule),
        energy_total_joule_low=joule(phase.energy_total_joule_low),
        energy_total_joule_high=joule(phase.energy_total_joule_high),
    )


def _energy(runs: list[tuple[list[PhaseFigures], float]], name: str) -> Interval | None:
    """Return the joules of one phase over runs, reaching to the ends of each reading's own interval."""
    likely = _span(runs, lambda p: p.energy_total_joule if p.phase == name else None)
    low = _span(runs, lambda p: p.energy_total_joule_low if p.phase == name else None)
    high = _span(runs, lambda p: p.energy_total_joule_high if p.phase == name else None)
    if likely is None:
        return None
    return Interval(
        min(likely.low, low.low) if low else likely.low,
        likely.likely,
        max(likely.high, high.high) if high else likely.high,
    )


def _span(runs: list[tuple[list[PhaseFigures], float]], read: Any) -> Interval | None:
    """Return the interval over runs of one figure of one phase; a run that lacks it says nothing."""
    found = [(value, factor) for phases, factor in runs for p in phases if (value := read(p)) is not None]
    if not found:
        return None
    likely = Interval.spanning(value for value, _ in found).likely
    return Interval(min(v / f for v, f in found), likely, max(v * f for v, f in found))


def _peak(runs: list[tuple[list[PhaseFigures], float]], name: str) -> Interval | None:
    peaks = [(max(known), f) for phases, f in runs if (known := _known(phases, name))]
    return _widened(peaks)


def _total(runs: list[tuple[list[PhaseFigures], float]], name: str) -> Interval | None:
    totals = [(sum(known), f) for phases, f in runs if (known := _known(phases, name))]
    return _widened(totals)


def _known(phases: list[PhaseFigures], name: str) -> list[float]:
    return [float(value) for phase in phases if (value := getattr(phase, name)) is not None]


def _widened(found: list[tuple[float, float]]) -> Interval | None:
    if not found:
        return None
    likely = Interval.spanning(value for value, _ in found).likely
    return Interval(min(v / f for v, f in found), likely, max(v * f for v, f in found))


def _kind(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two cells cost the same: all but the seed and how it is measured."""
    settings = cell.get("settings", {})
    return (
        *(cell.get(n) for n in ("model", "dataset", "methods", "hardware")),
        settings.get("train"),
        settings.get("predict"),
        settings.get("serve"),
    )


def _kin(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two cells alike up to the number of examples: model, name of the dataset, methods."""
    return cell.get("model"), (cell.get("dataset") or {}).get("name"), cell.get("methods")


def _widening(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    same = all(_per_example(old, block) == _per_example(new, block) for block in ("train", "predict"))
    return SCALED_FACTOR if same else OTHER_SETTINGS_FACTOR


def _per_example(cell: Mapping[str, Any], block: str) -> dict[str, Any]:
    """Return the settings that decide what one example costs: all but how many there are, and the learning rate."""
    counts = {"num_epochs", "num_steps", "num_validations", "learning_rate", "warmup_steps", "schedule", "weight_decay"}
    return {k: v for k, v in cell.get("settings", {}).get(block, {}).items() if k not in counts}


def _precision(cell: Mapping[str, Any]) -> str:
    names = {method.get("name") for method in cell.get("methods", [])}
    known = {"bf16": "bf16", "bf16_weights": "bf16", "fp16": "fp16", "tf32": "tf32"}
    return next((precision for name, precision in known.items() if name in names), "fp32")


def _is_same(environment: Mapping[str, Any], hardware: Hardware) -> bool:
    gpus = environment.get("gpus") or []
    if hardware.gpu is not None:
        return bool(gpus) and factors.device(gpus[0].get("name") or "", gpus[0].get("memory_byte")) == hardware.gpu
    cpu = environment.get("cpu") or {}
    return not gpus and (cpu.get("model"), cpu.get("num_usable_cores")) == (hardware.cpu_name, hardware.num_vcpus)
