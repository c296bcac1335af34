"""Train a small model, make it smaller in every way there is, and set quality, size and speed beside the whole model.

    python benchmarks/shrink.py [--corpus DIR] [--model bart-tiny] [--examples 1500] [--epochs 4] [--folder DIR]

`--corpus` is a folder with train.jsonl, validation.jsonl and test.jsonl (id, document, summary); without it the model
learns docstrings. One model is trained from scratch. Then every recipe starts from its weights, so that all differ in
the method alone, and fine-tunes for half as many epochs; `longer` is the whole model fine-tuned as long: the fair
rival. Speed is the processor time of summarizing the same documents on one thread, median of interleaved rounds: other
load on the machine hardly moves it. Bar: what claims to be smaller is, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from kilowit.record import Record
from kilowit.run import worker
from kilowit.store import Store
from kilowit.study import Study

NUM_TEST = 200
NUM_TIMED = 48
NUM_ROUNDS = 3
RECIPES = {
    "longer": [],
    "distill, shrink and fine-tune": [{"distill": {"decoder_layers": 1}}],
    "distill, knowledge": [{"distill": {"kind": "knowledge_distillation", "decoder_layers": 1}}],
    "distill, pseudo-labels": [{"distill": {"kind": "pseudo_labels", "decoder_layers": 1, "num_beams": 2}}],
    "prune, 1/4 of heads and FFN": ["prune"],
    "prune, 1/2 of heads and FFN": [{"prune": {"heads_removed_fraction": 0.5, "ffn_removed_fraction": 0.5}}],
    "prune, magnitude 50 %": [{"prune": {"kind": "magnitude"}}],
    "prune, magnitude 90 %": [{"prune": {"kind": "magnitude", "sparsity": 0.9}}],
    "ensemble, checkpoint soup": [{"ensemble": {"kind": "checkpoint_soup", "members": 3}}],
    "ensemble, probability of 2": [{"ensemble": {"members": 2}}],
}


@dataclass
class Row:
    """One recipe's outcome."""

    name: str
    record: Record
    folder: Path  # of the run
    cpu_second: float = 0.0  # to summarize the timed documents

    def score(self, metric: str) -> float:
        """Return a ROUGE in points."""
        found = self.record.score(metric)
        assert found is not None
        return 100 * found.value

    def joule(self, *phases: str) -> float:
        """Return the joules of some phases."""
        return sum(p.energy_total_joule or 0.0 for p in self.record.phases if p.phase in phases)


def run_cell(folder: Path, document: Mapping[str, Any]) -> Row:
    """Run a study of one cell in this process."""
    study = Study.parse(json.dumps(document), folder=folder)
    (cell,) = study.cells
    run_folder = Store(folder / "runs").create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=1)
    assert worker.main(run_folder.path) == 0
    record = run_folder.record
    assert record is not None
    assert record.status == "finished", record.error_message
    return Row(next(iter(document["recipes"])), record, run_folder.path)


def study_of(args: argparse.Namespace, model: Mapping[str, Any], name: str, recipe: Sequence[Any]) -> dict[str, Any]:
    """Return the study of one recipe."""
    dataset: dict[str, Any] = {"name": "docstrings"}
    if args.corpus:
        dataset = {"name": "local_files"} | {
            s: str(args.corpus / f"{s}.jsonl") for s in ("train", "validation", "test")
        }
    limits = {"max_train_examples": args.examples, "max_validation_examples": 100, "max_test_examples": NUM_TEST}
    epochs = args.epochs if "scratch" in model else args.epochs / 2
    return {
        "name": "shrink",
        "models": [model],
        "datasets": [dataset | limits],
        "recipes": {name.replace(",", "").replace(" ", "_").replace("/", "_").replace("%", "percent"): recipe},
        "train": {
            "num_epochs": epochs, "batch_size": 16, "learning_rate": 1e-3 if "scratch" in model else 5e-4,
            "max_source_tokens": 96, "max_target_tokens": 32, "num_validations": 3,
        },
        "predict": {"num_beams": 2, "max_new_tokens": 24, "no_repeat_ngram_size": 3},
        "measure": {"idle_second": 1, "cooldown_second": 0, "keep_model": True},
    }  # fmt: skip


