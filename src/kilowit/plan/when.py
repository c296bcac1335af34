"""When and where to run: the window of the lowest carbon intensity, from an hourly file that the user gives.

    time,country/FR,country/PL
    2026-11-23T00:00Z,32,655
    2026-11-23T01:00Z,30,648

A row is one hour, times are UTC or carry an offset, and hours follow one another; a column is a region in gCO2e per
kWh. A study is taken as one stretch of its likely length with even power. Only the grid is weighed: what is embodied in
the machine is the same at any hour.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from kilowit import factors
from kilowit.errors import PartError, StudyError
from kilowit.plan.estimate import Estimate

TIME: Final = "time"
_EXAMPLE: Final = "First line: time,country/FR,country/PL; then 2026-11-23T00:00Z,32,655 and so on, hour by hour."
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Intensities:
    """Hourly carbon intensities, gCO2e per kWh, by region; None = not known for that hour."""

    start: datetime
    by_region: dict[str, tuple[float | None, ...]]

    @property
    def num_hours(self) -> int:
        """How many hours the file has."""
        return len(next(iter(self.by_region.values())))


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of time in a region, and what a study would emit in it."""

    region: str
    starts_at_utc: str
    ends_at_utc: str
    gram_per_kwh: float  # mean over the stretch
    co2e_operational_kg: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The best window of each region, best first, beside starting at once."""

    wall_hour: float
    energy_kwh: float  # at the machine
    windows: tuple[Window, ...]
    now: Window | None  # in the study's region from the first hour of the file on; None = that region is not in it

    @property
    def saved_fraction(self) -> float | None:
        """What the best window saves of what starting at once would emit."""
        if self.now is None or not self.now.co2e_operational_kg:
            return None
        return 1 - self.windows[0].co2e_operational_kg / self.now.co2e_operational_kg


def best_windows(estimate: Estimate, path: Path, *, region: str | None, pue: float | None = None) -> Timing:
    """Find the window of the lowest carbon intensity for a planned study.

    Args:
        estimate: of all that is left to do.
        path: the hourly file.
        region: of the study, to compare with.
        pue: overrides the region's.

    Raises:
        StudyError: the file is not as it should be, too short for the study, or the study's length is not known.
    """
    known = read_intensities(path)
    time, energy = estimate.time_second, estimate.energy_total_joule
    if time is None or energy is None:
        raise StudyError(
            "how long the study takes is not known", place="--when", hint="Plan with --probe, or run a cell."
        )
    wall_hour, energy_kwh = time.likely / 3600, energy.likely / factors.JOULE_PER_KWH

    def window(name: str, start: int) -> Window | None:
        mean = _mean(known.by_region[name], start, wall_hour)
        if mean is None:
            return None
        begin = known.start + start * _HOUR
        kwh = energy_kwh * _pue(name, pue)
        end = begin + timedelta(hours=wall_hour)
        return Window(
            region=name, starts_at_utc=_written(begin), ends_at_utc=_written(end), gram_per_kwh=mean,
            co2e_operational_kg=kwh * mean / 1000,
        )  # fmt: skip

    found = []
    for name in known.by_region:
        windows = [w for start in range(known.num_hours) if (w := window(name, start)) is not None]
        if windows:
            found.append(min(windows, key=lambda w: w.co2e_operational_kg))
    if not found:
        raise StudyError(
            f"no region has the {wall_hour:.1f} hours in a row that the study takes",
            place=str(path),
            hint="Give more hours, or split the study.",
        )
    found.sort(key=lambda w: w.co2e_operational_kg)
    now = window(region, 0) if region in known.by_region else None
    return Timing(wall_hour=wall_hour, energy_kwh=energy_kwh, windows=tuple(found), now=now)


def _pue(region: str, given: float | None) -> float:
    """A column may be a grid that no table knows: then nothing is known of its data centres either."""
    try:
        return factors.pue(region, given).value
    except PartError:
        return factors.pue(None, given).value


def read_intensities(path: Path) -> Intensities:
    """Read an hourly file.

    Raises:
        StudyError: it cannot be read, or a line is not as it should be; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"cannot be read ({error})", place=str(path), hint=_EXAMPLE) from error
    if len(rows) < 2:
        raise StudyError("no hours in it", place=str(path), hint=_EXAMPLE)
    names = [name.strip() for name in rows[0][1]]
    if names[0] != TIME or len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise StudyError(f"its first line is {', '.join(names)}", place=f"{path}:{rows[0][0]}", hint=_EXAMPLE)
    columns: list[list[float | None]] = [[] for _ in names[1:]]
    start: datetime | None = None
    for place, (number, row) in enumerate(rows[1:]):
        at = _time(row[0], f"{path}:{number}")
        start = start or at
        if at != start + place * _HOUR:
            raise StudyError(
                f"{row[0]} does not follow the hour before it", place=f"{path}:{number}", hint="One line an hour, UTC."
            )
        if len(row) != len(names):
            raise StudyError(f"{len(row)} values for {len(names)} columns", place=f"{path}:{number}", hint=_EXAMPLE)
        for column, text in zip(columns, row[1:], strict=True):
            column.append(_intensity(text, f"{path}:{number}"))
    assert start is not None
    return Intensities(start, {name: tuple(column) for name, column in zip(names[1:], columns, strict=True)})


def _mean(hours: Sequence[float | None], start: int, wall_hour: float) -> float | None:
    """The mean over a stretch that begins with an hour; None if it leaves the file or meets an unknown hour."""
    num_whole, rest = int(wall_hour), wall_hour - int(wall_hour)
    weights = [1.0] * num_whole + ([rest] if rest > 1e-9 else [])
    stretch = hours[start : start + len(weights)]
    known = [value for value in stretch if value is not None]
    if len(known) < len(weights) or not weights:
        return None
    return math.fsum(value * weight for value, weight in zip(known, weights, strict=True)) / math.fsum(weights)


def _time(text: str, place: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise StudyError(f'"{text}" is no time', place=place, hint="Example: 2026-11-23T00:00Z") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _intensity(text: str, place: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise StudyError(f'"{text}" is no intensity', place=place, hint="gCO2e per kWh, at least 0; empty = unknown.")
    return value


def _written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")
