"""batch_size: look for the largest batch whose training step fits into memory.

What it does   In the warm-up, runs forward and backward passes over the longest examples: batches of 1, 2, 4, ... until
               one does not fit, then halves the interval until it is within a sixteenth. Nothing is learned from them;
               their energy is the warm-up's and on the bill. The batch found replaces train.batch_size; the learning
               rate stays. With `keep_update_size` it is the largest divisor of the study's update that fits, and the
               rest is accumulated: the same updates, in fewer passes. Prediction keeps the batch that it had.
When to use    When the device is not full: large batches use it better. With `keep_update_size` for equal learning.
When not       Where the number of updates is already small: larger batches take fewer of them in the same epochs.
Trade-off      train.wall_second x0.3-1.05 | train.energy_total_joule x0.4-1.1 | train.memory_gpu_max_byte x1.0-20
               | rouge2 -0.05..+0.01 (the low end: too few updates)
Options        max_batch_size (1024), memory_byte (None = 92 % of the GPU's free memory; needed on a CPU, where what
               counts are the bytes of all tensors and of the optimizer's state), keep_update_size (false)
Works with     all others.   Conflicts with  gradient_accumulation, which splits what this joins.
               Conflicts with  ddp, fsdp, zero, zero_offload: each process would find a batch of its own.
Source         McCandlish et al. 2018, arXiv 1812.06162: what larger batches buy, and where it ends. Ranges ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from pydantic import Field

from kilowit.errors import CellFailure, ErrorKind, PlanError
from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.settings import Block, Count, Settings

CONFLICTS_WITH: Final = ("ddp", "fsdp", "gradient_accumulation", "zero", "zero_offload")
FAMILIES: Final = None
RESOLUTION: Final = 16  # the search ends when the next larger batch is within 1/16
_OURS: Final = "ours: an estimate, to be replaced by a measured range"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.3, 1.05, source=_OURS),
    Expectation("train.energy_total_joule", 0.4, 1.1, source=_OURS),
    Expectation("train.memory_gpu_max_byte", 1.0, 20.0, source="ours: it fills what there is"),
    Expectation("rouge2", -0.05, 0.01, kind="difference", source="arXiv 1812.06162, section 2.2; ends ours"),
)


class Options(Block):
    """How far to go."""

    max_batch_size: Count = Field(1024, description="largest batch to try")
    memory_byte: Count | None = Field(None, description="memory that a step may take; None = 92 % of the GPU's")
    keep_update_size: bool = Field(False, description="examples per update stay; only the passes grow")


class Rehearsal(Protocol):
    """What the engine lends to a search: steps that teach nothing."""

    num_examples: int

    @property
    def available_byte(self) -> int | None:
        """Memory that a step may take; None where nothing says."""

    def __call__(self, batch_size: int, limit_byte: int) -> int | None:
        """Return the bytes that a step takes, or None if they pass the limit."""


def tune(settings: Settings, options: Options, facts: dict[str, Any], rehearsal: Rehearsal) -> Settings:
    """Search, and set the batch that was found.

    Raises:
        PlanError: on a CPU without `memory_byte`.
        CellFailure: a batch of one does not fit.
    """
    limit_byte = options.memory_byte or rehearsal.available_byte
    if limit_byte is None:
        raise PlanError(
            'method "batch_size" on a CPU needs memory_byte: all of the host\'s memory is no sensible limit',
            hint="Say how much a training step may take: {batch_size: {memory_byte: 8000000000}}.",
        )
    train = settings.train
    update_size = train.batch_size * train.gradient_accumulation_steps
    largest_tried = min(options.max_batch_size, rehearsal.num_examples)
    if options.keep_update_size:
        largest_tried = min(largest_tried, update_size)
    trials: list[list[int | None]] = []

    def fits(batch_size: int) -> bool:
        byte = rehearsal(batch_size, limit_byte)
        trials.append([batch_size, byte])
        return byte is not None

    found = largest_that_fits(fits, largest_tried)
    facts.update(limit_byte=limit_byte, largest_tried=largest_tried, trials=trials, largest_that_fits=found)
    if found == 0:
        kind: ErrorKind = "out_of_memory_host" if rehearsal.available_byte is None else "out_of_memory_gpu"
        raise CellFailure(
            kind, f"a batch of one does not fit into {limit_byte} bytes", hint="Cut the sources with truncate."
        )
    changes = {"batch_size": found}
    if options.keep_update_size:
        found = max(size for size in range(1, found + 1) if update_size % size == 0)
        changes = {"batch_size": found, "gradient_accumulation_steps": update_size // found}
    facts["batch_size"] = found
    predict_size = settings.predict.batch_size or 2 * train.batch_size
    return settings.with_train(**changes).with_predict(batch_size=predict_size)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show what was tried with the bytes that it took (None: too many), and what was trained with."""
    train = run.settings.train
    numbers = {**run.facts, "update_size": train.batch_size * train.gradient_accumulation_steps}
    return Evidence(train.batch_size == run.facts.get("batch_size"), numbers)


def largest_that_fits(fits: Callable[[int], bool], largest: int) -> int:
    """Return the largest batch up to `largest` that fits, to within a sixteenth; 0 if not even one does.

    >>> largest_that_fits(lambda size: size <= 21, 1024)
    21
    """
    good, size = 0, 1
    while fits(size):
        good = size
        if size == largest:
            return good
        size = min(2 * size, largest)
    bad = size
    while bad - good > max(1, good // RESOLUTION):
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good
