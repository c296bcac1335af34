"""The dataset card, against arithmetic, against the metrics, and against the figures known of real corpora."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from kilowit.parts import dataset_card
from kilowit.parts.dataset import Corpus, Split
from kilowit.parts.dataset_card import MAX_SAMPLED_EXAMPLES, dataset_facts, sample_of
from kilowit.parts.datasets import local_files
from kilowit.parts.metrics import extractiveness, novelty
from kilowit.parts.text_lengths import SplitLengths, length_bars, length_facts, token_lengths


class WordTokenizer:
    """One token a word and one for the end, as a tokenizer answers."""

    def __call__(
        self, text: list[str] | None = None, text_target: list[str] | None = None, **options: object
    ) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * (len(words.split()) + 1) for words in text or text_target or []]}


def make_corpus(num_rows: int) -> Corpus:
    ids = [str(i) for i in range(num_rows)]
    split = Split(ids, ["The cat sat. It slept well."] * num_rows, ["The cat slept"] * num_rows)
    return Corpus("mine", "files:csv", "cc0", "text", "title", split, split, split, "f" * 64)


def test_figures_are_those_of_the_texts() -> None:
    corpus = make_corpus(4)
    lengths = token_lengths(corpus.train.documents, corpus.train.summaries, WordTokenizer(), "sum up: ")
    facts = dataset_facts(corpus, {"train": lengths}, max_source=8, max_target=4)
    train = facts.splits[0]
    assert (facts.licence, facts.document_column, [split.split for split in facts.splits]) == (
        "cc0", "text", ["train", "validation", "test"],
    )  # fmt: skip
    assert (train.num_examples, train.num_measured, train.source_words_mean, train.target_words_mean) == (4, 4, 6, 3)
    assert (train.source_tokens_mean, train.target_tokens_mean) == (9.0, 4.0)  # two words of prefix, one end
    assert (train.source_truncated_fraction, train.target_truncated_fraction) == (1.0, 0.0)
    assert (train.coverage_mean, train.density_mean) == (1.0, 5 / 3)  # fragments "the cat" and "slept": (4 + 1) / 3
    assert (train.compression_mean, train.novel_1gram_fraction, train.novel_2gram_fraction) == (2.0, 0.0, 0.5)
    assert (train.novel_3gram_fraction, train.novel_4gram_fraction) == (1.0, 0.0)  # no summary has a 4-gram


def test_figures_are_those_that_the_metrics_give_the_references(shared_dir: Path) -> None:
    corpus = real_corpus(shared_dir, "scitldr")
    test = dataset_facts(corpus).splits[2]
    given = {"sources": corpus.test.documents}
    scores = [
        *extractiveness.score(corpus.test.summaries, **given).scores,
        *novelty.score(corpus.test.summaries, **given).scores,
    ]
    values = {score.metric: score.value for score in scores}
    for name in ("coverage", "density", "compression"):
        assert getattr(test, f"{name}_mean") == pytest.approx(values[name], rel=1e-12)
    for name in novelty.NAMES:
        assert getattr(test, name) == pytest.approx(values[name], rel=1e-12)


def test_lengths_are_in_words_without_a_tokenizer_and_say_so() -> None:
    train = dataset_facts(make_corpus(2), max_source=5).splits[0]
    assert train.source_tokens_mean is None
    assert train.source_length is not None and train.source_length.unit == "word"
    assert train.source_length.percentiles["50"] == 6
    assert train.source_truncated_fraction == 1.0 and train.target_truncated_fraction is None


def test_a_large_split_is_counted_whole_and_measured_on_a_sample_that_is_printed() -> None:
    num = MAX_SAMPLED_EXAMPLES + 500
    corpus = make_corpus(num)
    sampled = dataset_facts(corpus)
    assert (sampled.splits[0].num_examples, sampled.splits[0].num_measured) == (num, MAX_SAMPLED_EXAMPLES)
    assert any("train are of 2,000 of its 2,500 examples" in note for note in sampled.notes)
    whole = dataset_facts(corpus, whole=True)
    assert whole.splits[0].num_measured == num and not whole.notes
    lengths = SplitLengths("token", range(1, num + 1), [1] * num)
    counted = dataset_facts(corpus, {"train": lengths}).splits[0].source_length
    assert counted is not None and counted.num_texts == num  # training has counted all of them


def test_long_documents_are_sampled_by_their_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_card, "MAX_SAMPLED_CHARACTERS", 400)
    split = make_corpus(100).train
    assert len(sample_of(split)) == 11  # 40 characters a pair: the eleventh passes 400
    assert len(sample_of(split, whole=True)) == 100


def test_a_sample_does_not_depend_on_the_order_of_the_files() -> None:
    split = make_corpus(MAX_SAMPLED_EXAMPLES + 100).train
    mirrored = Split(split.ids[::-1], split.documents[::-1], split.summaries[::-1])
    assert set(sample_of(split).ids) == set(sample_of(mirrored).ids)


def test_what_a_maximum_cuts_is_what_is_longer() -> None:
    facts = length_facts([100, 128, 129, 300], "token", [128, 256], maximum=100)
    assert facts is not None
    assert facts.truncated_fraction == {"100": 0.75, "128": 0.5, "256": 0.25}
    assert facts.percentiles == {"0": 100, "5": 100, "25": 100, "50": 128, "75": 129, "95": 300, "99": 300, "100": 300}
    assert sum(num for end, num in facts.num_texts_by_length.items() if int(end) <= 128) == 2  # 128 ends a bin
    assert length_facts([], "token", [128]) is None


def test_bars_cover_all_texts_and_have_no_gap() -> None:
    facts = length_facts([1, 2, 2, 9, 40], "word", [])
    assert facts is not None
    bars = length_bars(facts)
    assert all(one.octave_to == other.octave_from for one, other in itertools.pairwise(bars))
    assert sum(bar.share_per_octave * (bar.octave_to - bar.octave_from) for bar in bars) == pytest.approx(1)


def test_version_and_revision_are_on_the_card() -> None:
    facts = dataset_facts(replace(make_corpus(1), version="3.0.0", revision="0f3c"))
    assert (facts.version, facts.revision) == ("3.0.0", "0f3c")


def real_corpus(shared_dir: Path, name: str) -> Corpus:
    folder = shared_dir / "data" / "corpora" / name
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation", "test")}
    return local_files.load(local_files.Options.model_validate(files))


# Words and novel bigrams as the folder's README counted them; the novelty of SAMSum's references is that of SummEval's
# definition (distinct n-grams, mean over examples).
@pytest.mark.parametrize(
    ("name", "source_words", "target_words", "novel_bigrams"),
    [("samsum", 94, 20, 0.77), ("scitldr", 159, 19, 0.63), ("dialogsum", 131, 23, 0.73)],
)
def test_real_corpora_are_as_long_and_as_novel_as_counted_elsewhere(
    shared_dir: Path, name: str, source_words: float, target_words: float, novel_bigrams: float
) -> None:
    train = dataset_facts(real_corpus(shared_dir, name)).splits[0]
    assert train.source_words_mean == pytest.approx(source_words, rel=0.05)
    assert train.target_words_mean == pytest.approx(target_words, rel=0.15)
    assert train.novel_2gram_fraction == pytest.approx(novel_bigrams, abs=0.03)


def test_a_sample_of_samsum_agrees_with_the_whole_to_two_digits(shared_dir: Path) -> None:
    corpus = real_corpus(shared_dir, "samsum")
    sampled, whole = dataset_facts(corpus).splits[0], dataset_facts(corpus, whole=True).splits[0]
    assert (sampled.num_measured, whole.num_measured) == (2000, 14731)
    for name in ("coverage_mean", "density_mean", "compression_mean", "source_words_mean", "novel_2gram_fraction"):
        assert getattr(sampled, name) == pytest.approx(getattr(whole, name), rel=0.02), name
