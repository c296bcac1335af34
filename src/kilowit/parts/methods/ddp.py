"""ddp: every process holds the whole model and takes its share of each batch.

What it does   Trains as `num_processes` processes of one machine, one GPU each (on a CPU: sharing its cores). A batch
               of train.batch_size is shared out evenly; gradients are averaged while the backward pass runs, weighted
               by target tokens, so that losses and updates are those of one process. Validation is shared out too.
               Process 0 alone writes the summaries, with the whole model, exactly as without ranks; the
               others end after training.
When to use    When a machine has several GPUs and the batch is large enough to fill them.
When not       On one GPU, and on a CPU (there it tests the method: cores are shared, not added). When the model does
               not fit one GPU: see fsdp, zero. When prediction is most of the time: the other GPUs then idle.
Trade-off      train.wall_second x0.25-1.2 | train.energy_total_joule x0.9-1.5 | train.memory_gpu_max_byte x1.1-4.0 (the
               sum over the GPUs; one GPU holds all but the other shares' activations) | rouge2 -0.003..+0.003
               (N = 2 to 4)
Options        num_processes (2), bucket_mib (25; gradients sent at once), find_unused_parameters (false; true for
               models that leave parameters without gradient, as LED without global attention)
Works with     all others but those named.
               Conflicts with  batch_size, compile, fsdp, zero, zero_offload.
Source         Li et al. 2020, arXiv 2006.15704: buckets section 3.2.3. Ranges ours.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.ranks import Lack, evidence_of, lacks_gpus, spread
from kilowit.settings import Block, Count, Settings

# batch_size would find a batch of its own on each process.
CONFLICTS_WITH: Final = ("batch_size", "compile", "fsdp", "zero", "zero_offload")
FAMILIES: Final = None
_OURS: Final = "ours: an estimate, to be replaced by a measured range"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.25, 1.2, source=_OURS),
    Expectation("train.energy_total_joule", 0.9, 1.5, source=_OURS),
    Expectation("train.memory_gpu_max_byte", 1.1, 4.0, source="ours: weights, gradients and state N times over"),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="the same gradient up to the order of its sums"),
)


class Options(Block):
    """How many processes, and how gradients travel."""

    num_processes: Annotated[int, Field(ge=2)] = Field(2, description="processes on this machine, one GPU each")
    bucket_mib: Count = Field(25, description="gradients that are sent at once")
    find_unused_parameters: bool = Field(False, description="look for parameters without gradient at every step")


def plan(settings: Settings, options: Options) -> Settings:
    """Spread training over processes."""
    rest = options.model_dump(exclude={"num_processes"})
    return spread(settings, "ddp", options.num_processes, "ddp", **rest)


def lacks_here(options: Options) -> Lack | None:
    """Say what this machine lacks."""
    return lacks_gpus(options.num_processes)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show that so many ranks trained, and that their weights agree to the bit."""
    if not run.ranks:
        return Evidence(False, {"num_processes": 1})
    in_step = len({rank.weight_sum for rank in run.ranks}) == 1
    numbers = {**evidence_of(run.ranks), "weights_agree": in_step}
    return Evidence(len(run.ranks) == options.num_processes and in_step, numbers)
