"""Time ROUGE beside rouge-score, in one run, on one thread, on the same texts, and check that all agree.

    python benchmarks/rouge_speed.py [--num-pairs 2000]

Texts: system outputs and references of DialogSum from the folder `shared` beside the checkout, joined by threes to 57
words in 5 sentences (what a CNN/DM summary has); without that folder, random words of the same shape. Four types, with
stemmer. rouge-score is timed on a part of the pairs. Bars: compiled at least 150 times, pure Python at least 15
times its speed, stems not known beforehand; a new process has its first score in less than a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer

from bars import Bar, at_most, report
from kilowit.parts.rouge import Fractions, engine_compiled, engine_python, library

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
NUM_ORACLE_PAIRS = 500
NUM_REPEATS = 5


def texts(num_pairs: int) -> tuple[list[str], list[str]]:
    """Return predictions and references of about 57 words each."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpora" / "dialogsum"
    if not folder.is_dir():
        generator = random.Random(0)
        words = ["".join(generator.choices("aeinorst", k=generator.randrange(1, 9))) for _ in range(4_000)]
        made = ["\n".join(" ".join(generator.choices(words, k=11)) for _ in range(5)) for _ in range(2 * num_pairs)]
        return made[:num_pairs], made[num_pairs:]
    outputs = json.loads((folder / "system_outputs" / "bart-baseline.test.json").read_text(encoding="utf-8"))
    with (folder / "test.jsonl").open(encoding="utf-8") as lines:
        references = [json.loads(line)["summary"] for line in lines]
    return joined([row["prediction"] for row in outputs], num_pairs), joined(references, num_pairs)


def joined(summaries: list[str], num_pairs: int) -> list[str]:
    """Join each summary with two others, a sentence a line; the second time round with others than the first."""
    chosen = [
        [summaries[(place + step * (1 + place // len(summaries))) % len(summaries)] for step in range(3)]
        for place in range(num_pairs)
    ]
    return ["\n".join(three).replace(". ", ".\n") for three in chosen]


def fastest_second(work: Callable[[], object], num_repeats: int = NUM_REPEATS) -> float:
    """Return the least processor time of several runs."""
    times = []
    for _ in range(num_repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def cold_start_second(*, is_built: bool) -> float:
    """Return the wall time from a new interpreter to its first compiled score, without the interpreter's own start."""
    code = (
        "import time; start = time.perf_counter()\n"
        "from kilowit.parts.rouge import score_pairs\n"
        "score_pairs(['a b'], ['a c'], engine='compiled'); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "KILOWIT_CACHE": cache}
        for _ in range(1 + is_built):
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
            )
    return float(run.stdout)


def oracle(predictions: list[str], references: list[str]) -> dict[str, Fractions]:
    """Return what rouge-score says."""
    scorer = RougeScorer(list(TYPES), use_stemmer=True)
    rows = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]
    return {name: Fractions(*([row[name][part] for row in rows] for part in range(3))) for name in TYPES}


def python_cold(predictions: list[str], references: list[str]) -> dict[str, Fractions]:
    """Score with the pure Python engine, no stem known yet."""
    engine_python._STEMS.clear()
    return engine_python.measure(predictions, references, use_stemmer=True, types=TYPES)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-pairs", type=int, default=2_000)
    num_pairs = parser.parse_args().num_pairs
    predictions, references = texts(num_pairs)
    few = predictions[:NUM_ORACLE_PAIRS], references[:NUM_ORACLE_PAIRS]
    expected = oracle(*few)

    def compiled(predictions: list[str], references: list[str]) -> dict[str, Fractions]:
        return engine_compiled.measure(predictions, references, use_stemmer=True, types=TYPES)

    is_equal = compiled(*few) == expected == python_cold(*few)
    oracle_rate = len(few[0]) / fastest_second(lambda: oracle(*few), num_repeats=2)
    rows = [
        Bar("all floats equal to rouge-score", str(is_equal), "True", is_equal),
        Bar("rouge-score 0.1.2", f"{oracle_rate:,.0f} pairs/s", "", None),
    ]
    for name, work, bar in (("compiled", compiled, 150), ("pure Python", python_cold, 15)):
        rate = num_pairs / fastest_second(lambda work=work: work(predictions, references))
        rows.append(Bar(name, f"{rate:,.0f} pairs/s", "", None))
        rows.append(
            Bar(f"{name}, times rouge-score", f"{rate / oracle_rate:.1f}", f">= {bar}", rate / oracle_rate >= bar)
        )
    rows.append(at_most("cold start, library built", cold_start_second(is_built=True), 1, "s"))
    if library.try_build():
        rows.append(Bar("cold start with building it", f"{cold_start_second(is_built=False):.3f} s", "", None))
    return report(f"ROUGE: {num_pairs} pairs, {', '.join(TYPES)}, stemmer, one thread, processor time", rows)


if __name__ == "__main__":
    sys.exit(main())
