"""Time every weight-free metric on a CNN/DM-sized test set: 11,490 pairs with their articles, one core.

    OMP_NUM_THREADS=1 python benchmarks/metrics_speed.py [--num-pairs 11490]

Texts: the 200 articles and highlights of the CNN/DM sample in the folder `shared` beside the checkout, repeated with
the words shuffled within sentences, so that no cache helps more than on real text; predictions: the first 350 letters.
Bars: under 60 s and under 1 GB for all of them together.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from pathlib import Path

from bars import Bar, at_most, report
from kilowit import parts

METRICS = ("rouge", "bleu", "chrf", "cider", "meteor", "extractiveness", "novelty", "repetition", "length")


def examples(num_pairs: int) -> tuple[list[str], list[str], list[str]]:
    """Return predictions, references and articles."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpora" / "cnndm-sample" / "sample.jsonl"
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    generator = random.Random(0)
    predictions, references, sources = [], [], []
    for place in range(num_pairs):
        row = rows[place % len(rows)]
        source = row["document"] if place < len(rows) else shuffled(row["document"], generator)
        sources.append(source)
        references.append(row["summary"] if place < len(rows) else shuffled(row["summary"], generator))
        predictions.append("\n".join(sentence + "." for sentence in source.split(". ")[:6])[:350])
    return predictions, references, sources


def shuffled(text: str, generator: random.Random) -> str:
    """Return a text with the words of each sentence in another order."""
    sentences = [sentence.split() for sentence in text.split(". ")]
    for words in sentences:
        generator.shuffle(words)
    return ". ".join(" ".join(words) for words in sentences)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-pairs", type=int, default=11_490)
    num_pairs = parser.parse_args().num_pairs
    predictions, references, sources = examples(num_pairs)
    rows, total_second = [], 0.0
    for name in METRICS:
        metric = parts.load("metrics", name)
        options = {"sources": sources} if getattr(metric, "NEEDS_SOURCE", False) else {}
        start = time.process_time()
        metric.score(predictions, references, **options)
        second = time.process_time() - start
        total_second += second
        rows.append(Bar(name, f"{second:.2f} s", "", None))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows += [
        at_most("all", total_second, 60, "s", digits=1),
        at_most("peak resident memory", peak_gb, 1, "GB", digits=2),
    ]
    return report(f"Weight-free metrics: {num_pairs:,} pairs, with intervals, processor time", rows)


if __name__ == "__main__":
    sys.exit(main())
