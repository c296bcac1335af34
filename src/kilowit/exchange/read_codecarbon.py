"""CodeCarbon's ``emissions.csv``, of its first releases as of 3.x: energies in kWh, CO2e in kg, times local.

CodeCarbon counts the whole machine unless it is told otherwise, once in every process that starts it. Rows that lie in
one stretch of time on one machine are therefore one measurement: the median of them is kept, never their sum.
Source of the columns: codecarbon 3.3.2, ``output_methods/emissions_data.py`` (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Final

from kilowit.errors import DataError
from kilowit.exchange import checks
from kilowit.exchange.foreign import JOULE_PER_KWH, ForeignRun, Reading, energies, number, read_rows, times
from kilowit.imported import Contradiction
from kilowit.record import PhaseFigures

REQUIRED: Final = ("timestamp", "duration", "emissions", "energy_consumed")
OVERLAP: Final = 0.5  # of the shorter of two rows: so much of it together, and they are one stretch
_ENERGIES: Final = ("cpu_energy", "gpu_energy", "ram_energy")


@dataclass(frozen=True)
class _Row:
    """One line of the file."""

    cells: dict[str, str]
    line: int
    path: Path

    def value(self, name: str) -> float | None:
        return number(self.cells.get(name), name=name, place=f"{self.path}:{self.line}")

    def text(self, name: str) -> str | None:
        return self.cells.get(name) or None

    @cached_property
    def pue(self) -> float:
        """What its energies and powers were multiplied by; 1 in releases that knew none."""
        return self.value("pue") or 1.0

    def joule(self, name: str) -> float | None:
        """An energy of the devices, without the PUE that the file has in it."""
        return times(self.value(name), JOULE_PER_KWH / self.pue)

    @cached_property
    def second(self) -> float:
        found = self.value("duration")
        if found is None or found < 0:
            raise DataError("a row has no duration", place=f"{self.path}:{self.line}", hint="Mend or remove the row.")
        return found

    @cached_property
    def ended_at(self) -> datetime:
        try:
            return datetime.fromisoformat(self.cells["timestamp"]).replace(microsecond=0)
        except ValueError as error:
            place, hint = f"{self.path}:{self.line}", "CodeCarbon writes 2021-08-29T02:52:11."
            raise DataError(f"timestamp is no time ({error})", place=place, hint=hint) from error

    @property
    def started_at(self) -> datetime:
        return self.ended_at - timedelta(seconds=self.second)

    @property
    def has_no_gpu(self) -> bool:
        """Whether the 0 kWh of its GPUs stands for no GPU, as the file has no other way to say so."""
        return not self.value("gpu_count") and self.value("gpu_energy") == 0

    @property
    def counts_machine(self) -> bool:
        """Whether it counts all of the machine, as it does by default and as early releases always did."""
        return (self.text("tracking_mode") or "machine") == "machine"


def is_codecarbon(path: Path, head: str) -> bool:
    """Whether the first line of a file is CodeCarbon's."""
    return path.suffix == ".csv" and set(REQUIRED) <= set(head.partition("\n")[0].strip().split(","))


def read_codecarbon(path: Path, region: str | None = None) -> Reading:
    """Read one file.

    Args:
        path: ``emissions.csv`` or one like it.
        region: where it ran, to judge its grid intensity; None = unknown.

    Raises:
        DataError: a column is missing, or a cell is no number or time.
    """
    cells = read_rows(path, REQUIRED)
    rows = [_Row(row, line, path) for line, row in enumerate(cells, start=2)]
    latest, repeated = _latest_of_runs(rows)
    return Reading(tuple(_run(group, repeated, region) for group in _stretches(latest)))


def _latest_of_runs(rows: Sequence[_Row]) -> tuple[list[_Row], dict[int, Contradiction]]:
    """Keep the longest row of each run id: CodeCarbon's flush writes what was so far once more."""
    by_run: dict[str, list[_Row]] = {}
    for row in rows:
        by_run.setdefault(row.text("run_id") or f"line {row.line}", []).append(row)
    kept, found = [], {}
    for run_id, group in by_run.items():
        last = max(group, key=lambda row: row.second)
        kept.append(last)
        if len(group) > 1:
            message = f"{len(group)} rows of run {run_id}, each with what came before it: the longest is kept"
            found[last.line] = Contradiction(kind="repeated_rows", message=message)
    return sorted(kept, key=lambda row: row.line), found


