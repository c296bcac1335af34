"""Fine-tuning, side by side in one call: the stock Seq2SeqTrainer, the same with length groups, a recipe of ours.

    python benchmarks/train.py --size mini --device cpu            # minutes on two cores
    python benchmarks/train.py --size large --device cuda          # the bar of the frugal recipe, one H100
    python benchmarks/train.py --size mini --recipe packing bf16,packing

Every side is a process of its own, starts from the same weights, takes the same examples, and is charged all that
happens from its engine's start to the last step: warm-up and compilation too, the imports and the corpus not. With
`--data FOLDER` (train.jsonl, validation.jsonl: document, summary) the texts are real and the validation loss says what
was learned; without it lengths are drawn as in SAMSum and tokens at random.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from meter_bars import Bar, at_least, at_most, report

from train_sides import Result, run_side

STOCK, GROUPED = "stock", "group_by_length"
FULL_EXAMPLES = {"large": 14_731, "mini": 768}
NUM_EPOCHS = {"large": 3.0, "mini": 1.0}
BARS_LARGE = {"wall_second": (30.0, "s"), "energy_joule": (18_000.0, "J")}
BAR_MINI = 3.0


def main() -> int:
    """Run all sides and print the table with its bars; 1 if a bar is not met."""
    options = arguments()
    if options.side:
        print("RESULT " + json.dumps(run_side(options).as_dict()))
        return 0
    results: dict[str, Result] = {}
    for repeat in range(options.repeats):
        names = [STOCK, GROUPED, *options.recipe]
        for name in names if repeat % 2 == 0 else reversed(names):
            result = in_process(name)
            if result is None:
                continue
            best = results.get(name)
            results[name] = result if best is None else best.better_of(result)
    print(table(options, results))
    return report("Bars", bars(options, results)) if STOCK in results else 1


def arguments() -> argparse.Namespace:
    """Read the command line; defaults depend on the size and the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("large", "mini"), default="mini", help="bart-large or bart-mini")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None, help="default: CUDA where there is one")
    parser.add_argument("--recipe", nargs="+", default=None, help="packaged recipes, or methods joined by commas")
    parser.add_argument("--data", type=Path, default=None, help="folder with train.jsonl and validation.jsonl")
    parser.add_argument("--tokenizer", type=Path, default=None, help="folder; default: trained on the data")
    parser.add_argument("--examples", type=int, default=None, help="training examples; default: all, or 768 for mini")
    parser.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--batch", type=int, default=None, help="default: 128 for large, 16 for mini")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1, help="each side's fastest run counts")
    parser.add_argument("--side", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device is None:
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    options.recipe = options.recipe or ["frugal_gpu" if options.device == "cuda" else "frugal"]
    options.examples = options.examples or FULL_EXAMPLES[options.size]
    options.epochs = options.epochs or NUM_EPOCHS[options.size]
    options.batch = options.batch or (128 if options.size == "large" else 16)
    return options


def in_process(name: str) -> Result | None:
    """Run one side in a process of its own; None, with its last words, if it fails."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, check=False)
        line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
        if line is None:
            errors.seek(0)
            print(f"{name}: failed\n{errors.read()[-2000:]}", file=sys.stderr)
            return None
    return Result(**json.loads(line.removeprefix("RESULT ")))


def table(options: argparse.Namespace, results: dict[str, Result]) -> str:
    """Return the table in Markdown."""
    stock = results.get(STOCK)
    columns = "side | wall s | samples/s | x stock | CPU s | x less CPU s | kJ | J/sample | peak GB | loss | val. loss"
    lines = [
        f"bart-{options.size}, {options.examples} examples x {options.epochs:g} epochs, batch {options.batch}, "
        f"{options.device}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, "
        f"{'texts of --data' if options.data else 'random tokens of SAMSum-like lengths'}",
        "",
        f"| {columns} |",
        "|---" * (columns.count("|") + 1) + "|",
    ]
    for name, r in results.items():
        faster = r.samples_per_second / stock.samples_per_second if stock else float("nan")
        less = stock.cpu_second / r.cpu_second if stock else float("nan")
        lines.append(
            f"| {name} | {r.wall_second:.1f} | {r.samples_per_second:.1f} | {faster:.2f} | {r.cpu_second:.1f} | "
            f"{less:.2f} | {r.energy_joule / 1e3:.2f} ({r.energy_source}) | {r.energy_joule / r.num_examples:.2f} | "
            f"{r.peak_memory_byte / 1e9:.1f} | {r.loss_first:.3f} -> {r.loss_last:.3f} | {r.validation_loss:.4f} |"
        )
    parts = {name: r.parts for name, r in results.items() if r.parts}
    return "\n".join([*lines, "", *(f"{name}: {json.dumps(shown)}" for name, shown in parts.items())])


def bars(options: argparse.Namespace, results: dict[str, Result]) -> list[Bar]:
    """Return what our recipes have to reach."""
    stock, found = results[STOCK], []
    for name in options.recipe:
        ours = results.get(name)
        if ours is None:
            continue
        if options.size == "large":
            for figure, (bar, unit) in BARS_LARGE.items():
                found.append(at_most(f"{name}: {figure}", getattr(ours, figure), bar, unit, 1))
        else:
            rate = ours.samples_per_second / stock.samples_per_second
            found.append(at_least(f"{name}: samples/s over stock", rate, BAR_MINI, "x", 2))
            less = stock.cpu_second / ours.cpu_second
            found.append(at_least(f"{name}: stock CPU-seconds over ours", less, BAR_MINI, "x", 2))
    return found


if __name__ == "__main__":
    sys.exit(main())
