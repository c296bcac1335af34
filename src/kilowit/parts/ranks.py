"""What the methods that spread training over several processes share: ddp, fsdp, zero, zero_offload.

The study's batch is shared out: a step sees the same examples however many processes take it, so that a recipe with
ranks learns what the recipe without them learns, and the two can be compared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from kilowit.errors import PartError
from kilowit.parts.executor import NUM_NODES_VARIABLE
from kilowit.settings import RankSettings, Settings


@dataclass(frozen=True)
class RankFacts:
    """What one rank held at the end of training, before anything was put together again."""

    rank: int
    backend: str  # gloo | nccl
    device: str  # of the forward pass
    num_elements_held: int  # of the parameters
    num_elements_whole: int  # of the parameters, all ranks together; tied weights count once
    num_sharded_tensors: int  # parameters that are DTensors, or partitioned by ZeRO
    num_state_elements: int  # trained parameters whose optimizer state this rank keeps
    state_device: str
    partitions_gradients: bool
    weight_sum: float  # of what it holds, in double precision: replicas must agree to the bit
    num_swapped_byte: int = 0  # in swap files on disk, all ranks together


def spread(
    settings: Settings, method: str, num_processes: int, wrapper: Literal["ddp", "fsdp", "deepspeed"], **options: Any
) -> Settings:
    """Return settings whose training runs as `num_processes` ranks.

    Raises:
        PartError: the study's batch cannot be shared out evenly, or ranks have been asked for already.
    """
    if settings.ranks.wrapper != "none":
        raise PartError(f'method "{method}": training is spread by {settings.ranks.wrapper} already', hint="Take one.")
    if settings.train.batch_size % num_processes:
        raise PartError(
            f'method "{method}": train.batch_size {settings.train.batch_size} is not shared out evenly over '
            f"{num_processes} processes",
            hint=f"Set train.batch_size to a multiple of {num_processes}.",
        )
    ranks = RankSettings(num_processes=num_processes, wrapper=wrapper, options=options)
    return settings.model_copy(update={"ranks": ranks})


def check_shares(settings: Settings) -> None:
    """Refuse a batch that the processes cannot share out evenly, whoever made it what it is.

    Raises:
        PartError: they cannot.
    """
    batch_size, num_processes = settings.train.batch_size, settings.ranks.num_processes
    if batch_size % num_processes:
        raise PartError(
            f"a forward pass of {batch_size} examples is not shared out evenly over {num_processes} processes",
            hint="Set train.batch_size, and num_parts of gradient_accumulation, so that each process has as many.",
        )


def num_nvidia_gpus() -> int:
    """Ask the driver, not torch: a study is checked without it."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def has_deepspeed() -> bool:
    """Whether DeepSpeed is installed; it is not imported, which takes seconds."""
    return find_spec("deepspeed") is not None


class Lack(NamedTuple):
    """What a machine lacks, and what to do."""

    what: str
    hint: str = "Exclude it, or run the study where it is; `kilowit plan --machine` plans for it."


def lacks_gpus(num_processes: int) -> Lack | None:
    """Say that this machine has GPUs, but fewer than processes; None = it has enough, or none and runs on its CPU."""
    number = num_nvidia_gpus()
    num_local = num_processes // int(os.environ.get(NUM_NODES_VARIABLE, "1"))
    what = f"{num_local} GPUs, one a process, and there are {number} here"
    return Lack(what) if 0 < number < num_local else None


def lacks_deepspeed() -> Lack | None:
    """Say that DeepSpeed is not installed."""
    hint = "Install it: DS_BUILD_OPS=0 pip install 'kilowit[deepspeed]'."
    return None if has_deepspeed() else Lack("the package deepspeed, which is not installed", hint)


def evidence_of(ranks: Sequence[RankFacts]) -> dict[str, Any]:
    """Return what a record keeps of the ranks, per rank where they differ."""
    return {
        "num_processes": len(ranks),
        "backend": ranks[0].backend,
        "device": ranks[0].device,
        "num_parameters": ranks[0].num_elements_whole,
        "parameters_held": [rank.num_elements_held for rank in ranks],
        "optimizer_parameters_held": [rank.num_state_elements for rank in ranks],
    }


def is_partitioned(held: Sequence[int], whole: int) -> bool:
    """Whether ranks hold equal parts of a whole: each its share, with a tenth and some padding to spare."""
    return len(held) > 1 and sum(held) >= whole and max(held) <= 1.1 * whole / len(held) + 1024
