"""Runs and choices: records wrapped with their sums, grouped over seeds by what was asked.

A *choice* is what a reader can decide on: model x dataset x recipe x hardware with its settings; seeds and repeated
attempts of it are its runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final

from kilowit.cell import model_name
from kilowit.record import NOT_OF_A_RUN, PhaseFigures, Record
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval

_MAXIMA: Final = frozenset({"power_gpu_max_watt", "memory_gpu_max_byte", "memory_host_max_byte"})
_TIME_MEANS: Final = frozenset(
    {"power_gpu_mean_watt", "utilization_gpu_mean_fraction", "utilization_cpu_mean_fraction", "mfu_fraction"}
)
_SUMS: Final = tuple(
    f.name
    for f in fields(PhaseFigures)
    if f.name.endswith(("_joule", "_joule_low", "_joule_high"))
    or f.name.startswith(("disk_", "network_", "num_"))
    or f.name in ("wall_second", "flop_total")
)
NUMERIC_FIELDS: Final = tuple(
    f.name for f in fields(PhaseFigures) if f.name != "phase" and not f.name.endswith("_source")
)


def sum_figures(phase: str, rows: Sequence[PhaseFigures]) -> PhaseFigures:
    """Add up rows: sums of what adds, maxima of peaks, means over time of rates of use; the rest stays unknown.

    A sum over rows of which some are unknown is the sum of the known ones: see `is_partial`.
    """
    values: dict[str, Any] = {}
    plain = [vars(row) for row in rows]  # half the time of getattr over millions of fields
    for name in _SUMS:
        known = [v for row in plain if (v := row[name]) is not None]
        values[name] = sum(known) if known else None
    for name in _MAXIMA:
        values[name] = max((v for row in plain if (v := row[name]) is not None), default=None)
    for name in _TIME_MEANS:
        values[name] = _weighted_mean((getattr(row, name), row.wall_second) for row in rows)
    values["energy_measured_fraction"] = _weighted_mean(
        (row.energy_measured_fraction, row.energy_total_joule) for row in rows
    )
    for device in ("gpu", "cpu", "dram", "other", "total"):
        name = f"energy_{device}_source"
        values[name] = "+".join(dict.fromkeys(getattr(row, name) for row in rows)) or "none:not_run"
    values["wall_second"] = values["wall_second"] or 0.0
    return PhaseFigures(phase=phase, **values)


def known_energy(rows: Iterable[PhaseFigures], end: str = "") -> float | None:
    """Sum the joules of rows, at one end (``_low``, ``_high``) of their intervals if asked; None when none is known.

    A row without that end counts with its value.
    """
    name = f"energy_total_joule{end}"
    values = [row.energy_total_joule if (v := getattr(row, name)) is None else v for row in rows]
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def is_partial(rows: Iterable[PhaseFigures], name: str) -> bool:
    """Whether some but not all rows that took time know a figure: their sum is then a lower bound."""
    known = {getattr(row, name) is not None for row in rows if row.wall_second > 0}
    return len(known) == 2


def _weighted_mean(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    known = [(value, weight) for value, weight in pairs if value is not None and weight]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


@dataclass(frozen=True, eq=False)
class Run:
    """One record with its sums."""

    record: Record

    @cached_property
    def billed(self) -> PhaseFigures:
        """All that it took: every phase and the gaps."""
        return sum_figures("total", self.record.phases)

    @cached_property
    def merit(self) -> PhaseFigures:
        """What the choice itself takes: without the idle baseline, downloads and the trial of the runtimes."""
        return sum_figures("run", [p for p in self.record.phases if p.phase not in NOT_OF_A_RUN])

    @property
    def seed(self) -> int:
        """The seed of the cell; of a search's winner the seed of the search."""
        cell = self.record.cell
        return int((cell.get("search") or cell).get("seed", 0))

    @property
    def is_finished(self) -> bool:
        """Whether it has a result."""
        return self.record.status == "finished"

    def figures(self, phase: str) -> PhaseFigures | None:
        """The row of a phase, or of the sums ``total`` (all phases) and ``run`` (without idle and download)."""
        if phase == "total":
            return self.billed
        return self.merit if phase == "run" else self.record.phase(phase)

    def value(self, figure: str) -> float | None:
        """Read ``<phase>.<field>``, a field of the model facts, a field of the whole run, or a metric.

        >>> Run(record).value("train.energy_total_joule")  # doctest: +SKIP
        1234.5
        """
        phase, dot, name = figure.rpartition(".")
        if dot:
            row = self.figures(phase)
            value = None if row is None else getattr(row, name, None)
        elif figure in NUMERIC_FIELDS:
            value = getattr(self.merit, figure)
        elif self.record.model is not None and hasattr(self.record.model, figure):
            value = getattr(self.record.model, figure)
        else:
            score = self.record.score(figure)
            value = None if score is None else score.value
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, eq=False)
class Choice:
    """What a reader can decide on, with its runs; `identity` is all of the cell but seed, factors and measuring."""

    label: str
    identity: Mapping[str, Any]
    runs: tuple[Run, ...]
    _values: dict[str, list[float]] = field(default_factory=dict, repr=False)

    @cached_property
    def finished(self) -> tuple[Run, ...]:
        """The latest finished run of each seed: these make its figures."""
        latest = {run.seed: run for run in self.runs if run.is_finished}
        return tuple(latest[seed] for seed in sorted(latest))

    @cached_property
    def superseded(self) -> tuple[Run, ...]:
        """Finished runs that a later one of the same seed repeats."""
        counted = {id(run) for run in self.finished}
        return tuple(run for run in self.runs if run.is_finished and id(run) not in counted)

    @property
    def is_baseline(self) -> bool:
        """Whether the model is training-free."""
        return "baseline" in self.identity.get("model", {})

    @cached_property
    def without_methods_key(self) -> str:
        """All that it shares with the same choice under other methods."""
        return _canonical({k: v for k, v in self.identity.items() if k not in ("recipe", "methods")})

    @property
    def model(self) -> str:
        """Name of the model."""
        return model_label(self.identity.get("model", {}))

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.identity.get("dataset", {}).get("name", "unknown dataset"))

    @cached_property
    def dataset_key(self) -> str:
        """The dataset with its options: only choices on the same one are comparable."""
        return _canonical([self.identity.get("dataset"), self.identity.get("hardware")])

    @cached_property
    def methods(self) -> tuple[tuple[str, str], ...]:
        """Its methods in order: name and canonical options."""
        return tuple((m["name"], _canonical(m.get("options", {}))) for m in self.identity.get("methods", []))

    def values(self, figure: str) -> list[float]:
        """The figure in each finished run that knows it, by seed."""
        if figure not in self._values:
            self._values[figure] = [value for run in self.finished if (value := run.value(figure)) is not None]
        return self._values[figure]

    def interval(self, figure: str) -> Interval | None:
        """Mean of a figure over seeds with its t interval, or None when no run knows it."""
        values = self.values(figure)
        return mean_interval(values) if values else None


