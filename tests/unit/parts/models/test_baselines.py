"""The training-free baselines and the sentence splitter below them."""

from __future__ import annotations

import pytest

from kilowit.parts.models import lead, textrank
from kilowit.parts.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Mr. J. Ng et al. met at 3 p.m. in St. Ives. So?", ["Mr. J. Ng et al. met at 3 p.m. in St. Ives.", "So?"]),
        ("He paid $3.50 for v2.0 of it. It broke.", ["He paid $3.50 for v2.0 of it.", "It broke."]),
        ('"Stop!" he said. "Why?" she asked.', ['"Stop!" he said.', '"Why?" she asked.']),
        ("It ended (badly.) Then it rained.", ["It ended (badly.)", "Then it rained."]),
        ("Amanda: I baked. Want some?\nJerry: Sure!", ["Amanda: I baked.", "Want some?", "Jerry: Sure!"]),
        ("A line that is\nwrapped goes on. Next.", ["A line that is wrapped goes on.", "Next."]),
        ("Was it I. No one knew.", ["Was it I.", "No one knew."]),
        ("no end", ["no end"]),
        (" \n ", []),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_lead_copies_the_first_sentences_one_a_line() -> None:
    document = "One is here. Two is here. Three is here. Four is here."
    assert lead.summarizer(lead.Options()).summarize([document]) == ["One is here.\nTwo is here.\nThree is here."]
    assert lead.summarizer(lead.Options(), "xsum").summarize([document]) == ["One is here."]
    two = lead.Options(num_sentences=2)
    assert lead.summarizer(two, "xsum").summarize([document]) == ["One is here.\nTwo is here."]
    assert lead.summarizer(lead.Options(max_words=5)).summarize([document]) == ["One is here.\nTwo is"]
    assert lead.summarizer(lead.Options()).summarize(["", "x"]) == ["", "x"]


def test_textrank_scores_are_the_stationary_distribution() -> None:
    # A star: sentence 0 shares one word with 1 and with 2, these share none. All weights are equal by symmetry, so
    # s0 = 0.05 + 0.85 (s1 + s2) and s1 = s2 = 0.05 + 0.425 s0: s0 = 0.135 / (1 - 0.7225) = 18/37.
    scores = textrank.rank_sentences(["red green", "red blue", "green black"])
    assert scores == pytest.approx([18 / 37, 19 / 74, 19 / 74], abs=1e-5)


def test_textrank_picks_the_most_connected_sentences_in_their_order() -> None:
    document = (
        "Monday was warm. A river flooded one town and its bridge. Cats slept. "
        "Officials closed that bridge. Later some river left this town."
    )
    [summary] = textrank.summarizer(textrank.Options(num_sentences=2)).summarize([document])
    assert summary == "A river flooded one town and its bridge.\nLater some river left this town."


def test_textrank_survives_documents_without_words_or_sentences() -> None:
    assert textrank.summarizer(textrank.Options()).summarize(["", "?!", "One."]) == ["", "?!", "One."]


def test_textrank_of_a_long_document_looks_at_its_start_only() -> None:
    document = "\n".join(f"Alpha beta gamma number {i}." for i in range(50))
    options = textrank.Options(num_sentences=100, max_source_sentences=7)
    assert len(textrank.summarizer(options).summarize([document])[0].splitlines()) == 7
