"""fairscale: sharded data parallel training by FairScale (not available; zero and fsdp replace it).

What it does   Shards optimizer state (OSS), gradients (ShardedDDP) and parameters (FSDP) over data-parallel ranks.
When to use    Not in kilowit: its three parts live on elsewhere, in maintained form.
When not       Always. The last release, 0.4.13, is of 2022; transformers removed its sharded_ddp.
Trade-off      none promised
Options        none
Works with     nothing here.   Conflicts with  nothing.
Source         github.com/facebookresearch/fairscale. Ours, 2026-11, torch 2.13 on a CPU, two gloo processes: OSS with
               DDP, ShardedDDP and checkpoint_wrapper train BART with the losses of DDP; its FSDP asserts CUDA.
"""

from __future__ import annotations

from typing import Final

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
EXPECTS: Final = ()
UNAVAILABLE: Final = (
    "FairScale 0.4.13 is of 2022 and frozen; its sharding still runs on torch 2.13, but its FSDP asserts CUDA and "
    "transformers 5 has no sharded_ddp any more"
)
SUCCESSOR: Final = "zero (stage 1 is its OSS, stage 2 its ShardedDDP) or fsdp (its FSDP)"
