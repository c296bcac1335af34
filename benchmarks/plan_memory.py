"""Memory of a training step, as the plan says it beside what the step took, for every family on this CPU.

usage: python benchmarks/plan_memory.py [SIZE...]   (default: tiny and mini of every family; 2 minutes)

Counted: the bytes of all tensors that live at once in a forward and backward pass over full batches (weights,
gradients, activations), storage by storage, and AdamW's state. `src/kilowit/plan/activations.py` was fitted to such
counts at (64, 16), (128, 32), (256, 48), (512, 64) and (128, 128) tokens.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kilowit.parts import catalogue
from step_memory import LENGTHS, counted_byte, planned_byte


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description="memory of a training step, planned and counted")
    default = [name for name in catalogue.scratch_names() if name.endswith(("-tiny", "-mini"))]
    parser.add_argument("sizes", nargs="*", default=default)
    print("| model | source | target | counted MB | planned MB | planned / counted |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().sizes:
            for num_source, num_target in LENGTHS:
                counted = counted_byte(name, num_source, num_target)
                planned = planned_byte(name, num_source, num_target, Path(folder))
                row = f"| {name} | {num_source} | {num_target} | {counted / 1e6:.1f} | {planned / 1e6:.1f} "
                print(f"{row}| {planned / counted:.2f} |", flush=True)


if __name__ == "__main__":
    main()
