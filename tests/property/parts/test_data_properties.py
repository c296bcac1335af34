"""What holds of any text and any selection."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.parts.corpus import shuffled_positions
from kilowit.parts.dataset_card import novel_fraction
from kilowit.parts.docstring_pair import docstring_pair
from kilowit.parts.models import lead, textrank
from kilowit.parts.sentences import split_sentences
from kilowit.parts.table_file import read_columns

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
WORDS = ["Dr.", "He", "ran", "home.", "U.S.", "Why?", "\n", '"Go!"', "(a", "b.)", "3.5"]
PROSE = st.lists(st.sampled_from(WORDS)).map(" ".join)
DOCSTRING_LINES = ["Args:", "x: y", "----", ">>> a", "Word word.", "\n", "    ", "``"]


@given(TEXT | PROSE)
def test_splitting_sentences_loses_nothing_but_white_space(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() and sentence for sentence in sentences)


@given(TEXT | PROSE, st.integers(1, 5), st.integers(1, 20))
def test_baselines_copy_words_and_keep_to_the_limit(text: str, num_sentences: int, max_words: int) -> None:
    for module in (lead, textrank):
        options = module.Options(num_sentences=num_sentences, max_words=max_words)
        [summary] = module.summarizer(options).summarize([text])
        assert len(summary.split()) <= max_words
        assert set(summary.split()) <= set(" ".join(split_sentences(text)).split())


@given(st.lists(TEXT, max_size=20))
def test_sentence_scores_are_positive_and_sum_to_at_most_one(sentences: list[str]) -> None:
    scores = textrank.rank_sentences(sentences)
    assert all(score > 0 for score in scores)
    assert sum(scores) <= 1 + 1e-6


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_jsonl_and_csv_give_back_what_was_written(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jsonl, table = Path(folder, "a.jsonl"), Path(folder, "a.csv")
        jsonl.write_text("".join(json.dumps({"d": d, "s": s}) + "\n" for d, s in rows), encoding="utf-8")
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("d", "s"), *rows])
        expected = {"d": [d for d, _ in rows], "s": [s for _, s in rows]}
        assert read_columns(jsonl, ["d", "s"]) == expected
        assert read_columns(table, ["d", "s"]) == expected


@given(st.sets(st.text(max_size=8)), st.integers(0, 5))
def test_a_shuffle_is_a_permutation_that_the_order_of_rows_does_not_change(ids: set[str], seed: int) -> None:
    rows = sorted(ids)
    forward = [rows[i] for i in shuffled_positions(rows, seed)]
    backward = [rows[::-1][i] for i in shuffled_positions(rows[::-1], seed)]
    assert forward == backward and sorted(forward) == rows


@given(TEXT, TEXT)
def test_novelty_is_a_fraction_and_zero_for_a_copy(document: str, summary: str) -> None:
    for n in (1, 2):
        value = novel_fraction([document], [summary], n)
        assert value is None or 0 <= value <= 1
        assert novel_fraction([document], [document], n) in (None, 0.0)


@given(st.text(max_size=300) | st.lists(st.sampled_from(DOCSTRING_LINES)).map("\n".join))
def test_any_docstring_is_read_without_an_error(docstring: str) -> None:
    pair = docstring_pair(docstring)
    assert pair is None or (pair.document and pair.summary)
