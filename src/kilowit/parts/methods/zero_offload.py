"""zero_offload: DeepSpeed's ZeRO with optimizer state, and in stage 3 parameters, outside the GPU.

What it does   Keeps the optimizer's state in host memory (`device` cpu, ZeRO-Offload) or in files (`device` nvme,
               ZeRO-Infinity, stage 3), and in stage 3 the parameters too; the update is computed on the CPU, by torch's
               fused AdamW. Gradients and updated weights travel at every step. Works with one GPU; with more, each
               process keeps its share. Losses and updates are those of plain training.
When to use    When a model does not fit the GPU that there is, and time matters less.
When not       When it fits: the GPU waits for the CPU and still draws power. On a CPU: `cpu` is refused, for all
               lies in host memory anyway. `nvme` for small models: DeepSpeed never swaps a tensor below 1 MiB
               per process, and a run without swap files fails as not applied. ZeRO stages 1, 2 and 3 themselves shard
               nothing on one GPU: what is measured there is the offload.
Trade-off      train.memory_gpu_max_byte x0.2-0.8 | train.wall_second x1.0-6.0 | rouge2 -0.003..+0.003
Options        device (cpu | nvme), stage (2 or 3; nvme needs 3), num_processes (1), path (folder on an NVMe disk, for
               nvme), buffer_elements (8,000,000; nvme: the largest parameter must fit)
Works with     all others but those named.
               Conflicts with  adafactor, adam8bit, batch_size, compile, ddp, distill, early_stopping, ensemble, fp16,
               fsdp, prune, zero.
Source         Ren et al. 2021, arXiv 2101.06840 (ZeRO-Offload); Rajbhandari et al. 2021, arXiv 2104.07857
               (ZeRO-Infinity). Ranges ours. Needs deepspeed 0.19 (extra `deepspeed`); nvme also libaio with its
               headers and a C++ compiler, whose run of minutes the first cell pays for.
"""

from __future__ import annotations

from ctypes.util import find_library
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.ranks import Lack, evidence_of, lacks_deepspeed, lacks_gpus, num_nvidia_gpus, spread
from kilowit.settings import Block, Count, Settings

# Tried with two processes: adam8bit quantises blocks of a share and learns something else; distill, ensemble and prune
# read whole weights while they lie in parts. batch_size would find a batch of its own on each process.
CONFLICTS_WITH: Final = (
    "adafactor", "adam8bit", "batch_size", "compile", "ddp", "distill", "early_stopping", "ensemble", "fp16",
    "fsdp", "prune", "zero",
)  # fmt: skip
FAMILIES: Final = None
_OURS: Final = "ours: an estimate, to be replaced by a measured range"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.2, 0.8, source="ours: 16 bytes a parameter become 4 to 8 on the GPU"),
    Expectation("train.wall_second", 1.0, 6.0, source=_OURS),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="the same update, computed elsewhere"),
)


class Options(Block):
    """What lies where."""

    device: Literal["cpu", "nvme"] = Field("cpu", description="host memory or files")
    stage: Literal[2, 3] = Field(2, description="2 offloads optimizer state, 3 parameters too")
    num_processes: Count = Field(1, description="processes on this machine, one GPU each")
    path: str | None = Field(None, description="nvme: folder of the swap files, on a fast local disk")
    buffer_elements: Count = Field(8_000_000, description="nvme: elements of one buffer in host memory")

    @model_validator(mode="after")
    def _nvme_is_whole(self) -> Self:
        if (self.device == "nvme") != (self.path is not None):
            raise ValueError("path names the folder for device nvme, and is for it alone")
        if self.device == "nvme" and self.stage != 3:
            raise ValueError("device nvme needs stage 3")
        return self


def plan(settings: Settings, options: Options) -> Settings:
    """Run training under DeepSpeed."""
    extra = {"aio": AIO, "swap_path": options.path} if options.device == "nvme" else {}
    block = offload_block(options)
    return spread(settings, "zero_offload", options.num_processes, "deepspeed", zero_optimization=block, **extra)


def lacks_here(options: Options) -> Lack | None:
    """Say what this machine lacks."""
    if options.device == "cpu" and num_nvidia_gpus() == 0:
        return Lack("an NVIDIA GPU: on a CPU all lies in host memory anyway")
    if options.device == "nvme" and find_library("aio") is None:
        return Lack(
            "libaio, through which DeepSpeed writes its swap files", "Debian and Ubuntu: apt install libaio-dev."
        )
    return lacks_deepspeed() or lacks_gpus(options.num_processes)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show where the optimizer's state was, beside where the forward pass ran; for nvme the bytes of swap files."""
    if not run.ranks:
        return Evidence(False, {"num_processes": 1})
    first = run.ranks[0]
    numbers = {
        **evidence_of(run.ranks),
        "stage": options.stage,
        "optimizer_device": first.state_device,
        "num_partitioned_parameters": first.num_sharded_tensors,
        "num_swapped_byte": first.num_swapped_byte,
    }
    if options.device == "nvme":
        return Evidence(first.num_swapped_byte > 0, numbers)
    return Evidence(first.state_device == "cpu" and first.device != "cpu", numbers)


# As in DeepSpeed's ZeRO-Infinity tutorial, one thread.
AIO: Final = {
    "block_size": 262144, "queue_depth": 8, "thread_count": 1, "single_submit": False, "overlap_events": True,
}  # fmt: skip


def offload_block(options: Options) -> dict[str, Any]:
    """Return DeepSpeed's block `zero_optimization`."""
    where: dict[str, Any] = {"device": options.device, "pin_memory": num_nvidia_gpus() > 0}
    if options.device == "nvme":
        where["nvme_path"] = options.path
    block: dict[str, Any] = {
        "stage": options.stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "offload_optimizer": dict(where),
    }
    if options.stage == 3:
        buffers = {"buffer_count": 5, "buffer_size": options.buffer_elements} if options.device == "nvme" else {}
        block |= {"offload_param": {**where, **buffers}, "stage3_param_persistence_threshold": 0}
    return block
