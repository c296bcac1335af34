"""Hand the cells of a study to workers, one at a time: skip what is done, keep the budget, retry, close what died."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kilowit.cell import Cell
from kilowit.errors import MAX_ATTEMPTS, RETRIED_KINDS, StoreError
from kilowit.meter.machine_lock import MachineLock, machine_lock
from kilowit.parts.method import require_machine
from kilowit.record import Record
from kilowit.run.budget import Forecast, check_budget, refusal
from kilowit.run.ending import cause_of
from kilowit.run.executor_local import Executor, LocalExecutor
from kilowit.run.mirroring import Mirroring
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import CellStart, Progress, make_progress
from kilowit.run.recover import close_dead_runs, close_run
from kilowit.run.search import SearchRun
from kilowit.run.signals import StopRequests
from kilowit.run.watch import watch
from kilowit.store import RunFolder, Store
from kilowit.study import Study
from kilowit.study_search import Search

# Ended without a verdict on the cell: a later `kilowit run` tries it anew. All other failures are results.
TRIED_ANEW_KINDS: Final = frozenset({"interrupted", "killed", "disk_full", "error"}) | RETRIED_KINDS
GRACE_SECOND: Final = 20.0  # from SIGTERM to SIGKILL: enough to write predictions and the record
# Less than this and the first checkpoint or prediction file would fill the disk of everyone on the machine.
MIN_FREE_BYTE: Final = 256 * 1024**2


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run can be told beyond its study."""

    retry_failed: bool = False  # try cells again whose earlier failure is a result
    grace_second: float = GRACE_SECOND
    min_free_byte: int = MIN_FREE_BYTE


def run_study(
    study: Study,
    store: Store,
    *,
    progress: Progress | None = None,
    options: RunOptions | None = None,
    forecast: Forecast | None = None,
    executor: Executor | None = None,
) -> StudyOutcome:
    """Run the cells of a study that are not done yet, and close what dead workers left.

    Args:
        study: what is asked.
        store: where run folders go; created if it does not exist.
        progress: who is told what happens; None = the person at the terminal, or a plain line per event on stderr.
        options: None = the defaults.
        forecast: what the plan says of a cell that was never run; used for the budget alone.
        executor: None = processes of this machine.

    Raises:
        StudyError: a budget that cannot be kept.
        PlanError: a method that this machine cannot run.
        StoreError: the store cannot be read or written, or its disk is nearly full.
        ExecutorError: the machine is held by another run and the study does not wait, or no worker can be started.
    """
    progress = progress or make_progress()
    check_budget(study)
    require_machine(call for cell in study.cells if store.done(cell.key) is None for call in cell.methods)
    with StopRequests() as stop, progress:
        progress.study_started(study.name, len(study.cells))
        holding = machine_lock(
            study=study.name,
            store=str(store.path.absolute()),
            mode=study.measure.lock,
            on_wait=lambda holder: progress.note(f"waiting for this machine: {holder}"),
            is_stopped=stop.is_requested,
        )
        with holding as lock:
            several_seeds = len({cell.seed for cell in study.cells if not cell.is_baseline}) > 1
            mirroring = Mirroring(store, study.name, several_seeds, study.mirror, progress.note)
            session = _Session(
                study, store, progress, options or RunOptions(), forecast, executor or LocalExecutor(), stop, mirroring
            )
            if lock is not None:
                with mirroring:
                    session.run(lock)
        outcome = session.outcome()
        progress.study_ended(outcome)
    return outcome


def ordered_cells(study: Study) -> list[Cell]:
    """Return the cells in the order in which they are run.

    Shuffled, so that a warming machine does not favour one recipe; by a seed made of the study's name and cells, so
    that a resumed study keeps its order.
    """
    cells = list(study.cells)
    if study.measure.order == "shuffled":
        cells.sort(key=lambda cell: cell.key)
        seed = hashlib.sha256("\n".join([study.name, *(cell.key for cell in cells)]).encode()).digest()
        random.Random(seed).shuffle(cells)
    return cells


@dataclass(frozen=True)
class _NotRun:
    """A cell that was not started; `reason` is empty when the person has stopped the study."""

    reason: str


