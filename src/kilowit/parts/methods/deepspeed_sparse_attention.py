"""deepspeed_sparse_attention: block-sparse attention by DeepSpeed (not available; sparse_attention replaces it).

What it does   Replaced dense self-attention by Triton kernels over a block layout: fixed, BigBird or Longformer.
When to use    Not in kilowit: the window with global tokens that it offered is the method sparse_attention.
When not       Always. DeepSpeed has taken it out.
Trade-off      none promised
Options        none
Works with     nothing here.   Conflicts with  nothing.
Source         github.com/deepspeedai/DeepSpeed issue 4857, pull requests 1608, 8489 and 8493. Ours, 2026-11, DeepSpeed
               0.19.8: the module is gone, and a configuration with `sparse_attention` raises DeepSpeedConfigError. Its
               last form needed triton 1.0.0 and ran on Ampere at most.
"""

from __future__ import annotations

from typing import Final

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
EXPECTS: Final = ()
UNAVAILABLE: Final = (
    "DeepSpeed 0.19.8 has removed it: there is no such module, and a configuration that names it raises "
    "DeepSpeedConfigError"
)
SUCCESSOR: Final = "sparse_attention (window and global tokens, on CPU and GPU)"
