"""How far two runtimes write the same: expected numbers are counted by hand."""

from __future__ import annotations

import pytest

from kilowit.serving.agreement import agreement
from kilowit.serving.summarizer import Written


def written(*rows: tuple[str, list[int]]) -> list[Written]:
    return [Written(text, tokens, 5) for text, tokens in rows]


REFERENCE = written(("the cat sat", [5, 6, 7, 2]), ("a dog", [8, 9, 2]))


def test_the_same_tokens_agree_wholly_and_differ_in_no_score() -> None:
    found = agreement(REFERENCE, REFERENCE, ["the cat sat down", "a dog barked"])
    assert (found.num_examples, found.identical_fraction, found.token_match_fraction) == (2, 1.0, 1.0)
    assert {d.metric for d in found.differences} == {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    assert all(d.difference == 0 and d.verdict == "not distinguishable" for d in found.differences)


def test_places_are_counted_up_to_the_longer_summary() -> None:
    """Second summary: 8 alike, then 2 against 9, then nothing against 2. In all 4 + 1 of 4 + 3 places."""
    other = written(("the cat sat", [5, 6, 7, 2]), ("a", [8, 2]))
    found = agreement(other, REFERENCE, None)
    assert found.identical_fraction == 0.5
    assert found.token_match_fraction == pytest.approx(5 / 7)
    assert found.differences == []


def test_a_worse_summary_has_a_lower_score() -> None:
    other = written(("the cat sat", [5, 6, 7, 2]), ("nothing", [8, 2]))
    found = agreement(other, REFERENCE, ["the cat sat", "a dog"])
    rouge1 = next(d for d in found.differences if d.metric == "rouge1")
    assert (rouge1.value, rouge1.difference) == (pytest.approx(0.5), pytest.approx(-0.5))


def test_empty_summaries_agree() -> None:
    nothing = written(("", []))
    assert agreement(nothing, nothing, None).token_match_fraction == 1.0
