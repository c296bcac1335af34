"""ROUGE against the reference implementation, and an interval that covers what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from kilowit.parts.metrics import rouge

WORDS = st.sampled_from(["the", "cats", "cat", "running", "ran", "Run", "a.", "mat,", "42", "été", "-", "\n", "U.S."])
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_every_pair_scores_as_the_reference_implementation_does(pairs: list[tuple[str, str]]) -> None:
    predictions, references = zip(*pairs, strict=True)
    result = rouge.score(predictions, references)
    for name in rouge.NAMES:
        scorer = RougeScorer([name], use_stemmer=True)
        expected = [scorer.score(target=r, prediction=p)[name].fmeasure for p, r in pairs]
        assert result.per_example[name] == expected
        value = next(s for s in result.scores if s.metric == name)
        assert value.value == pytest.approx(sum(expected) / len(expected))
        assert value.num_examples == len(pairs)


def test_equal_texts_score_one_and_empty_or_disjoint_ones_zero() -> None:
    result = rouge.score(["the cat sat", "", "the cat", ""], ["the cat sat", "dog", "", ""])
    assert result.per_example["rouge1"] == [1.0, 0.0, 0.0, 0.0]


def test_lsum_takes_lines_as_sentences_and_l_does_not() -> None:
    reference, swapped = "the cat sat\na dog ran", "a dog ran\nthe cat sat"
    result = rouge.score([swapped], [reference])
    assert result.per_example["rougeLsum"] == [1.0]
    assert result.per_example["rougeL"] == [pytest.approx(0.5)]


def test_interval_holds_the_mean_and_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(1).beta(2, 5, 400)
    ((low, high),) = rouge.bootstrap_interval([values.tolist()])
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_is_the_same_each_time_and_however_it_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [[0.1, 0.5, 0.9, 0.3], [1.0, 0.0, 1.0, 0.0]]
    whole = rouge.bootstrap_interval(values)
    monkeypatch.setattr(rouge, "MAX_DRAWS_AT_ONCE", 40)
    assert rouge.bootstrap_interval(values) == whole


def test_one_example_has_no_interval() -> None:
    score = rouge.score(["cat"], ["cat"]).scores[0]
    assert (score.ci95_low, score.ci95_high) == (None, None)


def test_lists_of_different_length_or_none_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        rouge.score(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="0 predictions"):
        rouge.score([], [])


def test_signature_names_every_setting_and_the_installed_library_is_the_one_it_names() -> None:
    import importlib.metadata

    assert rouge.signature(["rougeLsum"]) == (
        "rouge|l:rougeLsum|stem:porter|split:newline|agg:mean|ci:bootstrap2000|lib:rouge_score-0.1.2|v:1"
    )
    assert importlib.metadata.version("rouge-score") == rouge.LIBRARY_VERSION
    assert [s.signature for s in rouge.score(["a"], ["a"]).scores] == [rouge.signature([n]) for n in rouge.NAMES]
