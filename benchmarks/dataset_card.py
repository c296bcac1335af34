"""Time the dataset card: SAMSum's 14,731 training pairs, sampled and whole, and longer texts up to the sample's bound.

    OMP_NUM_THREADS=1 python benchmarks/dataset_card.py

Data: the folder `shared` beside the checkout. News: the 200 articles of the CNN/DM sample, repeated 10 times; long
documents: EctSum's 1,681 earnings calls. Bars: under 1 s of processor time for SAMSum's card, under 3 s for the
largest sample of one split (10 million characters).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bars import Bar, at_most, report
from kilowit.parts.dataset import Corpus, Split
from kilowit.parts.dataset_card import dataset_facts, sample_of
from kilowit.record import DatasetFacts

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpora"
SHOWN = ("coverage_mean", "density_mean", "compression_mean", "novel_2gram_fraction", "source_words_mean")


def split_of(path: Path, times: int = 1) -> Split:
    """Return the pairs of a jsonl file, repeated with ids of their own."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines] * times
    return Split([str(i) for i in range(len(rows))], [r["document"] for r in rows], [r["summary"] for r in rows])


def corpus_of(train: Split, *, held_out: Split | None = None) -> Corpus:
    """Return a corpus; without held-out splits its card is that of one split."""
    rest = held_out or Split([], [], [])
    return Corpus("benchmark", "files:jsonl", "unknown", "document", "summary", train, rest, rest, "0" * 64)


def timed(compute: Callable[[], DatasetFacts]) -> tuple[DatasetFacts, float]:
    """Return the best of three, processor time."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        facts = compute()
        best = min(best, time.process_time() - start)
    return facts, best


def row(name: str, corpus: Corpus, limit: float) -> Bar:
    """Time the card of one split."""
    _, second = timed(lambda: dataset_facts(corpus))
    sample = sample_of(corpus.train)
    num_characters = sum(map(len, sample.documents)) + sum(map(len, sample.summaries))
    what = f"{name}: {len(sample):,} of {len(corpus.train):,} pairs, {num_characters / 1e6:.1f} M characters"
    return at_most(what, second, limit, "s", digits=2)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    samsum = {name: split_of(CORPORA / "samsum" / f"{name}.jsonl") for name in ("train", "validation", "test")}
    whole_corpus = replace(corpus_of(samsum["train"]), validation=samsum["validation"], test=samsum["test"])
    sampled, card_second = timed(lambda: dataset_facts(whole_corpus))
    whole, whole_second = timed(lambda: dataset_facts(whole_corpus, whole=True))
    rows = [
        at_most("SAMSum, card of the three splits as a run computes it", card_second, 1, "s", digits=2),
        Bar("SAMSum, every one of its 16,368 pairs (--whole)", f"{whole_second:.2f} s", "", None),
        row("news", corpus_of(split_of(CORPORA / "cnndm-sample" / "sample.jsonl", 10)), 3),
        row("earnings calls", corpus_of(split_of(CORPORA / "ectsum" / "train.jsonl")), 3),
    ]
    for name in SHOWN:
        part, all_of_it = (value_of(facts, name) for facts in (sampled, whole))
        rows.append(Bar(f"SAMSum train, {name}: 2,000 | all", f"{part:.4f} | {all_of_it:.4f}", "", None))
    return report("Dataset card: processor time, best of 3", rows)


def value_of(facts: DatasetFacts, name: str) -> Any:
    """Return a figure of the training split."""
    return getattr(facts.splits[0], name)


if __name__ == "__main__":
    sys.exit(main())
