"""Does torch_fast write what transformers writes? Token by token, on 2,000 real documents, with a trained model.

    python benchmarks/generate_equality.py [--train-second 120] [--documents 2000] [--model FOLDER] [--device cuda]

Trains a small BART on SAMSum for a while, for random weights write the same few tokens whatever is read; or takes the
model in FOLDER. Then both write summaries of the documents in fp32 under three settings, and torch_fast once more in
bf16: how many summaries are the same to the token, and what the paired ROUGE says. Where they differ, transformers is
asked for that document alone: its own summary can depend on what else is in the batch, for padding changes the rounding
and beams may be as good as equal. The documents are SAMSum's test and
validation split and the last of its training split, which are not trained on; from studies/data (`make gpu-data`) or
../shared. The exit code is 1 if one token differs in fp32.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch

from bars import Bar, report
from kilowit import parts
from kilowit.parts.dataset import Corpus
from kilowit.parts.datasets import local_files
from kilowit.parts.fast_generate import FastGenerator
from kilowit.parts.model import LoadedModel
from kilowit.parts.pretrained import load_folder, load_model
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.stock_generate import StockGenerator
from kilowit.run.batches import Collator, tokenize_split, tokenize_texts
from kilowit.statistics.contrast import contrast_of_outputs

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PLACES: Final = (
    REPOSITORY / "studies" / "data" / "samsum",
    REPOSITORY.parent / "shared" / "data" / "corpora" / "samsum",
)
NUM_HELD_OUT: Final = 400  # last documents of the training split
MAX_SOURCE_TOKENS, MAX_TARGET_TOKENS, BATCH_SIZE = 256, 64, 16
SETTINGS: Final = {
    "greedy": GenerateOptions(1, 40, batch_size=64),
    "beam 4, penalty 2, no 3-gram twice, at least 5": GenerateOptions(4, 40, 5, 2.0, 3, batch_size=64),
    "beam 6, until nothing can improve": GenerateOptions(6, 40, early_stopping=False, batch_size=64),
}

Tokens = Sequence[Sequence[int]]


def read_corpus() -> Corpus:
    """Return SAMSum."""
    folder = next(place for place in PLACES if place.is_dir())
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}
    return local_files.load(local_files.Options.model_validate(files))


def read_documents(corpus: Corpus, number: int) -> tuple[list[str], list[str]]:
    """Return documents and their reference summaries."""
    texts = [
        [
            *getattr(corpus.test, column),
            *getattr(corpus.validation, column),
            *getattr(corpus.train, column)[-NUM_HELD_OUT:],
        ]
        for column in ("documents", "summaries")
    ]
    return texts[0][:number], texts[1][:number]


def train_small(corpus: Corpus, seconds: float, device: str) -> LoadedModel:
    """Train a BART of 1.7 M parameters for a while, batches of similar length in random order."""
    loaded = load_model(
        {"scratch": "bart-tiny"}, corpus=corpus, seed=0,
        max_source_tokens=MAX_SOURCE_TOKENS, max_target_tokens=MAX_TARGET_TOKENS,
    )  # fmt: skip
    model, tokenizer = loaded.model.to(device).train(), loaded.tokenizer
    split = tokenize_split(
        corpus.train, tokenizer, prefix="", max_source_tokens=MAX_SOURCE_TOKENS, max_target_tokens=MAX_TARGET_TOKENS
    )
    collate = Collator(split, tokenizer.pad_token_id, model.prepare_decoder_input_ids_from_labels)
    order = sorted(range(len(split) - NUM_HELD_OUT), key=lambda i: split.source_lengths[i])
    batches = [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw, began, losses = torch.Generator().manual_seed(0), time.perf_counter(), []
    while time.perf_counter() - began < seconds:
        number = int(torch.randint(len(batches), (1,), generator=draw))
        loss = model(**{name: tensor.to(device) for name, tensor in collate(batches[number]).items()}).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    last = losses[-50:]
    print(f"trained {len(losses)} steps in {seconds:.0f} s: loss {sum(last) / len(last):.2f}", flush=True)
    model.eval()
    return loaded


def compare(name: str, expected: Tokens, written: Tokens) -> Bar:
    """Return how many summaries are the same to the token."""
    same = sum(list(a) == list(b) for a, b in zip(expected, written, strict=True))
    measured = f"{same} of {len(expected)} ({100 * same / len(expected):.2f} %)"
    print(f"same summaries, {name}: {measured}", flush=True)  # at once: a run that is cut off leaves it
    return Bar(f"same summaries, {name}", measured, "", None)


def compare_with_stock(
    name: str, expected: Tokens, written: Tokens, stock_alone: Callable[[int], Sequence[int]]
) -> list[Bar]:
    """Return how many summaries are transformers' in the same batch, and how many it writes in that batch or alone."""
    others = [place for place, (a, b) in enumerate(zip(expected, written, strict=True)) if list(a) != list(b)]
    num_alone = 0
    for place in others:
        alone = list(stock_alone(place))
        num_alone += alone == list(written[place])
        print(f"  differs, document {place}:\n    {list(expected[place])}\n    {list(written[place])}", flush=True)
        print(f"    alone, transformers: {alone}", flush=True)
    num_same = len(expected) - len(others) + num_alone
    measured = f"{num_same} of {len(expected)} ({100 * num_same / len(expected):.2f} %)"
    print(f"same as transformers in its batch or alone, {name}: {measured}", flush=True)
    bar = Bar(f"the same in its batch or alone, {name}", measured, ">= 100 %", num_same == len(expected))
    return [compare(name, expected, written), bar]


