"""One run folder and its MLflow run: begun when it starts, followed while it runs, made whole when it is over."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from kilowit.mirror.facts import GROUP, RUN_ID, bill_of, first_tags, last_tags, metrics_of, params_of, present
from kilowit.mirror.groups import Group, group_of
from kilowit.mirror.history import History, Point
from kilowit.mirror.tracking import PARENT, Tracking
from kilowit.record import Record
from kilowit.store import TIME_FORMAT, RunFolder
from kilowit.store.mirrored import MIRROR_WARNING, MirrorState, mirror_state, write_mirror_state

STATUS: Final = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
CONTENT: Final = "kilowit.content"  # digest of what was mirrored; set last
MAX_FILE_BYTE: Final = 200 * 2**20  # a longer file stays in the run folder


@dataclass
class RunMirror:
    """One run folder at a destination.

    Args:
        folder: the run.
        tracking: the experiment.
    """

    folder: RunFolder
    tracking: Tracking
    _id: str | None = None
    _history: History = field(init=False)

    def __post_init__(self) -> None:
        self._history = History(self.folder.ledger_path)

    def begin(self, parent_id: str | None) -> str:
        """Find or make the MLflow run; return its id."""
        if self._id is None:
            self._id = self.tracking.find_run(RUN_ID, self.folder.run_id)
        if self._id is None:
            tags = {**first_tags(self.folder), GROUP: group_of(self.folder.cell).key}
            self._id = self.tracking.create_run(self.folder.label, born_ms(self.folder), tags)
            self.tracking.log(self._id, params=params_of(self.folder.cell))
        if parent_id is not None and self.tracking.tags(self._id).get(PARENT) != parent_id:
            self.tracking.log(self._id, tags={PARENT: parent_id})
        return self._id

    def follow(self) -> None:
        """Send what the ledger has gained."""
        assert self._id is not None
        points = self._history.new_points()
        if points:
            self.tracking.log(self._id, points=points, tags={"kilowit.phase": self._history.phase or "between phases"})

    def complete(self, record: Record, parent_id: str | None) -> bool:
        """Make the MLflow run whole; return False if it was already."""
        record = unmirrored(record)
        digest = hashlib.sha256(record.to_json().encode()).hexdigest()
        run_id = self.begin(parent_id)
        state = mirror_state(self.folder)
        is_new = self.tracking.tags(run_id).get(CONTENT) != digest
        if is_new:
            end_ms = moment_ms(record.ended_at_utc)
            figures = [Point(key, value, end_ms, 0) for key, value in metrics_of(record).items()]
            points = [*History(self.folder.ledger_path).new_points(), *figures]
            self.tracking.log_missing(run_id, points, params_of(record.cell))
            self._send_files(run_id, record)
            self.tracking.log(run_id, tags=last_tags(record))
            self.tracking.end(run_id, STATUS[record.status], end_ms)
            self.tracking.log(run_id, tags={CONTENT: digest})
        if is_new or state is None or state.problem is not None or state.mlflow_run_id != run_id:
            now = datetime.now(UTC).strftime(TIME_FORMAT)
            write_mirror_state(self.folder, MirrorState(self.tracking.destination.shown, run_id, None, now))
        return is_new

    def _send_files(self, run_id: str, record: Record) -> None:
        for path in sorted(self.folder.path.iterdir()):
            is_ours = path.is_file() and not path.name.startswith(".") and path.name not in _NOT_SENT
            if is_ours and 0 < path.stat().st_size <= MAX_FILE_BYTE:
                self.tracking.log_file(run_id, path)
        self.tracking.log_json(run_id, bill_of([record]), "bill.json")


_NOT_SENT: Final = frozenset({"mirror.json", "worker.lock"})


@dataclass(frozen=True)
class ParentMirror:
    """The MLflow run above the seeds of a condition or the trials of a search."""

    group: Group
    tracking: Tracking

    def begin(self, start_ms: int) -> str:
        """Find or make it; return its id."""
        found = self.tracking.find_run("kilowit.parent_of", self.group.key)
        if found is not None:
            return found
        kind = "search" if self.group.is_search else "seeds"
        tags = {"kilowit.parent_of": self.group.key, "kilowit.kind": kind, "mlflow.source.name": "kilowit"}
        return self.tracking.create_run(f"{self.group.name} ({kind})", start_ms, tags)

    def complete(self, records: Sequence[Record]) -> None:
        """Bring it level with its runs: their bill together, and the mean scores of seeds."""
        run_id = self.begin(min(moment_ms(record.started_at_utc) for record in records))
        end_ms = max(moment_ms(record.ended_at_utc) for record in records)
        bill = bill_of(records)
        figures = {"num_runs": float(len(records)), **present("bill", bill)}
        if not self.group.is_search:
            figures |= mean_scores(records)
        points = [Point(key, value, end_ms, 0) for key, value in figures.items()]
        self.tracking.log_missing(run_id, points, shared_params(records))
        self.tracking.log_json(run_id, bill, "bill.json")
        self.tracking.end(run_id, "FINISHED", end_ms)


def shared_params(records: Sequence[Record]) -> dict[str, str]:
    """Return the params that are the same in all runs."""
    each = [params_of(record.cell) for record in records]
    return {key: value for key, value in each[0].items() if all(params.get(key) == value for params in each)}


def mean_scores(records: Sequence[Record]) -> dict[str, float]:
    """Return the mean of each score over the finished runs that have it."""
    values: dict[str, list[float]] = {}
    for record in records:
        for score in record.scores if record.status == "finished" else ():
            values.setdefault(score.metric, []).append(score.value)
    return {f"{name}_mean": sum(own) / len(own) for name, own in values.items()}


def unmirrored(record: Record) -> Record:
    """Return a record without what its own mirror gave it."""
    return replace(record, warnings=[text for text in record.warnings if not text.startswith(MIRROR_WARNING)])


def moment_ms(at_utc: str) -> int:
    """Return a moment of a record in milliseconds since 1970."""
    return round(datetime.strptime(at_utc, TIME_FORMAT).replace(tzinfo=UTC).timestamp() * 1000)


def born_ms(folder: RunFolder) -> int:
    """Return when a run folder was made."""
    stamp = datetime.strptime(folder.run_id.partition("_")[0], "%Y%m%dT%H%M%SZ")
    return round(stamp.replace(tzinfo=UTC).timestamp() * 1000)
