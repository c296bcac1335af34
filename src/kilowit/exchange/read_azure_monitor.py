"""What ``az monitor metrics list -o json`` prints of a workspace: GPU joules, utilization and memory, minute by minute.

One run for each ``runId`` that the query was split by; without that dimension the export is one run. Only the GPUs are
metered there: the total stays unknown. Energy is a Total per interval; the first and the last interval may hold more
than the run, which gives the interval of the energy.
Source of the names: Azure Monitor, metrics of Microsoft.MachineLearningServices/workspaces; REST API 2023-10-01.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kilowit.errors import DataError
from kilowit.exchange import checks
from kilowit.exchange.foreign import ForeignRun, Reading, energies, number, read_json
from kilowit.imported import Contradiction
from kilowit.record import PhaseFigures

ENERGY: Final = "GpuEnergyJoules"
UTILIZATIONS: Final = {"GpuUtilization": 0.01, "GpuUtilizationPercentage": 0.01, "GpuUtilizationMilliGPUs": 0.001}
MEMORY: Final = "GpuMemoryUtilizationMegabytes"
_WHOLE: Final = "the whole export"
_HINT: Final = (
    "Export with: az monitor metrics list --resource WORKSPACE --metric GpuEnergyJoules --aggregation Total "
    "--interval PT1M --filter \"runId eq '*' and DeviceId eq '*'\" -o json"
)
_DURATION: Final = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


@dataclass
class _Series:
    """The values of one run, by metric and time; of several devices summed, or all kept for a mean."""

    second: float  # of an interval
    energy_joule: dict[datetime, float] = field(default_factory=dict)
    utilization: list[float] = field(default_factory=list)
    memory_byte: list[float] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)


def is_azure_monitor(path: Path, head: str) -> bool:
    """Whether a JSON file looks like an answer of Azure Monitor."""
    return path.suffix == ".json" and '"timeseries"' in head and "Gpu" in head


def read_azure_monitor(path: Path, region: str | None = None) -> Reading:
    """Read one export.

    Raises:
        DataError: it is not such an export, or its energy was not asked for as a total.
    """
    value = read_json(path)
    answers = value if isinstance(value, list) else [value]
    runs: dict[str, list[_Series]] = {}
    for answer in answers:
        if not isinstance(answer, dict) or not isinstance(answer.get("value"), list):
            raise DataError("no answer of Azure Monitor", place=str(path), hint=_HINT)
        found: dict[str, _Series] = {}
        for metric in answer["value"]:
            _take(metric, _second(answer.get("interval"), path), found, path)
        for run_id, series in found.items():
            runs.setdefault(run_id, []).append(series)
    read = tuple(_run(run_id, series) for run_id, series in runs.items())
    if not any(run.phases for run in read):
        raise DataError("holds no GPU metric with a value", place=str(path), hint=_HINT)
    return Reading(read)


def _take(metric: Any, second: float, runs: dict[str, _Series], path: Path) -> None:
    try:
        name = metric["name"]["value"]
        for line in metric["timeseries"]:
            labels = {label["name"]["value"].lower(): str(label["value"]) for label in line.get("metadatavalues") or []}
            series = runs.setdefault(labels.get("runid", _WHOLE), _Series(second))
            series.devices.add(f"{labels.get('instanceid', '')}/{labels.get('deviceid', '')}")
            for point in line["data"]:
                _add(name, point, series, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"no answer of Azure Monitor ({error!r})", place=str(path), hint=_HINT) from error


def _add(name: str, point: Mapping[str, Any], series: _Series, path: Path) -> None:
    place = f"{path}: {name}"
    if name == ENERGY:
        if "total" not in point and {"average", "maximum", "minimum"} & point.keys():
            raise DataError("energy was asked for as an average: its sum is lost", place=place, hint=_HINT)
        joule = number(point.get("total"), name="total", place=place)
        if joule is not None:
            at = _time(point["timeStamp"], place)
            series.energy_joule[at] = series.energy_joule.get(at, 0.0) + joule
    mean = number(point.get("average"), name="average", place=place)
    if mean is not None and name in UTILIZATIONS:
        series.utilization.append(mean * UTILIZATIONS[name])
    if mean is not None and name == MEMORY:
        series.memory_byte.append(mean * 1e6)


def _run(run_id: str, answers: list[_Series]) -> ForeignRun:
    """Make one run of the answers on it; of several with energy the finest counts, the others are checked with it."""
    metered = sorted((a for a in answers if a.energy_joule), key=lambda a: a.second)
    utilization = [value for a in answers for value in a.utilization]
    memory = [value for a in answers for value in a.memory_byte]
    stated = {"memory_gpu_mean_byte": sum(memory) / len(memory)} if memory else {}
    run = ForeignRun(place="the export" if run_id == _WHOLE else f"run {run_id}", name=run_id, stated=stated)
    if not metered:
        return run
    series = metered[0]
    ordered = sorted(series.energy_joule)
    joules = [series.energy_joule[at] for at in ordered]
    wall_second = (ordered[-1] - ordered[0]).total_seconds() + series.second
    inner = sum(joules[1:-1]) if len(joules) > 2 else 0.0
    fields = energies("azure_monitor:GpuEnergyJoules", gpu=sum(joules))
    fields |= {"energy_gpu_joule_low": inner, "energy_gpu_joule_high": sum(joules)}
    phase = PhaseFigures(
        phase="unsplit",
        wall_second=wall_second,
        utilization_gpu_mean_fraction=sum(utilization) / len(utilization) if utilization else None,
        **fields,
    )
    run = ForeignRun(
        place=run.place,
        name=run.name,
        started_at=ordered[0].strftime("%Y-%m-%dT%H:%M:%SZ"),
        ended_at=ordered[-1].strftime("%Y-%m-%dT%H:%M:%SZ"),
        started_at_source=f"file: first interval of {series.second:.0f} s with energy",
        phases=(phase,),
        stated=stated | {"num_devices": float(len(series.devices))},
    )
    others = (cut_total(joules, sum(other.energy_joule.values()), ENERGY) for other in metered[1:])
    return run.with_contradictions(_zeros(joules), _missing(ordered, series.second), *others)


def cut_total(joules: list[float], total: float, what: str) -> Contradiction | None:
    """Compare a total with its series in time; say it when the total is the series without an end of it."""
    whole = sum(joules)
    if not checks.differs(whole, total, checks.SAME):
        return None
    for num in range(1, len(joules)):
        ends = {"last": whole - sum(joules[-num:]), "first": whole - sum(joules[:num])}
        for end, left in ends.items():
            if not checks.differs(left, total, 0.001):
                message = (
                    f"{what}: the total of {total:.6g} J lacks the {end} {num} of {len(joules)} intervals, which hold "
                    f"{(whole - left) / whole:.0%} of {whole:.6g} J"
                )
                return Contradiction(kind="window_cut", message=message, figures=[what])
    message = f"{what}: the total says {total:.6g} J, its intervals add up to {whole:.6g} J"
    return Contradiction(kind="two_values", message=message, figures=[what])


def _zeros(joules: list[float]) -> Contradiction | None:
    num = sum(1 for joule in joules if joule == 0)
    if not num:
        return None
    message = f"{num} of {len(joules)} intervals say 0 J: GPUs that are switched on draw their idle power"
    return Contradiction(kind="zero_energy", message=message, figures=[ENERGY])


def _missing(ordered: Iterable[datetime], second: float) -> Contradiction | None:
    times = list(ordered)
    expected = round((times[-1] - times[0]).total_seconds() / second) + 1
    if len(times) == expected:
        return None
    message = f"{expected - len(times)} of {expected} intervals have no energy: the sum is a lower bound"
    return Contradiction(kind="sampling_gap", message=message, figures=[ENERGY])


def _second(interval: Any, path: Path) -> float:
    match = _DURATION.fullmatch(str(interval))
    seconds = 0
    if match is not None:
        seconds = sum(int(n or 0) * unit for n, unit in zip(match.groups(), (86_400, 3600, 60, 1), strict=True))
    if seconds <= 0:
        raise DataError(f"interval is no duration: {interval!r}", place=str(path), hint=_HINT)
    return float(seconds)


def _time(text: Any, place: str) -> datetime:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise DataError(f"timeStamp is no time: {text!r}", place=place, hint=_HINT) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
