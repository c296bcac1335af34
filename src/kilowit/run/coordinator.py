"""Run a study: hand its cells to an executor, skip what is done, keep the budget, retry, close what died."""

from __future__ import annotations

from contextlib import AbstractContextManager

from kilowit.errors import PlanError
from kilowit.meter.machine_lock import BUSY, MachineLock, machine_lock
from kilowit.parts.executor import Executor
from kilowit.parts.method import plan_settings, require_machine
from kilowit.run.budget import Forecast, check_budget
from kilowit.run.mirroring import Mirroring
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import Progress, make_progress
from kilowit.run.session import RunOptions, Session
from kilowit.run.signals import StopRequests
from kilowit.store import Store
from kilowit.study import Study


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
        executor: None = the study's, closed at the end.

    Raises:
        StudyError: a budget that cannot be kept.
        PlanError: a method that this machine, or the part of it that a cell is given, cannot run.
        PartError: the executor needs a package that is not installed.
        StoreError: the store cannot be read or written, or its disk is nearly full.
        ExecutorError: the machine is held by another run and the study does not wait, no worker can be started, or
            the executor's cluster is gone; what runs there is adopted or billed by the next call.
    """
    progress = progress or make_progress()
    check_budget(study)
    chosen = executor or study.executor.make(len(study.cells))
    try:
        _require_fitting(study, store, chosen)
        with StopRequests() as stop, progress:
            progress.study_started(study.name, len(study.cells))
            several_seeds = len({cell.seed for cell in study.cells if not cell.is_baseline}) > 1
            mirroring = Mirroring(store, study.name, several_seeds, study.mirror, progress.note)
            session = Session(study, store, progress, options or RunOptions(), forecast, chosen, stop, mirroring)
            with _held(session) as lock:
                if lock is not None:
                    with mirroring:
                        session.run(lock)
            outcome = session.outcome()
            progress.study_ended(outcome)
    finally:
        if executor is None:
            chosen.close()
    return outcome


def _require_fitting(study: Study, store: Store, executor: Executor) -> None:
    """Refuse methods that cannot run where the cells will.

    Raises:
        PlanError: what is lacking.
    """
    done = {record.cell_key for record in store.records() if record.status == "finished"}
    waiting = [cell for cell in study.cells if cell.key not in done]
    if executor.is_here:
        require_machine(call for cell in waiting for call in cell.methods)
    for cell in waiting if executor.num_gpus else ():
        num_processes = plan_settings(cell.settings, cell.methods, None).ranks.num_processes
        if executor.num_gpus is not None and num_processes > executor.num_gpus:
            raise PlanError(
                f'recipe "{cell.recipe}" trains in {num_processes} processes, one a GPU, and executor '
                f"{executor.name} gives a cell {executor.num_gpus}",
                place=study.place,
                hint="Run that recipe in a study of its own, with more GPUs a cell.",
            )


def _held(session: Session) -> AbstractContextManager[MachineLock | None]:
    """Hold this machine where it is measured, else the study in this store: it has one driver at a time."""
    study, store, executor = session.study, session.store, session.executor
    what = "this machine" if executor.is_here else f"study {study.name} in this store"
    return machine_lock(
        study=study.name,
        store=str(store.path.absolute()),
        mode=study.measure.lock,
        on_wait=lambda holder: session.progress.note(f"waiting for {what}: {holder}"),
        is_stopped=session.stop.is_requested,
        wait_second=study.measure.lock_wait_second,
        path=None if executor.is_here else store.path / f".{study.name}.lock",
        busy=f"{what} is run by another process" if not executor.is_here else BUSY,
    )