def _stretches(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Group rows that measured one machine at one time; rows that count a process alone stay alone."""
    groups: list[list[_Row]] = []
    for row in rows:
        for group in groups if row.counts_machine else ():
            if _is_same_machine(group[0], row) and all(_overlaps(other, row) for other in group):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def _is_same_machine(one: _Row, other: _Row) -> bool:
    names = ("project_name", "tracking_mode", "country_iso_code", "cloud_region", "cpu_model", "gpu_model")
    return all(one.text(name) == other.text(name) for name in names)


def _overlaps(one: _Row, other: _Row) -> bool:
    common = min(one.ended_at, other.ended_at) - max(one.started_at, other.started_at)
    return common.total_seconds() > OVERLAP * min(one.second, other.second) > 0


def _run(rows: Sequence[_Row], repeated: dict[int, Contradiction], region: str | None) -> ForeignRun:
    ordered = sorted(rows, key=lambda row: row.joule("energy_consumed") or 0.0)
    chosen = ordered[len(ordered) // 2]
    place = f"row {chosen.line}" if len(rows) == 1 else f"rows {', '.join(str(row.line) for row in rows)}"
    name = chosen.text("project_name") or "run"
    run = ForeignRun(
        place=place,
        name=name,
        started_at=chosen.started_at.isoformat(),
        ended_at=chosen.ended_at.isoformat(),
        started_at_source="file: timestamp less duration, local time of the machine",
        phases=(_phase(chosen, rows),),
        environment=_environment(chosen),
        tool_version=chosen.text("codecarbon_version"),
        stated=_stated(chosen, rows),
    )
    run = run.with_contradictions(*(repeated.get(row.line) for row in rows), *_found(chosen, region))
    if len(rows) > 1:
        joules = [row.joule("energy_consumed") or 0.0 for row in rows]
        run = run.with_contradictions(checks.rank_rows(joules, [row.second for row in rows], f"{len(rows)} {place}"))
    return run


def _phase(chosen: _Row, rows: Sequence[_Row]) -> PhaseFigures:
    totals = [joule for row in rows if (joule := row.joule("energy_consumed")) is not None]
    fields = energies(
        "codecarbon",
        gpu=None if chosen.has_no_gpu else chosen.joule("gpu_energy"),
        cpu=chosen.joule("cpu_energy"),
        dram=chosen.joule("ram_energy"),
        total=median(totals) if totals else None,
    )
    if chosen.has_no_gpu:
        fields["energy_gpu_source"] = "none:no_gpu"
    if len(totals) > 1:
        fields |= {"energy_total_joule_low": min(totals), "energy_total_joule_high": max(totals)}
    return PhaseFigures(
        phase="unsplit",
        wall_second=chosen.second,
        utilization_cpu_mean_fraction=_fraction(chosen, "cpu_utilization_percent"),
        utilization_gpu_mean_fraction=_fraction(chosen, "gpu_utilization_percent"),
        **fields,
    )


def _fraction(row: _Row, name: str) -> float | None:
    """Return a mean utilization; CodeCarbon writes 0 where it did not sample."""
    return times(row.value(name) or None, 0.01)


def _environment(row: _Row) -> dict[str, object]:
    num_gpus = int(row.value("gpu_count") or 0)
    found = {
        "python": row.text("python_version"),
        "os": {"system": row.text("os")} if row.text("os") else None,
        "cpu": {"model": row.text("cpu_model")} if row.text("cpu_model") else None,
        "gpus": [{"name": _gpu_name(row)}] * num_gpus if num_gpus else None,
        "cloud": {"provider": row.text("cloud_provider"), "region": row.text("cloud_region")}
        if row.text("cloud_provider")
        else None,
        "country": row.text("country_name"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _gpu_name(row: _Row) -> str | None:
    """Return ``Tesla V100-SXM2-32GB`` of ``8 x Tesla V100-SXM2-32GB``."""
    name = row.text("gpu_model")
    return name.rpartition(" x ")[2] if name else None


def _stated(chosen: _Row, rows: Sequence[_Row]) -> dict[str, float]:
    names = {"emissions": "co2e_kg", "water_consumed": "water_litre", "pue": "pue", "wue": "wue_litre_per_kwh"}
    found = {new: chosen.value(old) for old, new in names.items()}
    if len(rows) > 1:
        found["num_rows"] = float(len(rows))
        found["energy_rows_sum_joule"] = sum(row.joule("energy_consumed") or 0.0 for row in rows)
    return {name: value for name, value in found.items() if value is not None}


def _found(row: _Row, region: str | None) -> list[Contradiction | None]:
    joule, co2e_kg = row.joule("energy_consumed"), row.value("emissions")
    found = [
        checks.parts_of_total([row.joule(name) for name in _ENERGIES], joule, "J"),
        checks.rate_times_time("emissions_rate", row.value("emissions_rate"), row.second, co2e_kg, "kg"),
        checks.grid_intensity(joule, co2e_kg, region, None if row.pue <= 1 else row.pue),
        checks.device_limit(row.joule("gpu_energy"), row.second, int(row.value("gpu_count") or 0), _gpu_name(row)),
    ]
    for device in ("cpu", "gpu", "ram"):
        watt, own = times(row.value(f"{device}_power"), 1 / row.pue), row.joule(f"{device}_energy")
        found.append(checks.power_times_time(device, watt, row.second, own))
    if not row.counts_machine and row.joule("gpu_energy"):
        message = "the row counts one process on the CPU, but every GPU of the machine whole"
        found.append(Contradiction(kind="rank_rows", message=message, figures=["gpu_energy"]))
    return found
