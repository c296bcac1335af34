"""Our stemmer against NLTK's, word for word."""

from __future__ import annotations

import random
import re
from pathlib import Path

from nltk.stem.porter import PorterStemmer

from kilowit.parts.rouge.porter import STEP_2, STEP_3, STEP_4, stem

SUFFIXES = [suffix for suffix, _ in STEP_2 + STEP_3 + STEP_4]
SUFFIXES += ["logi", "ion", "ed", "ing", "eed", "ied", "s", "ies", "sses", "y", "e", "ll", "ly", "fully"]


def differences(words: list[str]) -> list[tuple[str, str, str]]:
    theirs = PorterStemmer()
    return [(word, stem(word), theirs.stem(word)) for word in words if stem(word) != theirs.stem(word)]


def test_random_words_with_every_suffix_have_nltks_stem() -> None:
    generator = random.Random(1980)
    words = [
        "".join(generator.choices("aeiouybcdlstzxw0", k=generator.randrange(7)))
        + "".join(generator.choices(SUFFIXES, k=generator.randrange(4)))
        for _ in range(60_000)
    ]
    assert not differences([word for word in words if word])


def test_words_of_real_corpora_have_nltks_stem(shared_dir: Path) -> None:
    text = "".join(
        path.read_text(encoding="utf-8").lower()
        for name in ("samsum/train", "dialogsum/train", "scitldr/train", "xsum-sample/test", "cnndm-sample/sample")
        for path in [shared_dir / "data" / "corpora" / f"{name}.jsonl"]
    )
    words = sorted(set(re.findall("[a-z0-9]+", text)))
    assert len(words) > 40_000
    assert not differences(words)
