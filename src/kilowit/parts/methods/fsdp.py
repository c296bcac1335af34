"""fsdp: every process holds a part of each layer, and borrows the rest while that layer computes.

What it does   Cuts parameters, gradients and optimizer state of every encoder and decoder layer over `num_processes`
               processes of one machine (torch's fully_shard, FSDP2). A layer is gathered before its forward and
               backward pass and let go afterwards; with `reshard_after_forward` false it is kept between the two,
               as ZeRO stage 2 does. Losses and updates are those of one process. After training process 0 gathers
               the whole model and alone writes the summaries, exactly as without ranks.
               The successor of FairScale's FSDP.
When to use    When weights, gradients and optimizer state (16 bytes a parameter in fp32) do not fit one GPU.
When not       When they do: ddp sends less. On one GPU nothing is sharded. On a CPU it is applied, but
               memory is shared by the processes and nothing is saved. Prediction needs the whole model on one GPU.
Trade-off      train.memory_gpu_max_byte x0.9-2.0 (the sum over the GPUs: a 1/N of it on each)
               | train.wall_second x0.3-2.0 | rouge2 -0.003..+0.003 (N = 2 to 4)
Options        num_processes (2), reshard_after_forward (true), cpu_offload (false; parameters, gradients and
               optimizer state lie in host memory between their uses; needs a GPU to be a saving)
Works with     all others but those named.
               Conflicts with  adafactor, adam8bit, batch_size, compile, ddp, distill, early_stopping, ensemble, fp16,
               prune, zero, zero_offload.
Source         Zhao et al. 2023, arXiv 2304.11277; torch.distributed.fsdp.fully_shard. Ranges ours, from 4 + 4 + 8 bytes
               a parameter over N. Not through Trainer or Accelerate: on a CPU they ignore it in silence (measured,
               accelerate 1.15, 2026-11).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.ranks import Lack, evidence_of, is_partitioned, lacks_gpus, num_nvidia_gpus, spread
from kilowit.settings import Block, Settings

# Tried with two processes: adam8bit quantises blocks of a share and learns something else; distill, ensemble and prune
# read whole weights while they lie in parts. batch_size would find a batch of its own on each process.
CONFLICTS_WITH: Final = (
    "adafactor", "adam8bit", "batch_size", "compile", "ddp", "distill", "early_stopping", "ensemble", "fp16",
    "prune", "zero", "zero_offload",
)  # fmt: skip
FAMILIES: Final = None
_OURS: Final = "ours: 16 bytes a parameter once over all GPUs; a context, and the layer at hand, on each"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.9, 2.0, source=_OURS),
    Expectation("train.wall_second", 0.3, 2.0, source="ours: an estimate, to be replaced by a measured range"),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="the same gradient up to the order of its sums"),
)


class Options(Block):
    """How many processes, and what each gives back when."""

    num_processes: Annotated[int, Field(ge=2)] = Field(2, description="processes on this machine, one GPU each")
    reshard_after_forward: bool = Field(True, description="let a layer go between its forward and backward pass")
    cpu_offload: bool = Field(False, description="keep the parts in host memory between their uses")


def plan(settings: Settings, options: Options) -> Settings:
    """Spread training over processes."""
    rest = options.model_dump(exclude={"num_processes"})
    return spread(settings, "fsdp", options.num_processes, "fsdp", **rest)


def lacks_here(options: Options) -> Lack | None:
    """Say what this machine lacks."""
    if options.cpu_offload and num_nvidia_gpus() == 0:
        return Lack("an NVIDIA GPU for cpu_offload: on a CPU the parameters lie in host memory anyway")
    return lacks_gpus(options.num_processes)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show that parameters were DTensors in training, and how many elements each rank held."""
    if not run.ranks:
        return Evidence(False, {"num_processes": 1})
    held, state = ([getattr(rank, name) for rank in run.ranks] for name in ("num_elements_held", "num_state_elements"))
    whole = run.ranks[0].num_elements_whole
    numbers = {
        **evidence_of(run.ranks),
        "num_dtensor_parameters": run.ranks[0].num_sharded_tensors,
        "optimizer_device": run.ranks[0].state_device,
    }
    sharded = run.ranks[0].num_sharded_tensors > 0 and is_partitioned(held, whole) and max(state) <= max(held)
    offloaded = not options.cpu_offload or (run.ranks[0].state_device == "cpu" and run.ranks[0].device != "cpu")
    return Evidence(len(run.ranks) == options.num_processes and sharded and offloaded, numbers)


def shard_model(model: Any, device_type: str, *, reshard_after_forward: bool = True, cpu_offload: bool = False) -> Any:
    """Cut a model's parameters over the ranks of the process group, in place: each layer, then what is left.

    Parameters may lie on the host: each layer moves to `device_type` as it is cut, so that no GPU holds the whole.

    Args:
        model: an encoder-decoder of transformers.
        device_type: cpu or cuda.
        reshard_after_forward: False keeps a gathered layer until its backward pass.
        cpu_offload: keep the parts in host memory.
    """
    import torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    how = {
        "mesh": init_device_mesh(device_type, (dist.get_world_size(),)),
        "reshard_after_forward": reshard_after_forward,
        "offload_policy": CPUOffloadPolicy(pin_memory=device_type == "cuda") if cpu_offload else OffloadPolicy(),
    }
    for stack in (model.get_encoder(), model.get_decoder()):
        lists = (child for child in stack.children() if isinstance(child, nn.ModuleList))
        for layer in max(lists, key=len, default=()):  # `layers` of BART, `block` of T5
            fully_shard(layer, **how)
    return fully_shard(model, **how)