def model_label(spec: Mapping[str, Any]) -> str:
    """Short name of a canonical model spec; tolerant of specs that a later version writes."""
    if spec.get("warm_start"):
        return model_name(spec)
    for key in ("scratch", "baseline", "hub", "folder"):
        if spec.get(key):
            return str(spec[key]).rstrip("/").rpartition("/")[2]
    return "unknown model"


def choices_of(records: Iterable[Record]) -> list[Choice]:
    """Group records into choices with labels that tell them apart; trials of searches and imported runs are none.

    Order: dataset, model, number of methods, name of the recipe; baselines last. Runs are shuffled, so the order in
    which they appear means nothing.
    """
    groups: dict[str, list[Run]] = {}
    identities: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.imported is not None:
            continue  # measured by another tool on another footing: `kilowit.report.tables.imported` has it
        if (record.cell.get("search") or {}).get("role") == "trial":
            continue  # a step on the way, judged on another split: `kilowit.report.searches` has it
        identity = _identity(record.cell)
        key = _canonical(identity)
        groups.setdefault(key, []).append(Run(record))
        identities[key] = identity
    several_datasets = len({_canonical(i.get("dataset")) for i in identities.values()}) > 1
    labels = _distinct_labels({key: _label(i, several_datasets) for key, i in identities.items()}, identities)
    choices = [Choice(labels[key], identities[key], tuple(runs)) for key, runs in groups.items()]
    return sorted(choices, key=lambda c: (c.dataset, c.is_baseline, c.model, len(c.methods), c.label))


def _identity(cell: Mapping[str, Any]) -> dict[str, Any]:
    axes = ("model", "dataset", "recipe", "methods", "hardware")
    identity: dict[str, Any] = {key: cell[key] for key in axes if cell.get(key) is not None}
    if search := cell.get("search"):  # its repeats end with other settings, and are repeats all the same
        asked = {key: search[key] for key in ("algorithm", "options", "space", "objective")}
        template = search["template"]
        cell = {**cell, "settings": template["settings"]}
        identity |= {"search": asked, "model": template["model"]}
    if "baseline" not in identity.get("model", {}):  # it is not trained: the settings change nothing
        settings = cell.get("settings", {})
        identity["settings"] = {key: settings[key] for key in ("train", "predict", "serve") if key in settings}
    return identity


def _label(identity: Mapping[str, Any], several_datasets: bool) -> str:
    words = [model_label(identity.get("model", {}))]
    if several_datasets:
        words.append(str(identity.get("dataset", {}).get("name", "unknown dataset")))
    if "baseline" not in identity.get("model", {}):
        words.append(str(identity.get("recipe", "")) or "plain")
    if "search" in identity:
        words.append(str(identity["search"]["algorithm"]))
    return " · ".join(words)


def _distinct_labels(labels: dict[str, str], identities: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Add to equal labels what differs between them, e.g. ``train.num_epochs=1``."""
    by_label: dict[str, list[str]] = {}
    for key, label in labels.items():
        by_label.setdefault(label, []).append(key)
    result = dict(labels)
    for label, keys in by_label.items():
        if len(keys) == 1:
            continue
        flat = {key: dict(_flatten(identities[key])) for key in keys}
        names = sorted({name for values in flat.values() for name in values})
        differing = [n for n in names if len({flat[key].get(n) for key in keys}) > 1]
        for key in keys:
            shown = ", ".join(f"{n.removeprefix('settings.')}={flat[key].get(n, 'null')}" for n in differing[:3])
            result[key] = f"{label} ({shown})"
    return result


def _flatten(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
