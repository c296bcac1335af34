"""The dataset card, against arithmetic and against the figures known of real corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.parts.dataset import Corpus, Split
from kilowit.parts.dataset_card import MAX_SAMPLED_EXAMPLES, dataset_facts, novel_fraction
from kilowit.parts.datasets import local_files


class WordTokenizer:
    """One token a word and one for the end, as a tokenizer answers."""

    def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * (len(text.split()) + 1) for text in texts]}


def make_corpus(num_rows: int) -> Corpus:
    ids = [str(i) for i in range(num_rows)]
    split = Split(ids, ["The cat sat. It slept well."] * num_rows, ["The cat slept"] * num_rows)
    return Corpus("mine", "files:csv", "cc0", "text", "title", split, split, split, "f" * 64)


def test_figures_are_those_of_the_texts() -> None:
    facts = dataset_facts(make_corpus(4), WordTokenizer(), "sum up: ", max_source_tokens=8, max_target_tokens=4)
    train = facts.splits[0]
    assert (facts.licence, facts.document_column, [split.split for split in facts.splits]) == (
        "cc0", "text", ["train", "validation", "test"],
    )  # fmt: skip
    assert (train.num_examples, train.source_words_mean, train.target_words_mean) == (4, 6.0, 3.0)
    assert (train.source_tokens_mean, train.target_tokens_mean) == (9.0, 4.0)  # two words of prefix, one end
    assert (train.source_truncated_fraction, train.target_truncated_fraction) == (1.0, 0.0)
    assert (train.compression_ratio, train.novel_unigram_fraction, train.novel_bigram_fraction) == (2.0, 0.0, 0.5)


def test_what_needs_a_tokenizer_is_unknown_without_one() -> None:
    train = dataset_facts(make_corpus(2)).splits[0]
    assert train.source_tokens_mean is None and train.source_truncated_fraction is None
    assert train.novel_bigram_fraction == 0.5


def test_a_large_split_is_counted_whole_and_measured_on_a_sample() -> None:
    class Counting(WordTokenizer):
        num_texts = 0

        def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
            self.num_texts += len(texts)
            return super().__call__(texts)

    tokenizer = Counting()
    facts = dataset_facts(make_corpus(MAX_SAMPLED_EXAMPLES + 500), tokenizer)
    assert facts.splits[0].num_examples == MAX_SAMPLED_EXAMPLES + 500
    assert tokenizer.num_texts == 3 * 2 * MAX_SAMPLED_EXAMPLES


def test_novelty_of_summaries_too_short_for_a_bigram_is_unknown() -> None:
    assert novel_fraction(["a b"], ["a"], 2) is None


def test_samsum_is_as_long_and_as_novel_as_published(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "corpora" / "samsum"
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}
    test = dataset_facts(local_files.load(local_files.Options(**files))).splits[2]
    assert test.source_words_mean == pytest.approx(94, abs=3)
    assert test.target_words_mean == pytest.approx(20, abs=1)
    assert test.novel_bigram_fraction == pytest.approx(0.77, abs=0.03)
