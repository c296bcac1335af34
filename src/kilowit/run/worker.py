"""One cell, in its own process, phase after phase, top to bottom: a folder in, a folder out.

All that a laptop or a cluster runs is ``kilowit worker RUN_DIR``. Whatever happens to the cell becomes its record;
only a record that cannot be written is an error of the worker. A cell whose recipe asks for several processes is run
by as many of this command, under torchrun (`kilowit.run.ranks`): the first is the cell, the others train along.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from kilowit import factors
from kilowit.cell import Cell
from kilowit.errors import StoreError
from kilowit.meter import Meter, MeterResult
from kilowit.parts.executor import is_stop_asked, num_cells_at_once
from kilowit.parts.sensor import Sensor, default_sensors, second_opinions
from kilowit.parts.shared_sensor import SharedSensor
from kilowit.record import PhaseFigures, Record
from kilowit.run import phases, ranks
from kilowit.run.compress import compress
from kilowit.run.environment import describe_environment
from kilowit.run.failure import Failure, Stopped, classify
from kilowit.run.node import held_for
from kilowit.run.nodes import end_nodes, folder_of, other_nodes, wait_for_end, with_nodes
from kilowit.run.opinions import opinions_of
from kilowit.run.phases import CellRun
from kilowit.run.ranks import Rank
from kilowit.run.score import score
from kilowit.run.untrained import leave_untrained
from kilowit.serving.process import prepare_process
from kilowit.settings import Precision
from kilowit.store import RunFolder
from kilowit.store.folder import write_once

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)


def main(run_dir: Path) -> int:
    """Run the cell that `run_dir` asks for and leave its record there.

    Returns:
        0 if a record was written, whatever its status; 1 if even that could not be done.

    Raises:
        StoreError: the folder holds no readable request, or has been run before.
    """
    folder = RunFolder(run_dir.resolve())
    cell = Cell.from_dict(folder.cell, place=str(folder.cell_path))
    rank = ranks.current()
    if rank is not ranks.ALONE:
        return run_cell(folder, cell, rank)
    with held_for(folder):
        if (num_processes := ranks.num_processes_of(cell)) is not None:
            return ranks.launch(folder, num_processes)
        return run_cell(folder, cell, rank)


def run_cell(folder: RunFolder, cell: Cell, rank: Rank) -> int:
    """Run a cell as one of its ranks, or alone; return as `main` does, but 1 for a rank of a cell that failed.

    Raises:
        StoreError: the folder has been run before.
    """
    prepare_process()
    if rank is not ranks.ALONE:
        rank.begin()
    with _signals_end_the_cell(folder, cell.settings.measure.timeout_second):
        if not rank.is_first:
            return train_along(folder, cell, rank)
        environment = describe_environment()
        folder.write_environment(environment)
        meter = _meter(folder.path, cell, rank)
        run = CellRun(folder, cell, meter, cell.settings, rank=rank)
        failure = None
        try:
            with meter:
                run_phases(run)
        except BaseException as error:
            failure = rank.cause_of(classify(error))
            traceback.print_exc()  # for worker.log; the record has the one sentence
        _ignore_signals()  # whoever is impatient must not tear the record
        if rank.folder is not None and rank.node.num_nodes > 1:
            end_nodes(folder, rank.folder, rank.node.num_nodes)
        try:
            folder.write_record(build_record(run, meter.stop(), environment, failure))
        except StoreError as error:
            print(error, file=sys.stderr)
            return 1
    # torchrun is to end the other ranks of a cell that failed, and learns of it by the exit status alone
    return 1 if rank.folder and failure else 0


def sensors_of(cell: Cell, rank: Rank) -> list[Sensor] | None:
    """Return what the meter reads, other meters that were asked for among it; None = the usual."""
    asked, own = cell.settings.measure.second_opinions, rank.sensors()
    if (num_sharing := num_cells_at_once()) > 1:
        own = [SharedSensor(sensor, num_sharing) for sensor in own or default_sensors()]
    if not asked:
        return own
    others = second_opinions(asked, factors.country(cell.factors.region))
    return [*(default_sensors() if own is None else own), *others]


def train_along(folder: RunFolder, cell: Cell, rank: Rank) -> int:
    """Live the life of a cell up to the end of training, and leave word of how it ended.

    Off the books; but the leader of another node meters that node until the cell is over.
    """
    if rank.is_leader and rank.folder is not None:
        own = folder_of(folder, rank.node.number)
        own.mkdir(parents=True)
        write_once(own / "environment.json", json.dumps(describe_environment(), ensure_ascii=False))
        meter = _meter(own, cell, rank)
    else:
        meter = Meter(sensors=[], period_second=None, synchronize=phases.synchronize)
    try:
        with meter:
            run_phases(CellRun(folder, cell, meter, cell.settings, rank=rank))
            if rank.is_leader and rank.folder is not None:
                wait_for_end(folder, rank.folder)
    except BaseException as error:
        rank.say(classify(error))
        traceback.print_exc()
        return 1
    rank.say(None)
    return 0


def _meter(path: Path, cell: Cell, rank: Rank) -> Meter:
    """Return the meter of this node."""
    return Meter(
        path,
        sensors=sensors_of(cell, rank),
        period_second=cell.settings.measure.period_second,
        synchronize=phases.synchronize,
        job=f"{path}" if rank.folder else None,
    )


def run_phases(run: CellRun) -> None:
    """The life of a cell."""
    if run.rank.is_first:
        phases.idle(run)
        phases.download(run)
    run.rank.meet()
    corpus = phases.judged_on(phases.read_corpus(run), run.settings.predict.split)
    if run.cell.is_baseline:
        predictions = phases.predict_by_baseline(run, corpus)
    else:
        loaded = phases.load(run, corpus)
        data, test = phases.prepare(run, corpus, loaded)
        data = compress(run, corpus, loaded, data)
        phases.adapt(run, loaded)
        (phases.fine_tune if run.settings.trains else leave_untrained)(run, loaded, data)
        if not run.rank.is_first:
            return
        phases.save(run, loaded)
        predictions = phases.predict(run, corpus, loaded, test)
    score(run, corpus, predictions)
    if run.settings.serve is not None and not run.cell.is_baseline:
        from kilowit.run.serve import serve

        serve(run, corpus, loaded)


def build_record(run: CellRun, result: MeterResult, environment: dict[str, Any], failure: Failure | None) -> Record:
    """Put together what the run left; phases that were begun are billed, however it ended."""
    status = "finished" if failure is None else "interrupted" if failure.kind == "interrupted" else "failed"
    rows, nodes = with_nodes(result.phases, environment, result.signature, other_nodes(run.folder))
    return Record(
        run_id=run.folder.run_id,
        cell_key=run.folder.cell_key,
        study_name=run.cell.study_name,
        attempt=run.folder.attempt,
        status=status,  # type: ignore[arg-type]
        started_at_utc=result.started_at_utc,
        ended_at_utc=result.ended_at_utc,
        cell=run.folder.cell,
        environment=environment,
        error_kind=failure.kind if failure else None,
        error_message=failure.message if failure else None,
        error_phase=run.failed_phase if failure else None,
        model=run.model,
        dataset=run.dataset,
        phases=with_mfu(rows, environment, run.settings.precision),
        nodes=nodes,
        scores=run.scores if failure is None else [],
        methods=run.methods,
        warnings=list(result.warnings),
        measurement_signature=result.signature,
        idle_power_watt=result.idle_power_watt,
        serving=run.serving,
        second_opinions=opinions_of(run.settings.measure.second_opinions, result),
    )


def with_mfu(rows: Sequence[PhaseFigures], environment: dict[str, Any], precision: Precision) -> list[PhaseFigures]:
    """Add the share of the GPU's dense peak that each phase's FLOPs reached; None without a GPU that is known."""
    gpus = environment["gpus"]
    device = factors.device(gpus[0]["name"], gpus[0]["memory_byte"]) if gpus else None
    peak = device.peak_flop_per_second.get(precision) if device else None
    if peak is None:
        return list(rows)
    return [
        dataclasses.replace(row, mfu_fraction=row.flop_total / row.wall_second / peak)
        if row.flop_total is not None and row.wall_second > 0
        else row
        for row in rows
    ]


@contextlib.contextmanager
def _signals_end_the_cell(folder: RunFolder, timeout_second: float | None) -> Iterator[None]:
    """Turn SIGTERM, SIGINT and the time limit into the end of the cell, with its record still to be written."""

    def stop(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        if number == signal.SIGALRM:
            raise Stopped("timeout", f"longer than measure.timeout_second = {timeout_second:g}")
        name = signal.Signals(number).name
        if number == signal.SIGTERM and not is_stop_asked(folder.path):
            raise Stopped("preempted", f"its machine was taken away: {name}")
        raise Stopped("interrupted", f"ended by {name}")

    before = {number: signal.signal(number, stop) for number in HANDLED}
    signal.setitimer(signal.ITIMER_REAL, timeout_second or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
