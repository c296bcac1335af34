"""Fine-tuning, side by side in one call: the stock Seq2SeqTrainer, the same with length groups, a recipe of ours.

    python benchmarks/train.py --size mini --device cpu            # minutes on two cores
    python benchmarks/train.py --size large --device cuda          # the bar of the frugal recipe, one H100
    python benchmarks/train.py --size mini --recipe packing bf16,packing
    python benchmarks/train.py --size minilm --data FOLDER --seeds 0 1 2 --without group_by_length   # a warm start

Every side is a process of its own, starts from the same weights, takes the same examples, and is charged all that
happens from its engine's start to the last step: warm-up and compilation too, the imports and the corpus not. With
`--data FOLDER` (train.jsonl, validation.jsonl: document, summary) the texts are real and the validation loss says what
was learned; `--tokens FILE` reads what `--data FOLDER --write-tokens FILE` has tokenized before; without either lengths
are drawn as in SAMSum and tokens at random. With three seeds or more it asks whether a recipe learns what the stock
trainer learns, within the spread of the stock trainer's own seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bars import Bar, at_least, at_most, report
from train_data import NUM_VALIDATION, VOCABULARY_SIZE, examples, write_tokens
from train_sides import Result, run_side

STOCK, GROUPED = "stock", "group_by_length"
FULL_EXAMPLES = {"large": 14_731, "mini": 768, "tiny": 768, "minilm": 512}
NUM_EPOCHS = {"large": 3.0, "mini": 1.0, "tiny": 1.0, "minilm": 1.0}
BARS_LARGE = {"wall_second": (30.0, "s"), "energy_joule": (18_000.0, "J")}
BAR_MINI = 3.0
SEEDS_FOR_LEARNING = 3


def main() -> int:
    """Run all sides and print the table with its bars; 1 if a bar is not met."""
    options = arguments()
    if options.write_tokens:
        write_tokens(options.write_tokens, examples(options, VOCABULARY_SIZE[options.size]))
        return 0
    if options.side:
        if (result := run_side(options)) is not None:
            print("RESULT " + json.dumps(result.as_dict()), flush=True)
        return 0
    results: dict[str, list[Result]] = {}
    for number, seed in enumerate(options.seeds):
        names = [name for name in (*options.recipe, STOCK, GROUPED) if name not in options.without]
        for name in names if number % 2 == 0 else reversed(names):
            if (result := in_process(name, seed)) is not None:
                results.setdefault(name, []).append(result)
    print(table(options, results), flush=True)
    return report("Bars", bars(options, results)) if STOCK in results or options.size == "large" else 1


def arguments() -> argparse.Namespace:
    """Read the command line; defaults depend on the size and the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=(*FULL_EXAMPLES,), default="mini", help="bart-large, ...; minilm: warm")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None, help="default: CUDA where there is one")
    parser.add_argument("--recipe", nargs="+", default=None, help="packaged recipes, or methods joined by commas")
    parser.add_argument("--data", type=Path, default=None, help="folder with train.jsonl and validation.jsonl")
    parser.add_argument("--tokenizer", type=Path, default=None, help="folder; default: trained on the data")
    parser.add_argument("--examples", type=int, default=None, help="training examples; default: all, or 768 for mini")
    parser.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--batch", type=int, default=None, help="default: 128 for large, 16 for mini")
    parser.add_argument("--stock-epochs", type=float, default=None, help="of the stock sides; default: --epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each side's fastest run counts")
    parser.add_argument("--without", nargs="+", default=[], help="stock sides to leave out")
    parser.add_argument("--tokens", type=Path, default=None, help="file of --write-tokens, in place of --data")
    parser.add_argument("--write-tokens", type=Path, default=None, help="tokenize --data into a file, and end")
    parser.add_argument("--profile", action="store_true", help="with --side: print the kernels of some steps")
    parser.add_argument("--side", default=None, help="run this side alone, in this process")
    parser.add_argument("--seed", type=int, default=0, help="of --side")
    options = parser.parse_args()
    if options.size == "minilm" and not (options.data or options.tokens):
        parser.error("--size minilm starts from trained weights: give it texts, with --data FOLDER")
    if options.device is None:
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    options.recipe = options.recipe or ["frugal_gpu" if options.device == "cuda" else "frugal"]
    options.examples = options.examples or FULL_EXAMPLES[options.size]
    options.epochs = options.epochs or NUM_EPOCHS[options.size]
    options.stock_epochs = options.stock_epochs or options.epochs
    options.batch = options.batch or (128 if options.size == "large" else 16)
    return options


