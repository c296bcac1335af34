"""How far each study of a store is, without building its records: `kilowit status` over 10,000 runs in seconds.

A record is read as JSON and three of its fields are taken. Where one of them, or the names of all, are not as the
schema has them, the record is read in full, which says what is wrong with it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from kilowit.errors import StoreError
from kilowit.record import SCHEMA_VERSION, Record, Status
from kilowit.store.folder import RunFolder

if TYPE_CHECKING:
    from kilowit.store import Store

_NAMES: Final = frozenset(f.name for f in dataclasses.fields(Record))
_REQUIRED: Final = frozenset(
    f.name
    for f in dataclasses.fields(Record)
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
)
_STATES: Final = frozenset(get_args(Status))


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """How far one study is, over all its runs in a store."""

    study_name: str
    num_finished: int = 0
    num_failed: int = 0
    num_interrupted: int = 0
    num_running: int = 0
    num_partial: int = 0  # died without a record; the next `kilowit run` closes them
    num_invalidated: int = 0
    energy_total_joule: float | None = None  # of all runs that have a record; None when none could say
    wall_second: float = 0.0


@dataclass(frozen=True)
class _Outcome:
    """What the status of a study takes from one record."""

    study_name: str
    state: str
    energies_joule: list[float]  # of the phases that know theirs
    walls_second: list[float]


def status(store: Store) -> list[StudyStatus]:
    """Return how far each study is, by name; what cannot be read is skipped and listed in `store.problems`.

    Raises:
        StoreError: the store cannot be listed.
    """
    store.problems = []
    states: defaultdict[str, Counter[str]] = defaultdict(Counter)
    energies: defaultdict[str, list[float]] = defaultdict(list)
    walls: defaultdict[str, list[float]] = defaultdict(list)
    for folder in store.folders():
        try:
            outcome = _outcome(folder)
            name = str(folder.cell.get("study_name", "")) if outcome is None else outcome.study_name
        except StoreError as error:
            store.problems.append(str(error))
            continue
        if outcome is None:
            states[name]["running" if folder.is_running else "partial"] += 1
            continue
        states[name][outcome.state] += 1
        energies[name] += outcome.energies_joule
        walls[name] += outcome.walls_second
    return [
        StudyStatus(
            study_name=name,
            **{f"num_{state}": number for state, number in states[name].items()},
            energy_total_joule=math.fsum(energies[name]) if energies[name] else None,
            wall_second=math.fsum(walls[name]),
        )
        for name in sorted(states)
    ]


def _outcome(folder: RunFolder) -> _Outcome | None:
    """Return what became of a run, as later edits left it; None while it has no record."""
    try:
        outcome = _quickly(json.loads(folder.record_path.read_bytes().decode()), folder.run_id)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        outcome = None
    if outcome is None:
        outcome = _in_full(folder)
    return dataclasses.replace(outcome, state="invalidated") if outcome is not None and folder.edits else outcome


def _quickly(value: Any, run_id: str) -> _Outcome | None:
    """Take what is needed from the JSON of a record; None where something is not as it should be."""
    if not isinstance(value, dict) or not _REQUIRED <= value.keys() <= _NAMES:
        return None
    name, state, phases = value["study_name"], value["status"], value.get("phases", [])
    if value.get("schema_version") != SCHEMA_VERSION or value["run_id"] != run_id or not isinstance(name, str):
        return None
    if not isinstance(state, str) or state not in _STATES:
        return None
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        return None
    walls = [phase.get("wall_second") for phase in phases]
    energies = [joule for phase in phases if (joule := phase.get("energy_total_joule")) is not None]
    if not all(type(figure) in (int, float) for figure in (*walls, *energies)):
        return None
    return _Outcome(name, state, energies, walls)


def _in_full(folder: RunFolder) -> _Outcome | None:
    record = folder.record
    if record is None:
        return None
    energies = [p.energy_total_joule for p in record.phases if p.energy_total_joule is not None]
    return _Outcome(record.study_name, record.status, energies, [p.wall_second for p in record.phases])