def rouge_bars(texts: dict[str, list[str]], references: list[str]) -> list[Bar]:
    """Return each ROUGE of bf16 beside fp32, and whether the paired test can tell them apart."""
    scored = {name: parts.load("metrics", "rouge").score(rows, references).per_example for name, rows in texts.items()}
    bars = []
    for name, expected in scored["fp32"].items():
        contrast = contrast_of_outputs(expected, scored["bf16"][name])
        means = [sum(values) / len(values) for values in (expected, scored["bf16"][name])]
        measured = f"{100 * means[0]:.2f}, {100 * means[1]:.2f}; p {contrast.p_outputs or 1.0:.2f}"
        bars.append(Bar(f"{name}, fp32 and bf16", measured, "p > 0.05", (contrast.p_outputs or 1.0) > 0.05))
    return bars


def main() -> int:
    """Train, write, compare; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-second", type=float, default=120.0)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    corpus = read_corpus()
    loaded = load_folder(given.model) if given.model else train_small(corpus, given.train_second, given.device)
    loaded.model.to(given.device).eval()
    documents, references = read_documents(corpus, given.documents)
    sources = [list(row) for row in tokenize_texts(documents, loaded.tokenizer, "text", MAX_SOURCE_TOKENS)]
    stock, fast = StockGenerator(loaded), FastGenerator(loaded)
    bars: list[Bar] = []
    expected: dict[str, list[list[int]]] = {}
    for name, options in SETTINGS.items():
        began = time.process_time()
        expected[name] = stock.generate(sources, options)
        middle = time.process_time()
        written = fast.generate(sources, options)
        print(f"{name}: CPU seconds {middle - began:.1f}, {time.process_time() - middle:.1f}", flush=True)

        def alone(place: int, options: GenerateOptions = options) -> Sequence[int]:
            return list(stock.generate([sources[place]], options)[0])

        bars += compare_with_stock(f"fp32, {name}", expected[name], written, alone)
    distinct = len({tuple(row) for row in expected["greedy"]})
    bars.append(Bar("different summaries, greedy", f"{distinct} of {len(sources)}", "", None))
    bars += in_bf16(loaded, sources, expected, references)
    return report(f"torch_fast beside transformers: {loaded.name}, {len(sources)} documents", bars)


def in_bf16(
    loaded: LoadedModel, sources: Tokens, expected: dict[str, list[list[int]]], references: list[str]
) -> list[Bar]:
    """Return what half precision changes, with beam 4."""
    name = list(SETTINGS)[1]
    loaded.model.to(torch.bfloat16)
    written = FastGenerator(loaded).generate(sources, SETTINGS[name])
    decode = loaded.tokenizer.batch_decode
    texts = {
        "fp32": decode(expected[name], skip_special_tokens=True),
        "bf16": decode(written, skip_special_tokens=True),
    }
    return [compare(f"bf16 and fp32, {name}", expected[name], written), *rouge_bars(texts, references)]


if __name__ == "__main__":
    sys.exit(main())
