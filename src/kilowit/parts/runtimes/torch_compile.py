"""torch_compile: encoder and decoding step compiled ahead of time by AOTInductor, the successor of TorchScript.

What it does   Exports the encoder and one step of torch_fast's decoder with torch.export, any batch, beam and length,
               compiles both to machine code with their weights packed, and searches as torch_fast does. An export is
               refused if it does not write the tokens of the model.
When to use    On a CPU with torch, where a model serves for long: compiling takes about a minute, once.
When not       On a GPU (torch_fast replays CUDA graphs there), in 8 bits, or on another CPU than it was compiled on.
Families       bart, mt5, pegasus, t5
Precisions     fp32
Source         Ansel et al. 2024, PyTorch 2, ASPLOS, doi 10.1145/3620665.3640366; docs.pytorch.org, AOTInductor. Ours,
               2026-11, bart-base, greedy, one CPU thread: a step compiled and packed so takes 0.52 of the CPU time of
               transformers' generate, 0.88 where the weights are not packed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.errors import PartError
from kilowit.parts.runtime import RuntimeOptions, TokenGenerator

FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
PRECISIONS: Final = ("fp32",)
DEVICES: Final = ("cpu",)
REQUIRES: Final = ("torch", "transformers")


def export(model: Path, folder: Path, precision: str) -> None:
    """Compile the model for this machine's CPU; needs a C++ compiler.

    Raises:
        PartError: the model cannot be loaded or compiled, or the compiled one writes something else.
    """
    from kilowit.parts.compiled import export_compiled

    if precision not in PRECISIONS:
        raise PartError(f'torch_compile has no precision "{precision}"', hint="Take fp32.")
    export_compiled(model, folder)


def load(folder: Path, options: RuntimeOptions) -> TokenGenerator:
    """Load an exported folder.

    Raises:
        PartError: the folder is not whole.
    """
    from kilowit.parts.compiled import CompiledGenerator

    return CompiledGenerator(folder, options)
