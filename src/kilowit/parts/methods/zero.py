"""zero: DeepSpeed's ZeRO: processes share out optimizer state, then gradients, then parameters.

What it does   Trains as `num_processes` processes of one machine, each with its share of every batch. Stage 1 cuts the
               optimizer's state over them, stage 2 the gradients too, stage 3 the parameters too, gathered
               layer by layer as they are needed. Losses and updates are those of one process. After training process
               0 has the whole model and alone writes the summaries, exactly as without ranks.
When to use    When 16 bytes a parameter (fp32 weights, gradients, two moments) do not fit one GPU. Stage 1 or 2 first:
               they send no more than ddp; stage 3 sends half as much again.
When not       On one GPU: stages 1, 2 and 3 shard nothing there, and only their overhead would be measured: one
               process is refused; zero_offload is the mode for one GPU. When the model fits: ddp.
               On a CPU it is applied, but memory is shared by the processes and nothing is saved.
Trade-off      train.memory_gpu_max_byte x0.9-3.0 (the sum over the GPUs: a 1/N of it on each)
               | train.wall_second x0.3-2.0 | rouge2 -0.003..+0.003 (N = 2 to 4)
Options        stage (2), num_processes (2), allgather_bucket_size (500,000,000 elements), reduce_bucket_size
               (500,000,000), parameter_persistence_threshold (100,000; stage 3 leaves smaller parameters whole)
Works with     all others but those named.
               Conflicts with  adafactor, adam8bit, batch_size, compile, ddp, distill, early_stopping, ensemble, fp16,
               fsdp, prune, zero_offload.
Source         Rajbhandari et al. 2020, arXiv 1910.02054, section 5 and figure 1: per parameter 4 + 4 + 8 bytes in fp32
               become 8 + 8/N (stage 1), 4 + 12/N (2), 16/N (3). Needs deepspeed 0.19 (extra `deepspeed`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.ranks import Lack, evidence_of, is_partitioned, lacks_deepspeed, lacks_gpus, spread
from kilowit.settings import Block, Count, Settings

# Tried with two processes: adam8bit quantises blocks of a share and learns something else; distill, ensemble and prune
# read whole weights while they lie in parts. batch_size would find a batch of its own on each process.
CONFLICTS_WITH: Final = (
    "adafactor", "adam8bit", "batch_size", "compile", "ddp", "distill", "early_stopping", "ensemble", "fp16",
    "fsdp", "prune", "zero_offload",
)  # fmt: skip
FAMILIES: Final = None
_FIGURE: Final = "arXiv 1910.02054, figure 1: 16 bytes a parameter in all (stage 3) to 8 N + 8 (stage 1)"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.9, 3.0, source=_FIGURE),
    Expectation("train.wall_second", 0.3, 2.0, source="ours: an estimate, to be replaced by a measured range"),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="the same gradient up to the order of its sums"),
)


class Options(Block):
    """How far to share out, and how much travels at once."""

    stage: Literal[1, 2, 3] = Field(2, description="1 optimizer state, 2 and gradients, 3 and parameters")
    num_processes: Annotated[int, Field(ge=2)] = Field(2, description="processes on this machine, one GPU each")
    allgather_bucket_size: Count = Field(500_000_000, description="elements gathered at once")
    reduce_bucket_size: Count = Field(500_000_000, description="gradient elements reduced at once")
    parameter_persistence_threshold: Annotated[int, Field(ge=0)] = Field(
        100_000, description="stage 3: elements below which a parameter stays whole on every process"
    )


def plan(settings: Settings, options: Options) -> Settings:
    """Spread training over processes."""
    return spread(settings, "zero", options.num_processes, "deepspeed", zero_optimization=zero_block(options))


def lacks_here(options: Options) -> Lack | None:
    """Say what this machine lacks."""
    return lacks_deepspeed() or lacks_gpus(options.num_processes)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the partitions: optimizer state always, gradients from stage 2, parameters in stage 3."""
    if not run.ranks:
        return Evidence(False, {"num_processes": 1})
    ranks, whole = run.ranks, run.ranks[0].num_elements_whole
    num_trained = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    numbers = {
        **evidence_of(ranks),
        "stage": options.stage,
        "partitions_gradients": ranks[0].partitions_gradients,
        "num_partitioned_parameters": ranks[0].num_sharded_tensors,
    }
    shares_state = is_partitioned([rank.num_state_elements for rank in ranks], num_trained)
    shares_gradients = options.stage == 1 or ranks[0].partitions_gradients
    held = [rank.num_elements_held for rank in ranks]
    shares_parameters = options.stage < 3 or (ranks[0].num_sharded_tensors > 0 and max(held) < whole)
    return Evidence(shares_state and shares_gradients and shares_parameters, numbers)


def zero_block(options: Options) -> dict[str, Any]:
    """Return DeepSpeed's block `zero_optimization`."""
    block: dict[str, Any] = {
        "stage": options.stage,
        "allgather_bucket_size": options.allgather_bucket_size,
        "reduce_bucket_size": options.reduce_bucket_size,
        "contiguous_gradients": True,
        "overlap_comm": False,
    }
    if options.stage == 3:
        block["stage3_param_persistence_threshold"] = options.parameter_persistence_threshold
    return block
