"""Set the CPU runtimes beside torch: CPU time a token, memory, start, and how much they say the same.

    python benchmarks/runtimes.py speed [--shared DIR] [--shape bart-base t5-base]
    python benchmarks/runtimes.py memory [--shared DIR] [--shape bart-base]
    python benchmarks/runtimes.py fidelity --corpus DIR [--model FOLDER] [--documents 200]

`--shared` holds data/configs and data/tokenizers: the shapes get random weights, for speed does not depend on them.
Speed: one thread, one source of 512 tokens, 64 new ones, engines take turns, the least of three rounds counts; CPU
seconds, which other load hardly moves. Memory: each in a process of its own, from the start of Python to its first
summary. Fidelity needs a trained model, for random weights repeat one token whatever the precision: `--model` names
one, else a small BART is trained from scratch on the corpus in a few minutes. Exports stay in `--folder`. Beside the
tokens at the same place it gives the next-token agreement: given what fp32 wrote up to there, how often is the most
likely next token the same? The former counts all that follows a first difference, the latter the runtime's error alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bars import Bar, at_most, report
from kilowit import parts
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions
from kilowit.parts.summarizer_folder import open_codec
from kilowit.statistics.contrast import contrast_of_outputs

ENGINES = (
    ("torch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("ctranslate2", "fp32"),
    ("ctranslate2", "int8"), ("openvino", "fp32"),
)  # fmt: skip
FAITHFUL = (
    ("torch_fast", "fp32"), ("onnxruntime", "fp16"), ("onnxruntime", "int8_static"), ("torch_fast", "bf16"),
)  # fmt: skip
TOKENIZERS = {"bart-base": "bart", "t5-base": "t5"}
NUM_SOURCE, NUM_NEW, NUM_ROUNDS = 512, 64, 3
SPEED_BARS = {1: 5.0, 4: 5.5}  # best runtime over torch, by beams
MEMORY_MIB, LOAD_SECOND, COLD_SECOND = 350, 0.5, 2.0
TOKEN_MATCH, ROUGE_POINTS = 0.995, 0.3
NUM_CALIBRATION = 64  # the default of the method int8_static


def chosen(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the engines that were asked for; torch is what the others are compared with."""
    known = (*ENGINES, *FAITHFUL) if args.what == "fidelity" else ENGINES
    return [pair for pair in known if not args.engine or " ".join(pair) in ("torch fp32", *args.engine)]


