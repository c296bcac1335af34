"""One call of `run_study`: cells are taken in order, as many at a time as the executor takes, and watched to their end.

Each cell that runs is watched by a thread of its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kilowit.cell import Cell
from kilowit.errors import MAX_ATTEMPTS, RETRIED_KINDS, StoreError
from kilowit.meter.machine_lock import MachineLock
from kilowit.parts.executor import Executor, Job, read_job
from kilowit.record import Record
from kilowit.run.budget import Forecast, refusal
from kilowit.run.ending import cause_of
from kilowit.run.mirroring import Mirroring
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import CellStart, CellState, Progress
from kilowit.run.recover import close_dead_runs, close_run
from kilowit.run.search import SearchEnd, SearchRun
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
JOIN_SECOND: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run can be told beyond its study."""

    retry_failed: bool = False  # try cells again whose earlier failure is a result
    grace_second: float = GRACE_SECOND
    min_free_byte: int = MIN_FREE_BYTE


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
class Session:
    """One call of `run_study`. What it changes or writes, and the store, are used while holding `guard` alone."""

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
    guard: threading.Condition = field(default_factory=threading.Condition)  # told whenever a cell has ended
    slot: threading.local = field(default_factory=threading.local)
    running: dict[str, Cell] = field(default_factory=dict)  # by run id
    adopted: dict[str, tuple[RunFolder, Job]] = field(default_factory=dict)  # by cell key: of an earlier driver
    errors: list[BaseException] = field(default_factory=list)

    def outcome(self) -> StudyOutcome:
        """Return how it went so far."""
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
        """Run what is not done; `lock` is held, and is the machine's where cells run here."""
        self._take_over()
        known = defaultdict(list)  # one scan settles a resumed study of thousands of cells
        for record in self.store.records():
            known[record.cell_key].append(record)
        for problem in self.store.problems:
            self.progress.note(problem)
        cells = iter(list(enumerate(ordered_cells(self.study), start=1)))
        if self.executor.num_at_once == 1:
            self._work(cells, known, lock)
            return
        threads = [
            threading.Thread(target=self._work_along, args=(cells, known, lock), daemon=True)
            for _ in range(min(self.executor.num_at_once, len(self.study.cells)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(JOIN_SECOND)  # with a limit: signals are handled in between
        if self.errors:
            raise self.errors[0]

    def _take_over(self) -> None:
        """Adopt what an earlier driver started and still runs; close what died."""
        dead = []
        for folder in self.store.unfinished():
            is_own = not self.executor.is_here and folder.cell.get("study_name") == self.study.name
            if folder.is_away and not (is_own and read_job(folder.path, self.executor.name)):
                continue  # its own executor knows whether it runs
            if not folder.is_away and not self.executor.is_here and not is_own:
                continue
            job = self.executor.adopt(folder.path) if folder.is_away else None
            if folder.record_path.exists():
                continue  # it has ended while we looked
            if job is None:
                dead.append(folder)
            else:
                self.adopted[folder.cell_key] = (folder, job)
                self.progress.note(f"{folder.run_id} still runs, started by an earlier driver: adopted")
        for record in close_dead_runs(dead):
            self.progress.note(f"closed {record.run_id}, whose worker is gone; what it took stays on the bill")
            if record.study_name == self.study.name:
                self.mirroring.ended(record.run_id)

    def _work_along(self, *arguments: Any) -> None:
        """Work in a thread of its own; an error there is raised where the study was started, once all have ended."""
        try:
            self._work(*arguments)
        except BaseException as error:
            with self.guard:
                self.errors.append(error)
                self.guard.notify_all()

    def _work(self, cells: Iterator[tuple[int, Cell]], known: dict[str, list[Record]], lock: MachineLock) -> None:
        """Take cells until none is left."""
        while True:
            with self.guard:
                position, cell = next(cells, (0, None))
                if cell is None or self.stop.is_requested() or self.errors:
                    return
                is_searched = self.study.search is not None and not cell.is_baseline
                if not is_searched and self._is_settled(cell, known[cell.key]):
                    continue
            if is_searched and self.study.search is not None:
                self._search(self.study.search, cell, position, lock)
            else:
                self._run_cell(cell, position, lock)

    def _run_cell(self, cell: Cell, position: int, lock: MachineLock) -> None:
        with self.guard:
            earlier = [record for record in self.store.records() if record.cell_key == cell.key]
            if self._is_settled(cell, earlier):
                return
        ended = self._run_to_end(cell, earlier, position, lock)
        with self.guard:
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
        for num_tries in range(1, MAX_ATTEMPTS + 1):
            with self.guard:
                adopted = self.adopted.pop(cell.key, None)
            if adopted is None:
                folder = self._begin(cell, len(earlier) + num_tries)
                if isinstance(folder, _NotRun):
                    return folder
                job = None
            else:
                folder, job = adopted
                self.running[folder.run_id] = cell
            try:
                record = self._attempt(cell, folder, job, position, lock)
            finally:
                with self.guard:
                    del self.running[folder.run_id]
                    self.guard.notify_all()
            if record is None or record.error_kind not in RETRIED_KINDS or num_tries == MAX_ATTEMPTS:
                break
            with self.guard:
                self.progress.note(f"{cell.label}: trying again, {record.error_kind} says nothing about the cell")
        return record

    def _begin(self, cell: Cell, attempt: int) -> RunFolder | _NotRun:
        """Make the folder of an attempt, once the budget, the disk and the cool-down allow it."""
        if getattr(self.slot, "has_run", False):
            self.stop.sleep(self.study.measure.cooldown_second)
        with self.guard:
            while (reason := self._reason_to_leave_out(cell)) and self.running and not self.stop.is_requested():
                self.guard.wait(JOIN_SECOND)  # a cell that ends may have taken less than it might
            if self.stop.is_requested() or self.errors:
                return _NotRun("")
            if reason:
                return _NotRun(reason)
            self._check_disk()
            folder = self.store.create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=attempt)
            self.running[folder.run_id] = cell
            self.slot.has_run = True
            return folder

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

        end = SearchRun(template, search, self.store, run_cell, is_result, self._note, self.forecast).run()
        with self.guard:
            self._count_search(template, left_out, end)

    def _count_search(self, template: Cell, left_out: Sequence[str], end: SearchEnd) -> None:
        if reason := next((reason for reason in left_out if reason), None):
            self.left_out.append((template.label, reason))
            self.progress.cell_passed_over(template.label, f"search left unfinished, {reason}")
        elif end.is_complete and not end.winners and end.reason:
            self.left_out.append((template.label, end.reason))
            self.progress.cell_passed_over(template.label, f"search left unfinished, {end.reason}")
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

    def _note(self, message: str) -> None:
        with self.guard:
            self.progress.note(message)

    def _reason_to_leave_out(self, cell: Cell) -> str | None:
        for folder in self.store.unfinished():
            if folder.cell_key == cell.key and folder.is_running:
                return f"being run as {folder.run_id}"
        return refusal(self.study, cell, self.store.records(), self.forecast, list(self.running.values()))

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

    def _attempt(
        self, cell: Cell, folder: RunFolder, job: Job | None, position: int, lock: MachineLock
    ) -> Record | None:
        """Run one worker, or watch an adopted one, to its end; None if it left a record that cannot be read."""
        job = job or self._start(folder, lock)
        start = CellStart(
            label=cell.label,
            run_id=folder.run_id,
            attempt=folder.attempt,
            position=position,
            num_cells=len(self.study.cells),
        )
        try:
            with self.guard:
                self.run_ids.append(folder.run_id)
                self.progress.cell_started(start)
                self.mirroring.started(folder.run_id)
            ending = watch(
                job,
                folder,
                timeout_second=cell.settings.measure.timeout_second,
                grace_second=self.options.grace_second,
                stop=self.stop,
                on_state=lambda state: self._show(folder.run_id, state),
                may_wait=not self.executor.is_here,
            )
        finally:
            job.kill()  # of no effect on one that has ended
        with self.guard:
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

    def _start(self, folder: RunFolder, lock: MachineLock) -> Job:
        if not self.executor.is_here:
            return self.executor.start(folder.path)
        descriptor = folder.lock_for_worker()
        try:
            return self.executor.start(folder.path, inherited=(descriptor, lock.descriptor))
        finally:
            os.close(descriptor)

    def _show(self, run_id: str, state: CellState) -> None:
        with self.guard:
            self.progress.cell_changed(run_id, state)
