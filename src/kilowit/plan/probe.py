"""A few real steps of a cell in a process of their own: the same worker, a short cell, in a folder that is removed.

A dozen steps and two batches of summaries cost seconds and replace a formula's factor of ten by what this machine
does. The first steps are slow (allocator, caches), so the low end reaches below what was seen.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from kilowit.cell import Cell
from kilowit.meter.machine_lock import machine_lock
from kilowit.plan.hardware import Hardware
from kilowit.plan.interval import Interval
from kilowit.plan.records import Measured, combine, scaled_run
from kilowit.plan.workload import Workload
from kilowit.record import Record
from kilowit.store import Store

NUM_PROBE_STEPS: Final = 12
NUM_PROBE_BATCHES: Final = 2  # of prediction
PROBE_TIMEOUT_SECOND: Final = 600.0
PROBE_FACTOR: Final = 1.5  # ours, an estimate: what a dozen steps can say of a thousand
# Warm-up in a probe's short training: the steady rate is up to this much faster than what the probe saw.
WARM_UP_FACTOR: Final = 2.5


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What a probe gave: figures, or why there are none."""

    measured: Measured | None
    error_kind: str | None = None
    message: str = ""


def probe(cell: Cell, work: Workload, hardware: Hardware) -> ProbeResult:
    """Run a short version of a cell here and scale what it took; takes some seconds to minutes.

    Its energy is spent on planning and billed to no study.

    Raises:
        ExecutorError: a measured run holds this machine; a probe would disturb it.
    """
    with machine_lock(study=cell.study_name, store="(a probe)", mode="refuse", on_wait=lambda holder: None):
        return _probe(short_cell(cell, work), work, hardware)


def _probe(short: Cell, work: Workload, hardware: Hardware) -> ProbeResult:
    with tempfile.TemporaryDirectory(prefix="kilowit-probe-") as name:
        folder = Store(Path(name)).create(short.to_dict(), label=short.label, cell_key=short.key, attempt=1)
        command = [sys.executable, "-P", "-m", "kilowit", "worker", str(folder.path)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECOND,
                errors="replace", check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return ProbeResult(None, "timeout", f"the probe took more than {PROBE_TIMEOUT_SECOND:.0f} s")
        record = folder.record
    if record is None:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return ProbeResult(None, "killed", f"the probe left no record (exit {done.returncode}): {last[:200]}")
    if record.status != "finished":
        return ProbeResult(None, record.error_kind, f"the probe failed: {record.error_message or record.error_kind}")
    return ProbeResult(_figures(record, work, hardware))


def short_cell(cell: Cell, work: Workload) -> Cell:
    """Return the cell with a dozen steps, two batches of predictions and no idle baseline."""
    train = cell.settings.train
    per_step = train.batch_size * train.gradient_accumulation_steps
    settings = cell.settings.with_train(num_steps=NUM_PROBE_STEPS, warmup_steps=0)
    measure = settings.measure.model_copy(
        update={"idle_second": 0.0, "cooldown_second": 0.0, "keep_model": False, "period_second": 0.2}
    )
    limits = {
        "max_train_examples": min(NUM_PROBE_STEPS * per_step, int(work.num_train_examples.high)),
        "max_validation_examples": max(1, min(train.batch_size, int(work.num_validation_examples.high))),
        "max_test_examples": max(1, min(NUM_PROBE_BATCHES * work.predict_batch_size, int(work.num_test_examples.high))),
    }
    return dataclasses.replace(
        cell, settings=settings.model_copy(update={"measure": measure}), dataset={**cell.dataset, **limits}
    )


def _figures(record: Record, work: Workload, hardware: Hardware) -> Measured:
    """Scale a probe to its whole cell, and let the low end allow for the warm-up in it."""
    measured = combine([(scaled_run(record, work), PROBE_FACTOR)])
    seconds = dict(measured.phase_second)
    for name in ("train", "validate", "predict"):
        if name in seconds:
            seen = seconds[name]
            seconds[name] = Interval(seen.low / (WARM_UP_FACTOR / PROBE_FACTOR), seen.likely, seen.high)
    seconds["idle"] = Interval.exactly(work.settings.measure.idle_second)
    energy, joules = measured.energy_joule, measured.phase_joule
    if energy is not None:
        idle = hardware.idle_watt() * seconds["idle"]
        low = energy.low / (WARM_UP_FACTOR / PROBE_FACTOR)
        energy = Interval(low, energy.likely, energy.high) + idle
        joules = {**joules, "idle": idle}
    return dataclasses.replace(measured, phase_second=seconds, energy_joule=energy, phase_joule=joules, disk_byte=None)
