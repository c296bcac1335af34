"""What every engine does before the first step, and leaves no trace of: a step that is counted and thrown away."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch

from kilowit.parts.flop import forward_flop
from kilowit.run.engines.job import TrainJob
from kilowit.run.flop_counter import StepFlop

NUM_WARMUP_STEPS: Final = {"cpu": 1, "cuda": 2}  # the first is counted by torch; CUDA then picks its kernels


@contextmanager
def restored(job: TrainJob) -> Iterator[None]:
    """Undo what a warm-up leaves: gradients and the state of every random generator."""
    with same_randomness(job):
        yield
    job.model.zero_grad(set_to_none=True)


@contextmanager
def same_randomness(job: TrainJob) -> Iterator[None]:
    """Put the state of every random generator back."""
    import numpy as np

    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if job.device.type == "cuda" else []):
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)


def warmup_batches(job: TrainJob, batches: Sequence[list[int]]) -> list[list[int]]:
    """Return the batches to run once torch has counted the first: it again, and others where methods ask for them.

    What is compiled for one shape is made anew for the next, so that the others have another shape. What is
    recorded is counted as it will run, and the first batch is all that it needs.
    """
    if job.data.num_row_shapes is not None and not job.num_rehearsals:
        return []
    repeats = NUM_WARMUP_STEPS[job.device.type] - 1 + (job.num_rehearsals > 0)
    return [batches[0]] * repeats + list(batches[1 : 1 + job.num_rehearsals])


def note_flop(job: TrainJob, step: StepFlop, indices: Sequence[int], inputs: dict[str, Any]) -> None:
    """Note the formula's FLOPs of a batch beside those that torch counted."""
    if job.data.is_packed:
        lengths = [(job.data.train.source_lengths[i], job.data.train.target_lengths[i]) for i in indices]
    else:
        num_rows, num_source = inputs["input_ids"].shape
        lengths = [(num_source, inputs["labels"].shape[1])] * num_rows
    job.note(
        "flop_check",
        "forward FLOPs of one batch as fed: formula beside torch's counter",
        formula_forward_flop=sum(forward_flop(job.dimensions, source, target) for source, target in lengths),
        counter_forward_flop=step.forward,
        counter_total_flop=step.total,
        total_per_forward=step.per_forward,
    )
