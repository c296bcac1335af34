"""Both engines against rouge-score 0.1.2: equal floats, not nearly equal ones."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from kilowit.parts.rouge import TYPES, engine_compiled, engine_python, library
from rouge_texts import corpus_pairs, oracle, pairs, text

ENGINES = {"python": engine_python.measure, "compiled": engine_compiled.measure}
no_compiler = library.find() is None and not any(map(shutil.which, ("cc", "gcc", "clang")))
needs_library = pytest.mark.skipif(no_compiler, reason="needs a C compiler, or a wheel with the compiled library")
engines = pytest.mark.parametrize("engine", ["python", pytest.param("compiled", marks=needs_library)])


@pytest.fixture(scope="module", params=[True, False], ids=["stemmer", "no-stemmer"])
def fuzzed(request: pytest.FixtureRequest) -> tuple[bool, list[str], list[str], dict]:
    """10,000 pairs in all, half of them with the stemmer, and what rouge-score makes of them."""
    predictions, references = pairs(seed=20261123 + request.param, num_pairs=5_000)
    return request.param, predictions, references, oracle(predictions, references, use_stemmer=request.param)


@engines
def test_fuzzed_pairs_score_as_rouge_score_scores_them(fuzzed: tuple, engine: str) -> None:
    use_stemmer, predictions, references, expected = fuzzed
    assert ENGINES[engine](predictions, references, use_stemmer=use_stemmer, types=TYPES) == expected


@pytest.fixture(scope="module")
def long_pairs() -> tuple[list[str], list[str], dict]:
    """Five thousand words against 300: on one line, and on many."""
    generator = random.Random(5)
    long, short = text(generator, 5_000), text(generator, 300)
    predictions = [long.replace("\n", " "), short, long]
    references = [short.replace("\n", " "), long, " ".join(long.split()[:300])]
    return predictions, references, oracle(predictions, references, use_stemmer=True)


@engines
def test_texts_of_five_thousand_words_score_equal(long_pairs: tuple, engine: str) -> None:
    predictions, references, expected = long_pairs
    assert ENGINES[engine](predictions, references, use_stemmer=True, types=TYPES) == expected


@engines
def test_sentences_of_hundreds_of_words_walk_the_same_path(engine: str) -> None:
    generator = random.Random(6)
    texts = ["\n".join(" ".join(generator.choices("abcdefgh", k=generator.randrange(1, 200))) for _ in range(4))
             for _ in range(40)]  # fmt: skip
    expected = oracle(texts[:20], texts[20:], use_stemmer=False)
    assert ENGINES[engine](texts[:20], texts[20:], use_stemmer=False, types=TYPES) == expected


@engines
@pytest.mark.parametrize("corpus", ["samsum", "xsum", "cnndm"])
@pytest.mark.parametrize("use_stemmer", [True, False])
def test_real_summaries_score_equal(shared_dir: Path, corpus: str, use_stemmer: bool, engine: str) -> None:
    predictions, references = corpus_pairs(shared_dir, corpus, limit=150)
    expected = oracle(predictions, references, use_stemmer=use_stemmer)
    assert ENGINES[engine](predictions, references, use_stemmer=use_stemmer, types=TYPES) == expected


@needs_library
def test_chunks_of_texts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, references = pairs(seed=7, num_pairs=300)
    whole = engine_compiled.measure(predictions, references, use_stemmer=True, types=TYPES)
    monkeypatch.setattr(engine_compiled, "_MAX_CHUNK_LETTERS", 100)
    assert engine_compiled.measure(predictions, references, use_stemmer=True, types=TYPES) == whole


@engines
def test_asking_for_fewer_types_changes_no_value(engine: str) -> None:
    predictions, references = pairs(seed=8, num_pairs=200)
    every = ENGINES[engine](predictions, references, use_stemmer=True, types=TYPES)
    for name in TYPES:
        assert ENGINES[engine](predictions, references, use_stemmer=True, types=[name]) == {name: every[name]}


@engines
def test_swapping_the_texts_swaps_precision_and_recall(engine: str) -> None:
    predictions, references = pairs(seed=9, num_pairs=300)
    types = ("rouge1", "rouge2", "rouge3", "rougeL")  # the union of rougeLsum is over the reference: not symmetric
    there = ENGINES[engine](predictions, references, use_stemmer=True, types=types)
    back = ENGINES[engine](references, predictions, use_stemmer=True, types=types)
    for name in types:
        assert there[name].precision == back[name].recall
        assert there[name].fmeasure == pytest.approx(back[name].fmeasure, abs=1e-15)


@engines
def test_values_lie_between_0_and_1_and_equal_texts_reach_1(engine: str) -> None:
    predictions, references = pairs(seed=10, num_pairs=300)
    for fractions in ENGINES[engine](predictions, references, use_stemmer=True, types=TYPES).values():
        for column in (fractions.precision, fractions.recall, fractions.fmeasure):
            assert all(0.0 <= value <= 1.0 for value in column)
    same = ["one two three four.\nfive"] * 2
    for fractions in ENGINES[engine](same, same, use_stemmer=True, types=TYPES).values():
        assert fractions.fmeasure == [1.0, 1.0]
