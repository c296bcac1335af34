"""What holds of any text and any selection."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.parts.corpus import shuffled_positions
from kilowit.parts.dataset import Corpus, Split
from kilowit.parts.dataset_card import dataset_facts
from kilowit.parts.docstring_pair import docstring_pair
from kilowit.parts.metrics.extractiveness import extraction
from kilowit.parts.metrics.novelty import ORDERS, novel_fraction
from kilowit.parts.models import lead, textrank
from kilowit.parts.sentences import split_sentences
from kilowit.parts.table_file import read_columns
from kilowit.parts.text_lengths import MAX_SOURCES, length_bars, length_facts
from kilowit.parts.words import words
from kilowit.record import SplitFacts

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


@settings(deadline=None)
@given(TEXT | PROSE, TEXT | PROSE)
def test_what_a_summary_takes_is_bounded_and_all_of_it_for_a_copy(document: str, summary: str) -> None:
    source, target = words(document), words(summary)
    found = extraction(target, source)
    assert 0 <= found.coverage <= 1 and 0 <= found.supported_trigram_fraction <= 1
    assert found.coverage <= found.density <= len(target)  # fragments have at least one word, at most all
    assert found.compression == (len(source) / len(target) if target else 0)
    novelty = [novel_fraction(target, source, order) for order in ORDERS]
    assert all(0 <= value <= 1 for value in novelty)
    assert [novel_fraction(source, source, order) for order in ORDERS] == [0.0] * len(ORDERS)
    assert extraction(source, source)[:3] == ((1.0, len(source), 1.0) if source else (0.0, 0.0, 0.0))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(PROSE, PROSE), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_card_does_not_depend_on_the_order_of_the_examples(pairs: list[tuple[str, str]], order: Random) -> None:
    def card(rows: list[tuple[int, tuple[str, str]]]) -> SplitFacts:
        split = Split([str(i) for i, _ in rows], [d for _, (d, _) in rows], [s for _, (_, s) in rows])
        corpus = Corpus("mine", "files:csv", "cc0", "text", "title", split, split, split, "f" * 64)
        return dataset_facts(corpus, max_source=8, max_target=4).splits[0]

    rows = list(enumerate(pairs))
    assert card(rows) == card(order.sample(rows, len(rows)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=50), st.integers(1, 100_000))
def test_a_distribution_of_lengths_counts_every_text_once(lengths: list[int], maximum: int) -> None:
    facts = length_facts(lengths, "token", MAX_SOURCES, maximum)
    assert facts is not None
    assert sum(facts.num_texts_by_length.values()) == facts.num_texts == len(lengths)
    shares = list(facts.truncated_fraction.values())
    assert list(map(int, facts.truncated_fraction)) == sorted({*MAX_SOURCES, maximum})
    assert shares == sorted(shares, reverse=True) and all(0 <= share <= 1 for share in shares)
    percentiles = list(facts.percentiles.values())
    assert percentiles == sorted(percentiles)
    assert (percentiles[0], percentiles[-1]) == (min(lengths), max(lengths))
    for limit in MAX_SOURCES:  # each of them ends a bin: figure and table agree
        longer = sum(num for end, num in facts.num_texts_by_length.items() if int(end) > limit)
        assert facts.truncated_fraction[str(limit)] == longer / len(lengths)
    drawn = sum(bar.share_per_octave * (bar.octave_to - bar.octave_from) for bar in length_bars(facts))
    assert math.isclose(drawn, 1)


@given(st.text(max_size=300) | st.lists(st.sampled_from(DOCSTRING_LINES)).map("\n".join))
def test_any_docstring_is_read_without_an_error(docstring: str) -> None:
    pair = docstring_pair(docstring)
    assert pair is None or (pair.document and pair.summary)