def load_kept(folder: Path) -> Any:
    """Load the model that a run has kept, ensembles too."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from kilowit.parts.averaged import AveragedModel
    from kilowit.parts.narrow import load_narrowed

    if members := sorted(folder.glob("member-*")):
        return AveragedModel([load_kept(member) for member in members]).eval()
    config = AutoConfig.from_pretrained(folder)
    if getattr(config, "d_attention", None):
        return load_narrowed(folder, config).eval()
    return AutoModelForSeq2SeqLM.from_pretrained(folder).eval()


def time_all(rows: Sequence[Row], documents: Sequence[str]) -> None:
    """Take every model's processor time to summarize the same documents; rounds interleave the models."""
    import torch
    from transformers import AutoTokenizer, GenerationConfig

    torch.set_num_threads(1)
    models = [load_kept(row.folder / "model") for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(rows[0].folder / "model")
    batch = tokenizer(list(documents), return_tensors="pt", padding=True, truncation=True, max_length=96)
    spent: list[list[float]] = [[] for _ in rows]
    for _ in range(NUM_ROUNDS + 1):
        for model, seconds in zip(models, spent, strict=True):
            config = GenerationConfig.from_dict(model.generation_config.to_dict())
            config.update(num_beams=2, max_new_tokens=24, min_new_tokens=24)  # all write as much
            began = time.process_time()
            with torch.no_grad():
                model.generate(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config
                )
            seconds.append(time.process_time() - began)
    for row, seconds in zip(rows, spent, strict=True):
        row.cpu_second = statistics.median(seconds[1:])  # the first warms up


def table(rows: Sequence[Row]) -> str:
    """Return the outcome of all recipes, the whole model first."""
    columns = ("M params", "MB", "R-1", "R-2", "R-L", "s CPU", "speed", "J train", "J compress")
    lines = [f"{'':<32}" + "".join(f"{column:>11}" for column in columns)]
    rival = rows[1]
    for row in rows:
        model = row.record.model
        assert model is not None
        values = (
            f"{(model.num_parameters or 0) / 1e6:.2f}", f"{(model.model_disk_byte or 0) / 1e6:.1f}",
            f"{row.score('rouge1'):.1f}", f"{row.score('rouge2'):.1f}", f"{row.score('rougeL'):.1f}",
            f"{row.cpu_second:.2f}", f"{rival.cpu_second / row.cpu_second:.2f}x",
            f"{row.joule('warmup', 'train', 'validate'):.0f}", f"{row.joule('compress'):.0f}",
        )  # fmt: skip
        lines.append(f"{row.name:<32}" + "".join(f"{value:>11}" for value in values))
    return "\n".join(lines)


def broken_bars(rows: Sequence[Row]) -> list[str]:
    """Return what a method claimed and did not keep."""
    whole = rows[0].record.model
    assert whole is not None
    broken = []
    for row in rows[2:]:
        model, (shown,) = row.record.model, row.record.methods
        assert model is not None
        is_smaller = (model.num_parameters or 0) < (whole.num_parameters or 0)
        if is_smaller != (shown.method == "distill" or "heads" in row.name):
            broken.append(f"{row.name}: {model.num_parameters} parameters of {whole.num_parameters}")
    return broken


def main(args: argparse.Namespace, folder: Path) -> int:
    """Print the table; return 1 if a bar is missed."""
    whole = run_cell(folder, study_of(args, {"scratch": args.model}, "whole", []))
    whole.name = "whole"
    rows = [whole]
    for name, recipe in RECIPES.items():
        row = run_cell(folder, study_of(args, {"folder": str(whole.folder / "model")}, name, recipe))
        row.name = name
        rows.append(row)
        print(f"{name}: done", file=sys.stderr, flush=True)
    documents = [f"{i} " + "what a document says, in words that all models read alike, " * 6 for i in range(NUM_TIMED)]
    time_all(rows, documents)
    print(table(rows))
    interval = rows[1].record.score("rouge2")
    assert interval is not None
    if interval.ci95_low is not None and interval.ci95_high is not None:
        low, high = 100 * interval.ci95_low, 100 * interval.ci95_high
        print(f"\nROUGE-2 of `longer` over the {NUM_TEST} test documents, 95 %: {low:.1f} .. {high:.1f}; one seed")
    broken = broken_bars(rows)
    print("\n".join(f"BAR MISSED  {line}" for line in broken) or "all that claim to be smaller are, and no others")
    return int(bool(broken))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="folder of train.jsonl, validation.jsonl, test.jsonl")
    parser.add_argument("--model", default="bart-tiny", help="size from scratch")
    parser.add_argument("--examples", type=int, default=1500, help="training pairs")
    parser.add_argument("--epochs", type=float, default=4.0, help="of the whole model; recipes take half")
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    chosen = parser.parse_args()
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True, exist_ok=True)
        sys.exit(main(chosen, chosen.folder))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(chosen, Path(name)))
