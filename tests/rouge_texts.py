"""Texts that try every corner of ROUGE, and the oracle: rouge-score 0.1.2."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from kilowit.parts.rouge import TYPES, Fractions

# Words whose stems differ between stemmers, letters whose lower case is another length or another script.
_WORDS = [
    "the", "a", "cat", "cats", "sat", "on", "running", "runner", "ran", "skies", "sky", "dying", "news", "42", "3rd",
    "x", "fulfillment", "generally", "enjoy", "y", "yy", "relational", "rationally", "logically", "apologies",
    "hopefully", "hopefulness", "controlled", "rolling", "falling",
]  # fmt: skip
_LETTERS = (
    "İıſKÅΣσςßẞÉé", "日本語ไทยالعربيةहिन्दी", "\U0001f600\U0001f469\u200d\U0001f467\U0001d504\U00010348\U0010fffd",
    "\u00a0\u2028\u2029\u0085\ufeff", "\x00\x0b\x0c\x1c\x1d\x1e\r\t", "\ud800\udfff",
    ".,;:!?-–'\"()[]{}<>/\\|@#$%^&*_+=~`",
)  # fmt: skip
_GAPS = (" ", " ", " ", " ", "\n", "\n\n", " \n ", "", ", ", "-", "\r\n", "\u00a0")


def text(generator: random.Random, num_words: int) -> str:
    """Return a random text of about this many words."""
    parts = []
    for _ in range(num_words):
        kind = generator.random()
        if kind < 0.75:
            word = generator.choice(_WORDS)
        elif kind < 0.85:
            word = "".join(generator.choice("abcdeilnorstuy") for _ in range(generator.randrange(1, 12)))
        elif kind < 0.97:
            word = "".join(generator.choice(generator.choice(_LETTERS)) for _ in range(generator.randrange(1, 4)))
        else:
            word = chr(generator.randrange(0x110000))  # any plane, surrogates too
        parts += (word.upper() if generator.random() < 0.1 else word, generator.choice(_GAPS))
    return "".join(parts)


def pairs(seed: int, num_pairs: int, max_words: int = 30) -> tuple[list[str], list[str]]:
    """Return predictions and references: empty, one word, unrelated, edited copies, equal."""
    generator = random.Random(seed)
    predictions, references = [], []
    for _ in range(num_pairs):
        reference = text(generator, generator.choice((0, 1, 1, 2, generator.randrange(max_words + 1))))
        if generator.random() < 0.5:
            words = reference.split(" ")
            generator.shuffle(words) if generator.random() < 0.3 else None
            prediction = " ".join(word for word in words if generator.random() < 0.8)
        else:
            prediction = text(generator, generator.choice((0, 1, 2, generator.randrange(max_words + 1))))
        predictions.append(prediction)
        references.append(reference)
    return predictions, references


def oracle(
    predictions: Sequence[str], references: Sequence[str], *, use_stemmer: bool, types: Sequence[str] = TYPES
) -> dict[str, Fractions]:
    """Return what rouge-score says."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(types), use_stemmer=use_stemmer)
    results = {name: Fractions([], [], []) for name in types}
    for prediction, reference in zip(predictions, references, strict=True):
        for name, score in scorer.score(reference, prediction).items():
            results[name].precision.append(score.precision)
            results[name].recall.append(score.recall)
            results[name].fmeasure.append(score.fmeasure)
    return results


def corpus_pairs(shared_dir: Path, name: str, limit: int) -> tuple[list[str], list[str]]:
    """Return the first sentences and the summaries of a given corpus, a sentence a line."""
    folder = shared_dir / "data" / "corpora"
    path = {"samsum": "samsum/test", "xsum": "xsum-sample/test", "cnndm": "cnndm-sample/sample"}[name]
    with (folder / f"{path}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:limit]
    predictions = [row["document"][:400].replace(". ", ".\n") for row in rows]
    return predictions, [row["summary"].replace(". ", ".\n") for row in rows]