def in_process(name: str, seed: int) -> Result | None:
    """Run one side in a process of its own and say at once what came of it; None, with its last words, if it fails."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    began_second = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", name, "--seed", str(seed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, check=False)
        line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
        if line is None:
            errors.seek(0)
            print(f"{name}: failed\n{errors.read()[-3000:]}", file=sys.stderr, flush=True)
            return None
    result = Result(**json.loads(line.removeprefix("RESULT ")))
    process_second = time.perf_counter() - began_second
    print(
        f"{name}, seed {seed}: {result.wall_second:.1f} s ({process_second:.0f} s with imports, data and model), "
        f"{result.energy_joule / 1e3:.2f} kJ, validation loss {result.validation_loss:.4f} {json.dumps(result.parts)}",
        flush=True,
    )
    return result


def table(options: argparse.Namespace, results: dict[str, list[Result]]) -> str:
    """Return the table in Markdown: each side's fastest run, and the validation loss of every seed."""
    stock = fastest(results[STOCK]) if STOCK in results else None
    columns = (
        "side | epochs | wall s | samples/s | x stock | CPU s | x less CPU s | kJ | J/sample | peak GB | padding | "
        "val. loss"
    )
    texts = "texts of --tokens" if options.tokens else "texts of --data" if options.data else "random tokens"
    lines = [
        f"{'' if options.size == 'minilm' else 'bart-'}{options.size}, {options.examples} examples, "
        f"batch {options.batch}, {options.device}, "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {texts}, {NUM_VALIDATION} validation examples",
        "",
        f"| {columns} |",
        "|---" * (columns.count("|") + 1) + "|",
    ]
    for name, runs in results.items():
        r = fastest(runs)
        faster = r.samples_per_second / stock.samples_per_second if stock else float("nan")
        less = stock.cpu_second_per_sample / r.cpu_second_per_sample if stock else float("nan")
        epochs = options.stock_epochs if name in (STOCK, GROUPED) else options.epochs
        losses = ", ".join(f"{run.validation_loss:.4f}" for run in sorted(runs, key=lambda run: run.seed))
        lines.append(
            f"| {name} | {epochs:g} | {r.wall_second:.1f} | {r.samples_per_second:.1f} | {faster:.2f} | "
            f"{r.cpu_second:.1f} | {less:.2f} | {r.energy_joule / 1e3:.2f} ({r.energy_source}) | "
            f"{r.joule_per_sample:.2f} | {r.peak_memory_byte / 1e9:.1f} | {r.padding_fraction:.1%} | {losses} |"
        )
    return "\n".join(lines)


def fastest(runs: list[Result]) -> Result:
    """Return the fastest run: other programs on the machine only ever slow down."""
    return min(runs, key=lambda run: run.wall_second)


def bars(options: argparse.Namespace, results: dict[str, list[Result]]) -> list[Bar]:
    """Return what our recipes have to reach."""
    found: list[Bar] = []
    for name in (name for name in options.recipe if name in results):
        ours = fastest(results[name])
        if options.size == "large":
            for figure, (bar, unit) in BARS_LARGE.items():
                found.append(at_most(f"{name}: {figure}", getattr(ours, figure), bar, unit, 1))
        if STOCK not in results:
            continue
        stock = fastest(results[STOCK])
        if options.size != "large":
            rate = ours.samples_per_second / stock.samples_per_second
            found.append(at_least(f"{name}: samples/s over stock", rate, BAR_MINI, "x", 2))
            less = stock.cpu_second_per_sample / ours.cpu_second_per_sample
            found.append(at_least(f"{name}: stock CPU-seconds over ours", less, BAR_MINI, "x", 2))
        if len(options.seeds) >= SEEDS_FOR_LEARNING and options.stock_epochs == options.epochs:
            found.append(equal_learning(name, results[name], results[STOCK]))
    return found


def equal_learning(name: str, ours: list[Result], stock: list[Result]) -> Bar:
    """Return the distance of the mean validation losses beside the range of the stock trainer's seeds."""
    losses = [run.validation_loss for run in stock]
    distance = abs(statistics.mean(run.validation_loss for run in ours) - statistics.mean(losses))
    return at_most(f"{name}: mean validation loss from stock's", distance, max(losses) - min(losses), "", 4)


if __name__ == "__main__":
    sys.exit(main())