def random_model(shared: Path, shape: str, folder: Path) -> Path:
    """Save a model of this shape with random weights, with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig

    if not folder.is_dir():
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(shared / "data" / "configs" / shape)
        config.vocab_size = min(config.vocab_size, 32100) if shape.startswith("t5") else config.vocab_size
        model = AutoModelForSeq2SeqLM.from_config(config)
        ids = {name: getattr(config, name, None) for name in ("eos_token_id", "pad_token_id", "decoder_start_token_id")}
        model.generation_config = GenerationConfig(**ids)  # no forced tokens: all write as much
        model.config.forced_eos_token_id = None
        model.save_pretrained(folder)
        for path in (shared / "data" / "tokenizers" / TOKENIZERS[shape]).iterdir():
            shutil.copy(path, folder)
    return folder


def exported(model: Path, folder: Path, runtime: str, precision: str, sources: Sequence[Sequence[int]] = ()) -> Path:
    """Export a model, unless that has been done; int8_static is calibrated on `sources`."""
    if runtime in ("torch", "torch_fast"):
        return model
    target = folder / f"{model.name}-{runtime}-{precision}"
    if not (target / "summarizer.json").is_file():
        began = time.perf_counter()
        if precision == "int8_static":
            from kilowit.parts.onnx_export import export_onnx

            export_onnx(model, target, precision, runtime=runtime, calibration=sources)
        else:
            parts.load("runtimes", runtime).export(model, target, precision)
        megabytes = sum(path.stat().st_size for path in target.rglob("*")) / 1e6
        print(f"{target.name}: exported in {time.perf_counter() - began:.1f} s, {megabytes:.0f} MB", flush=True)
    return target


def load(folder: Path, runtime: str, precision: str) -> Any:
    """Load an export on one thread."""
    return parts.load("runtimes", runtime).load(folder, RuntimeOptions(precision=precision, num_threads=1))


def speed(args: argparse.Namespace, folder: Path) -> list[Bar]:
    """Measure CPU seconds a token."""
    import numpy as np

    rows: list[Bar] = []
    for shape in args.shape:
        model = random_model(args.shared, shape, folder / shape)
        engines = {
            f"{runtime} {precision}": load(exported(model, folder, runtime, precision), runtime, precision)
            for runtime, precision in chosen(args)
        }
        end = open_codec(model).manifest.special_ids.eos[0]
        source = [*np.random.default_rng(0).integers(5, 30_000, NUM_SOURCE - 1).tolist(), end]
        for num_beams in args.beams:
            bar = SPEED_BARS[num_beams]
            options = GenerateOptions(num_beams, NUM_NEW, NUM_NEW)
            least = dict.fromkeys(engines, float("inf"))
            for round_number in range(NUM_ROUNDS + 1):
                for name, engine in engines.items():
                    began = time.process_time()
                    (tokens,) = engine.generate([source], options)
                    assert len(tokens) == NUM_NEW, (name, len(tokens))
                    if round_number:  # the first warms up
                        least[name] = min(least[name], time.process_time() - began)
            ratios = {name: least["torch fp32"] / second for name, second in least.items()}
            best = max(ratios, key=lambda name: ratios[name])
            for name, second in least.items():
                is_met = ratios[name] >= bar if name == best else None
                measured = f"{1000 * second / NUM_NEW:.1f} ms CPU a token, {ratios[name]:.2f}x"
                print(f"{shape} beams {num_beams} {name}: {measured}", file=sys.stderr, flush=True)
                rows.append(
                    Bar(
                        f"{shape} beams {num_beams} {name}",
                        measured,
                        f">= {bar}x" if is_met is not None else "",
                        is_met,
                    )
                )
    return rows


MEASURED_CHILD = """
import sys, time
began = float(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from summarize import load
loading, loading_cpu = time.time(), time.process_time()
model = load(sys.argv[2], 1)
loaded, loaded_cpu = time.time(), time.process_time()
model.summarize(["word " * 600])
first = time.time()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(int(peak) / 1024, loaded - loading, first - began, loaded_cpu - loading_cpu, "torch" in sys.modules)
"""
TORCH_CHILD = """
import sys, time
began = float(sys.argv[1])
from pathlib import Path
from kilowit import parts
from kilowit.parts.runtime import RuntimeOptions
from kilowit.parts.summarizer_folder import open_codec
loading, loading_cpu = time.time(), time.process_time()
codec, folder = open_codec(Path(sys.argv[2])), Path(sys.argv[2])
model = parts.load("runtimes", "torch").load(folder, RuntimeOptions(num_threads=1))
loaded, loaded_cpu = time.time(), time.process_time()
model.generate(codec.encode(["word " * 600]), codec.manifest.generate)
first = time.time()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(int(peak) / 1024, loaded - loading, first - began, loaded_cpu - loading_cpu, "torch" in sys.modules)
"""


def memory(args: argparse.Namespace, folder: Path) -> list[Bar]:
    """Measure peak memory, load and cold start, each engine in a process of its own."""
    rows: list[Bar] = []
    for shape in args.shape:
        model = random_model(args.shared, shape, folder / shape)
        for runtime, precision in chosen(args):
            export = exported(model, folder, runtime, precision)
            code = TORCH_CHILD if runtime == "torch" else MEASURED_CHILD
            found = []
            for _ in range(NUM_ROUNDS):
                command = [sys.executable, "-c", code, str(time.time()), str(export)]
                line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found.append(line.split())
            peak, load_second, cold, load_cpu_second = (min(float(row[i]) for row in found) for i in range(4))
            what = f"{shape} {runtime} {precision}"
            rows += [
                at_most(f"{what}: peak memory", peak, MEMORY_MIB, "MiB", 0),
                at_most(f"{what}: load ({load_cpu_second:.2f} s CPU)", load_second, LOAD_SECOND, "s", 2),
                at_most(f"{what}: Python's start to first summary", cold, COLD_SECOND, "s", 2),
            ]
            assert found[0][4] == str(runtime == "torch"), "torch was imported"
            if precision != "int8":  # the bars are for the cheapest
                rows[-3:] = [Bar(row.what, row.measured, "", None) for row in rows[-3:]]
    return rows


def train(corpus: Path, folder: Path) -> Path:
    """Train a small BART from scratch in a run of kilowit and return its folder."""
    from kilowit.run import worker
    from kilowit.store import Store
    from kilowit.study import Study

    splits = {split: str(corpus / f"{split}.jsonl") for split in ("train", "validation", "test")}
    document = {
        "name": "runtimes",
        "models": [{"scratch": "bart-tiny"}],
        "datasets": [{"name": "local_files", **splits, "max_train_examples": 6000, "max_test_examples": 20}],
        "recipes": {"plain": []},
        "train": {
            "num_epochs": 4, "batch_size": 16, "learning_rate": 1e-3, "max_source_tokens": 128, "max_target_tokens": 48,
        },
        "predict": {"num_beams": 1, "max_new_tokens": 32},
        "measure": {"idle_second": 0, "cooldown_second": 0, "keep_model": True},
    }  # fmt: skip
    (cell,) = Study.parse(json.dumps(document), folder=folder).cells
    run = Store(folder / "runs").create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=1)
    assert worker.main(run.path) == 0
    assert run.record is not None and run.record.status == "finished", run.record
    return run.path / "model"


def fidelity(args: argparse.Namespace, folder: Path) -> list[Bar]:
    """Compare tokens and ROUGE-1 with torch in fp32 on real documents."""
    model = args.model or train(args.corpus, folder)
    examples = [json.loads(line) for line in (args.corpus / "test.jsonl").read_text().splitlines()[: args.documents]]
    codec = open_codec(model)
    sources = codec.encode([example["document"] for example in examples])
    calibration = codec.encode([json.loads(line)["document"] for line in training_lines(args.corpus)])
    references = [example["summary"] for example in examples]
    rouge = parts.load("metrics", "rouge")
    rows: list[Bar] = []
    for num_beams in (1, 4):
        options = GenerateOptions(num_beams, 48, no_repeat_ngram_size=3)
        expected: list[list[int]] = []
        foretold: list[int] = []
        expected_rouge1: Sequence[float] = ()
        expected_rouge2: Sequence[float] = ()
        for runtime, precision in chosen(args):
            place = exported(model, folder, runtime, precision, calibration)
            engine = load(place, runtime, precision)
            written = engine.generate(sources, options)
            scores = rouge.score(codec.decode(written), references).per_example
            rouge1, rouge2 = scores["rouge1"], scores["rouge2"]
            if runtime == "torch":
                expected, expected_rouge1, expected_rouge2 = written, rouge1, rouge2
                foretold = next_tokens_of_torch(model, sources, expected, codec.manifest.special_ids.decoder_start)
                distinct = len({tuple(tokens) for tokens in written})
                rows.append(Bar(f"beams {num_beams}: different summaries", f"{distinct} of {len(written)}", "", None))
            match, equal = agreement(written, expected)
            difference = 100 * (sum(rouge1) - sum(expected_rouge1)) / len(rouge1)
            contrast = contrast_of_outputs(rouge1, expected_rouge1)
            next_match = "not known"
            if hasattr(engine, "encode"):  # the others keep their logits to themselves
                mine = next_tokens_of_steps(engine, sources, expected)
                next_match = f"{sum(a == b for a, b in zip(mine, foretold, strict=True)) / len(foretold):.2%}"
            is_met = match >= TOKEN_MATCH and abs(difference) <= ROUGE_POINTS
            measured = (
                f"tokens {match:.2%}, next token {next_match}, summaries {equal:.1%}, "
                f"{100 * sum(rouge1) / len(rouge1):.2f}, {interval_of(contrast, 'R-1')}, "
                f"{interval_of(contrast_of_outputs(rouge2, expected_rouge2), 'R-2')}"
            )
            print(f"beams {num_beams} {runtime} {precision}: {measured}", file=sys.stderr, flush=True)
            bar = f">= {TOKEN_MATCH:.1%}, {ROUGE_POINTS} points"
            rows.append(Bar(f"beams {num_beams} {runtime} {precision}", measured, bar, is_met))
    return rows


def interval_of(contrast: Any, name: str) -> str:
    """Return a paired difference of means with its 95 % interval over documents, in points."""
    difference = contrast.difference
    if difference.low is None or difference.high is None:
        return f"{name} the same"
    return f"{name} {100 * difference.value:+.2f} [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"


def next_tokens_of_torch(
    model: Path, sources: Sequence[Sequence[int]], written: Sequence[Sequence[int]], start: int
) -> list[int]:
    """Return the token that fp32 finds most likely at each place of what was written, given what is before it."""
    import torch

    from kilowit.parts.pretrained import load_folder

    network = load_folder(model).model.eval()
    found: list[int] = []
    with torch.inference_mode():
        for source, tokens in zip(sources, written, strict=True):
            before = torch.tensor([[start, *tokens[:-1]]])
            logits = network(input_ids=torch.tensor([list(source)]), decoder_input_ids=before).logits[0]
            found += logits.argmax(-1).tolist()
    return found


def next_tokens_of_steps(engine: Any, sources: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> list[int]:
    """Return the same of a runtime with a step of its own."""
    import numpy as np

    found: list[int] = []
    for source, tokens in zip(sources, written, strict=True):
        steps = engine.encode(np.array([source]), np.ones((1, len(source)), np.int64))
        for token in (engine.manifest.special_ids.decoder_start, *tokens[:-1]):
            found.append(int(steps.step(np.array([[token]]), np.zeros(1, np.int64)).argmax()))
    return found


def training_lines(corpus: Path) -> list[str]:
    """Return what int8_static is calibrated on: as many documents as the method takes, evenly spread."""
    lines = (corpus / "train.jsonl").read_text().splitlines()
    return lines[:: len(lines) // NUM_CALIBRATION][:NUM_CALIBRATION]


def agreement(written: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return the share of tokens that are the same at the same place, and that of summaries that are equal."""
    same = total = 0
    for mine, theirs in zip(written, expected, strict=True):
        same += sum(a == b for a, b in zip(mine, theirs, strict=False))
        total += max(len(mine), len(theirs))
    equal = sum(list(mine) == list(theirs) for mine, theirs in zip(written, expected, strict=True))
    return same / total, equal / len(expected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "memory", "fidelity"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--shape", nargs="+", default=["bart-base"], choices=sorted(TOKENIZERS))
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4], choices=[1, 4])
    parser.add_argument("--engine", nargs="+", help="e.g. 'onnxruntime int8', beside torch; default: all")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where models and exports stay; default: nowhere")
    arguments = parser.parse_args()
    arguments.corpus = arguments.corpus and arguments.corpus.resolve()
    measure = {"speed": speed, "memory": memory, "fidelity": fidelity}[arguments.what]
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        sys.exit(report(f"runtimes, {arguments.what}", measure(arguments, place.resolve())))
