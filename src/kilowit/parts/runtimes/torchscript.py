"""torchscript: a traced model in a file of its own (not available; torch_compile replaces it).

What it does   Ran a model from one file, without the Python code that built it, also from C++.
When to use    Not in kilowit: torch_compile leaves such a file too, compiled, and torch goes on to support it.
When not       Always. torch.jit has been deprecated since 2025-07 and a traced forward pass is no beam search.
Families       none
Source         docs.pytorch.org/docs/2.13, every page on torch.jit: deprecated, torch.export in its place.
               Ours, 2026-11, torch 2.13: torch.jit.trace of BART's forward pass gives exact logits at other shapes,
               with a DeprecationWarning; torch.jit.script fails on the configuration class. A trace freezes the
               branches of generate: its search would have to be written anew, for a file format that is going away.
"""

from __future__ import annotations

from typing import Final

UNAVAILABLE: Final = (
    "torch.jit is deprecated since 2025-07: it still traces a forward pass with a warning, does not script one, and "
    "holds no beam search; torch_compile (torch.export, AOTInductor) is its successor"
)
