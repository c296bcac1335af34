"""ROUGE against the reference implementation, and an interval that covers what it says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from kilowit.errors import DataError
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


def test_one_example_has_no_interval() -> None:
    score = rouge.score(["cat"], ["cat"]).scores[0]
    assert (score.ci95_low, score.ci95_high) == (None, None)


def test_lists_of_different_length_or_none_at_all_are_refused() -> None:
    for predictions, references in ((["a"], ["a", "b"]), ([], [])):
        with pytest.raises(DataError) as raised:
            rouge.score(predictions, references)
        assert raised.value.hint


def test_signature_names_every_setting_and_the_reference_that_is_tested_against() -> None:
    import importlib.metadata

    assert rouge.signature(["rougeLsum"]) == (
        "rouge|l:rougeLsum|stem:porter|split:newline|agg:mean|ci:bootstrap10000|equal:rouge_score-0.1.2|v:2"
    )
    assert f"rouge_score-{importlib.metadata.version('rouge-score')}" == rouge.EQUAL_TO
    assert [s.signature for s in rouge.score(["a"], ["a"]).scores] == [rouge.signature([n]) for n in rouge.NAMES]


def test_the_hugging_face_variant_is_the_reference_aggregators_median_for_its_seed() -> None:
    import numpy as np
    from rouge_score.scoring import BootstrapAggregator

    predictions = ["the cat sat", "a dog ran\nhome", "the mat", "cats ran"]
    references = ["the cat sat down", "the dog ran home", "a mat", "dogs run"]
    scorer = RougeScorer(list(rouge.NAMES), use_stemmer=True)
    np.random.seed(322)
    aggregator = BootstrapAggregator()
    for prediction, reference in zip(predictions, references, strict=True):
        aggregator.add_scores(scorer.score(target=reference, prediction=prediction))
    expected = {name: value.mid.fmeasure for name, value in aggregator.aggregate().items()}
    options = rouge.Options(aggregation="hugging_face", numpy_seed=322)
    assert {s.metric: s.value for s in rouge.score(predictions, references, options=options).scores} == expected
