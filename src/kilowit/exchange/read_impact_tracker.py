"""Experiment-Impact-Tracker's ``impacttracker/data.json``: one JSON object a line with powers in watts.

The powers of the whole machine are integrated, each reading standing until the next: what the tool attributes to the
process (by its share of utilization) and its PUE of 1.58 are not taken over. ``info.pkl`` beside it is a pickle, which
could run code when read, and is left alone: start and end are the first and last reading, and say so.
Source of the names: experiment-impact-tracker 0.1.8, ``data_info_and_router.py`` (MIT).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from kilowit.errors import DataError
from kilowit.exchange.foreign import ForeignRun, Reading, energies, number, read_text
from kilowit.imported import Contradiction
from kilowit.record import PhaseFigures

CPU_WATT: Final = "rapl_power_draw_absolute"
GPU_WATT: Final = "nvidia_draw_absolute"
ATTRIBUTED: Final = {
    CPU_WATT: "rapl_estimated_attributable_power_draw", GPU_WATT: "nvidia_estimated_attributable_power_draw",
}  # fmt: skip
GAP: Final = 10.0  # times the usual distance of two readings
_NAMES: Final = (CPU_WATT, GPU_WATT, *ATTRIBUTED.values())


def is_impact_tracker(path: Path, head: str) -> bool:
    """Whether the first line of a file is a reading of the tool."""
    first = head.partition("\n")[0]
    return '"timestamp"' in first and any(f'"{name}"' in first for name in _NAMES)


def read_impact_tracker(path: Path, region: str | None = None) -> Reading:
    """Read one log.

    Raises:
        DataError: a line is not a reading, or there are fewer than two.
    """
    rows = [_row(line, f"{path}:{i}") for i, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]
    if len(rows) < 2:
        hint = "The tool had died before: there is nothing to integrate."
        raise DataError(f"{len(rows)} reading(s): a time needs two", place=str(path), hint=hint)
    stamps = [row["timestamp"] for row in rows]
    joules = {name: _integral(rows, name) for name in (CPU_WATT, GPU_WATT)}
    known = [joule for joule in joules.values() if joule is not None]
    utilization = _mean(rows, "average_gpu_estimated_utilization_absolute")
    phase = PhaseFigures(
        phase="unsplit",
        wall_second=max(stamps) - min(stamps),
        utilization_gpu_mean_fraction=utilization,
        **energies(
            "impact_tracker:power", cpu=joules[CPU_WATT], gpu=joules[GPU_WATT], total=sum(known) if known else None
        ),
    )
    shares = {"cpu": ATTRIBUTED[CPU_WATT], "gpu": ATTRIBUTED[GPU_WATT]}
    attributed = {f"energy_{device}_attributed_joule": _integral(rows, name) for device, name in shares.items()}
    run = ForeignRun(
        place=f"{len(rows)} readings",
        name=path.resolve().parent.parent.name or "run",
        started_at=_utc(min(stamps)),
        ended_at=_utc(max(stamps)),
        started_at_source="file: first reading",
        phases=(phase,),
        stated={name: value for name, value in attributed.items() if value is not None},
    )
    return Reading((run.with_contradictions(_gaps(stamps), *_too_much(rows)),))


def _row(line: str, place: str) -> dict[str, float]:
    try:
        value: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON ({error})", place=place, hint="Remove a last line that was cut off.") from error
    if not isinstance(value, dict) or number(value.get("timestamp"), name="timestamp", place=place) is None:
        raise DataError("no reading of Experiment-Impact-Tracker", place=place, hint="Name impacttracker/data.json.")
    found = {
        name: number(item, name=name, place=place)
        for name, item in value.items()
        if isinstance(item, int | float) and not isinstance(item, bool)
    }
    return {name: item for name, item in found.items() if item is not None}


def _integral(rows: Sequence[Mapping[str, float]], name: str) -> float | None:
    """Return the joules under a power in watts; a reading stands until the next. None where none was taken."""
    known = [(row["timestamp"], row[name]) for row in sorted(rows, key=lambda r: r["timestamp"]) if name in row]
    if len(known) < 2:
        return None
    return sum(watt * (after - at) for (at, watt), (after, _) in itertools.pairwise(known))


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float | None:
    known = [row[name] for row in rows if name in row]
    return sum(known) / len(known) if known else None


def _gaps(stamps: Sequence[float]) -> Contradiction | None:
    ordered = sorted(stamps)
    steps = [after - at for at, after in itertools.pairwise(ordered)]
    usual, longest = median(steps), max(steps)
    if longest <= GAP * usual:
        return None
    message = (
        f"{longest:.0f} s without a reading, where {usual:.1f} s are usual: the last power is taken to have gone on"
    )
    return Contradiction(kind="sampling_gap", message=message)


def _too_much(rows: Sequence[Mapping[str, float]]) -> list[Contradiction]:
    """Say where a process was given more power than the machine took."""
    found = []
    for whole, share in ATTRIBUTED.items():
        wrong = sum(1 for row in rows if row.get(share, 0.0) > row.get(whole, float("inf")))
        if wrong:
            message = f"{wrong} of {len(rows)} readings attribute more to the process ({share}) than {whole}"
            found.append(Contradiction(kind="components", message=message, figures=[share, whole]))
    return found


def _utc(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
