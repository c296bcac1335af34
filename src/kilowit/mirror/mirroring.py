"""Bring a destination level with a store: every run once, seeds and trials below their parents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kilowit.errors import StoreError
from kilowit.mirror.destination import Destination, destination_of, mirror_settings
from kilowit.mirror.groups import Group, group_of, needs_parent
from kilowit.mirror.run_mirror import ParentMirror, RunMirror, moment_ms
from kilowit.mirror.tracking import Tracking
from kilowit.record import Record
from kilowit.store import RunFolder, Store


@dataclass(frozen=True)
class Mirrored:
    """What was brought to a destination."""

    destination: Destination
    num_runs: int  # that are there now
    num_new: int  # of them those that were not there, or not whole
    num_left_out: int  # imported runs: they would pass for runs that kilowit measured


def mirror_runs(
    store: Store | str | Path, tracking_uri: str | None = None, *, experiment: str | None = None
) -> Mirrored:
    """Send the runs of a store to MLflow, with their own times; what is there already is not sent again.

    Args:
        store: a folder of runs.
        tracking_uri: None = MLFLOW_TRACKING_URI, else a database in the store's folder.
        experiment: None = one experiment a study, by its name.

    Raises:
        StudyError: not a tracking URI.
        PartError: MLflow is not installed.
        StoreError: the store holds no run, or MLflow cannot be written.
    """
    store = store if isinstance(store, Store) else Store(store)
    destination = destination_of(mirror_settings(tracking_uri, experiment), store.path)
    records = store.records()
    ours = [record for record in records if record.imported is None]
    if not ours:
        raise StoreError("no run of kilowit to mirror", place=str(store.path), hint="Run a study first.")
    folders = {folder.run_id: folder for folder in store.folders()}
    num_new = 0
    for name in dict.fromkeys(record.study_name for record in ours):
        own = [record for record in ours if record.study_name == name]
        num_new += _mirror_study(Tracking(destination, name), own, folders)
    return Mirrored(destination, len(ours), num_new, len(records) - len(ours))


def _mirror_study(tracking: Tracking, records: Sequence[Record], folders: dict[str, RunFolder]) -> int:
    parents = needs_parent(record.cell for record in records)
    num_new = 0
    for record in records:
        parent = parents.get(group_of(record.cell).key)
        parent_id = None if parent is None else ParentMirror(parent, tracking).begin(moment_ms(record.started_at_utc))
        num_new += RunMirror(folders[record.run_id], tracking).complete(record, parent_id)
    complete_parents(tracking, parents.values(), records)
    return num_new


def complete_parents(tracking: Tracking, parents: Iterable[Group], records: Sequence[Record]) -> None:
    """Bring parents level with their runs."""
    for parent in parents:
        own = [record for record in records if group_of(record.cell).key == parent.key]
        if own:
            ParentMirror(parent, tracking).complete(own)
