"""horovod: data parallel training by ring all-reduce (not available; ddp replaces it).

What it does   Averages gradients over processes with a ring of its own (MPI, gloo or NCCL) behind any optimizer.
When to use    Not in kilowit: torch's DistributedDataParallel does the same over the same NCCL and gloo.
When not       Always. There is no release since 2023-06, and the stock source does not compile against today's torch.
Trade-off      none promised
Options        none
Works with     nothing here.   Conflicts with  nothing.
Source         Sergeev and Del Balso 2018, arXiv 1802.05799; github.com/horovod/horovod issue 3996 (C++17; its fix, pull
               request 3998, is merged and unreleased). Ours, 2026-11: version 0.28.1 with CMAKE_CXX_STANDARD 17 in two
               CMakeLists.txt builds in 3 minutes (gloo, no MPI) and takes BART steps in two processes on torch 2.13.
"""

from __future__ import annotations

from typing import Final

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
EXPECTS: Final = ()
UNAVAILABLE: Final = (
    "Horovod 0.28.1 (2023-06, the last release) does not compile against today's torch, which needs C++17; only a "
    "patched source builds"
)
SUCCESSOR: Final = "ddp"