@dataclass
class _Session:
    """One call of `run_study` while it holds the machine."""

    study: Study
    store: Store
    progress: Progress
    options: RunOptions
    forecast: Forecast | None
    executor: Executor
    stop: StopRequests
    mirroring: Mirroring
    num_finished: int = 0
    num_failed: int = 0
    num_skipped: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    def outcome(self) -> StudyOutcome:
        num_over = self.num_finished + self.num_failed + self.num_skipped + len(self.left_out)
        return StudyOutcome(
            study_name=self.study.name,
            num_cells=len(self.study.cells),
            num_finished=self.num_finished,
            num_failed=self.num_failed,
            num_skipped=self.num_skipped,
            left_out=tuple(self.left_out),
            is_interrupted=self.stop.is_requested() and num_over < len(self.study.cells),
            run_ids=tuple(self.run_ids),
        )

    def run(self, lock: MachineLock) -> None:
        for record in close_dead_runs(self.store):
            self.progress.note(f"closed {record.run_id}, whose worker is gone; what it took stays on the bill")
            if record.study_name == self.study.name:
                self.mirroring.ended(record.run_id)
        known = defaultdict(list)  # one scan settles a resumed study of thousands of cells
        for record in self.store.records():
            known[record.cell_key].append(record)
        for problem in self.store.problems:
            self.progress.note(problem)
        for position, cell in enumerate(ordered_cells(self.study), start=1):
            if self.stop.is_requested():
                return
            if self.study.search is not None and not cell.is_baseline:
                self._search(self.study.search, cell, position, lock)
            elif not self._is_settled(cell, known[cell.key]):
                self._run_cell(cell, position, lock)

    def _run_cell(self, cell: Cell, position: int, lock: MachineLock) -> None:
        earlier = [record for record in self.store.records() if record.cell_key == cell.key]
        if self._is_settled(cell, earlier):
            return
        ended = self._run_to_end(cell, earlier, position, lock)
        if isinstance(ended, _NotRun):
            if ended.reason:
                self.left_out.append((cell.label, ended.reason))
                self.progress.cell_passed_over(cell.label, f"left out, {ended.reason}")
        else:
            self._count(ended)

    def _run_to_end(
        self, cell: Cell, earlier: Sequence[Record], position: int, lock: MachineLock
    ) -> Record | _NotRun | None:
        """Run a cell until it has a result; None if it left a record that cannot be read."""
        num_earlier = len(earlier)
        for num_tries in range(1, MAX_ATTEMPTS + 1):
            if reason := self._reason_to_leave_out(cell, self.store.records()):
                return _NotRun(reason)
            self._check_disk()
            if self.run_ids:
                self.stop.sleep(self.study.measure.cooldown_second)
            if self.stop.is_requested():
                return _NotRun("")
            attempt = num_earlier + num_tries
            folder = self.store.create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=attempt)
            record = self._attempt(cell, folder, position, lock)
            if record is None or record.error_kind not in RETRIED_KINDS or num_tries == MAX_ATTEMPTS:
                break
            self.progress.note(f"{cell.label}: trying again, {record.error_kind} says nothing about the cell")
        return record

    def _search(self, search: Search, template: Cell, position: int, lock: MachineLock) -> None:
        """Run a search, which counts as one cell of the study: it is done when its winners are."""
        left_out: list[str] = []

        def run_cell(cell: Cell, earlier: Sequence[Record]) -> Record | None:
            ended = self._run_to_end(cell, earlier, position, lock)
            if isinstance(ended, _NotRun):
                left_out.append(ended.reason)
                return None
            if ended is None or (ended.error_kind == "interrupted" and self.stop.is_requested()):
                return None
            return ended

        def is_result(record: Record) -> bool:
            return record.error_kind not in TRIED_ANEW_KINDS and not self.options.retry_failed

        end = SearchRun(template, search, self.store, run_cell, is_result, self.progress.note).run()
        if reason := next((reason for reason in left_out if reason), None):
            self.left_out.append((template.label, reason))
            self.progress.cell_passed_over(template.label, f"search left unfinished, {reason}")
        elif end.is_complete and not end.winners:
            self.num_failed += 1
            self.progress.cell_passed_over(template.label, "no trial of its search has a result")
        elif end.is_complete and not end.num_run:
            self.num_skipped += 1
            self.progress.cell_passed_over(template.label, f"searched before, won by {end.winners[0].run_id}")
        elif end.is_complete:
            self.num_finished += 1

    def _is_settled(self, cell: Cell, earlier: Sequence[Record]) -> bool:
        """Count and report a cell that needs no run."""
        finished = [record for record in earlier if record.status == "finished"]
        if finished:
            self.num_skipped += 1
            self.progress.cell_passed_over(cell.label, f"done before as {finished[-1].run_id}")
            return True
        if not earlier or earlier[-1].error_kind in TRIED_ANEW_KINDS or self.options.retry_failed:
            return False
        self.num_failed += 1
        why = f"failed before as {earlier[-1].run_id}, {earlier[-1].error_kind}; --retry-failed tries it again"
        self.progress.cell_passed_over(cell.label, why)
        return True

    def _reason_to_leave_out(self, cell: Cell, records: Sequence[Record]) -> str | None:
        for folder in self.store.unfinished():
            if folder.cell_key == cell.key and folder.is_running:
                return f"being run as {folder.run_id}"
        return refusal(self.study, cell, records, self.forecast)

    def _check_disk(self) -> None:
        path = self.store.path.absolute()
        path = next(folder for folder in (path, *path.parents) if folder.exists())
        num_free_byte = shutil.disk_usage(path).free
        if num_free_byte < self.options.min_free_byte:
            raise StoreError(
                f"disk is nearly full: {num_free_byte / 2**20:.0f} MiB free, "
                f"a cell is started with at least {self.options.min_free_byte / 2**20:.0f} MiB",
                place=str(self.store.path),
                hint="Free some space and run again: what is finished is kept.",
            )

    def _count(self, record: Record | None) -> None:
        if record is not None and record.status == "finished":
            self.num_finished += 1
        elif record is None or not self.stop.is_requested():
            self.num_failed += 1

    def _attempt(self, cell: Cell, folder: RunFolder, position: int, lock: MachineLock) -> Record | None:
        """Run one worker to its end; None if it left a record that cannot be read."""
        self.run_ids.append(folder.run_id)
        job = self.executor.start(folder, inherited=(lock.descriptor,))
        start = CellStart(
            label=cell.label,
            run_id=folder.run_id,
            attempt=folder.attempt,
            position=position,
            num_cells=len(self.study.cells),
        )
        try:
            self.progress.cell_started(start)
            self.mirroring.started(folder.run_id)
            ending = watch(
                job,
                folder,
                timeout_second=cell.settings.measure.timeout_second,
                grace_second=self.options.grace_second,
                stop=self.stop,
                progress=self.progress,
            )
        finally:
            job.kill()  # of no effect on one that has ended
        try:
            record = folder.record or close_run(folder, cause_of(ending, folder))
        except StoreError as error:
            if not folder.record_path.exists():
                raise
            self.progress.note(str(error))
            return None
        self.mirroring.ended(folder.run_id)
        self.progress.cell_ended(cell.label, record)
        return record
