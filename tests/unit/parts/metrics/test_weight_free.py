"""The metrics that need no weights: against their reference implementations, and against arithmetic."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable

import pytest
from nltk.translate.meteor_score import single_meteor_score

from kilowit import parts
from kilowit.errors import DataError, PartError
from kilowit.parts.metrics import bleu, chrf, cider, extractiveness, length, meteor, novelty, repetition
from kilowit.parts.words import words
from rouge_texts import pairs

METRICS = (bleu, chrf, cider, extractiveness, length, meteor, novelty, repetition)
PREDICTIONS, REFERENCES = (
    [text.encode("utf-8", "replace").decode() for text in texts] for texts in pairs(seed=3, num_pairs=400)
)
each = pytest.mark.parametrize("metric", METRICS, ids=lambda module: module.__name__.rsplit(".", 1)[1])


def score(metric: object, predictions: list[str], others: list[str]) -> object:
    return metric.score(predictions, sources=others) if metric.NEEDS_SOURCE else metric.score(predictions, others)


class NoSynonyms:
    """A WordNet that knows no word."""

    def synsets(self, word: str) -> list[str]:
        return []


def test_bleu_is_sacrebleus_for_the_corpus_and_for_each_pair() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    result = bleu.score(PREDICTIONS, REFERENCES)
    theirs = sacrebleu.metrics.BLEU()
    assert result.scores[0].value * 100 == pytest.approx(
        theirs.corpus_score(PREDICTIONS, [REFERENCES]).score, abs=1e-10
    )
    sentence = sacrebleu.metrics.BLEU(effective_order=True)
    for ours, prediction, reference in zip(result.per_example["bleu"], PREDICTIONS, REFERENCES, strict=True):
        assert ours * 100 == pytest.approx(sentence.sentence_score(prediction, [reference]).score, abs=1e-10)
    assert str(theirs.get_signature()).rsplit("|version", 1)[0] in bleu.signature()


def test_chrf_is_sacrebleus_for_the_corpus_and_for_each_pair() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    result = chrf.score(PREDICTIONS, REFERENCES)
    theirs = sacrebleu.metrics.CHRF(word_order=2)
    assert result.scores[0].value * 100 == pytest.approx(
        theirs.corpus_score(PREDICTIONS, [REFERENCES]).score, abs=1e-10
    )
    for ours, prediction, reference in zip(result.per_example["chrf++"], PREDICTIONS, REFERENCES, strict=True):
        assert ours * 100 == pytest.approx(theirs.sentence_score(prediction, [reference]).score, abs=1e-10)


def test_a_corpus_metric_brackets_its_value_with_resampled_corpus_values() -> None:
    pytest.importorskip("sacrebleu")
    for metric in (bleu, chrf):
        corpus = metric.score(PREDICTIONS, REFERENCES).scores[0]
        assert corpus.ci95_low < corpus.value < corpus.ci95_high


def test_without_sacrebleu_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(PartError, match="needs the package sacrebleu"):
        bleu.score(["a"], ["a"])


def test_meteor_is_nltks_without_wordnet() -> None:
    values = meteor.score(PREDICTIONS, REFERENCES).per_example["meteor_exact_stem"]
    for ours, prediction, reference in zip(values, PREDICTIONS, REFERENCES, strict=True):
        assert ours == single_meteor_score(words(reference), words(prediction), wordnet=NoSynonyms())


def reference_cider(predicted: list[list[str]], referred: list[list[str]]) -> list[float]:
    """CIDEr-D in the words of its paper: vectors over all n-grams, one pair after another."""

    def count(tokens: list[str], n: int) -> dict[tuple[str, ...], int]:
        grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        return {gram: grams.count(gram) for gram in grams}

    values = []
    for prediction, reference in zip(predicted, referred, strict=True):
        total = 0.0
        for n in range(1, 5):
            tables = [count(tokens, n) for tokens in referred]

            def vector(tokens: list[str], n: int = n, tables: list = tables) -> dict[tuple[str, ...], float]:
                return {
                    gram: number * math.log(len(referred) / max(1, sum(gram in table for table in tables)))
                    for gram, number in count(tokens, n).items()
                }

            a, b = vector(prediction), vector(reference)
            norm = math.sqrt(sum(x * x for x in a.values())) * math.sqrt(sum(x * x for x in b.values()))
            if norm:
                total += sum(min(a[gram], b[gram]) * b[gram] for gram in a.keys() & b.keys()) / norm
        gap = max(len(prediction) - 1, 0) - max(len(reference) - 1, 0)
        values.append(10 * total / 4 * math.exp(-(gap**2) / 72))
    return values


def test_cider_is_that_of_its_paper() -> None:
    predicted, referred = [words(text) for text in PREDICTIONS[:60]], [words(text) for text in REFERENCES[:60]]
    assert cider.cider_d(predicted, referred) == pytest.approx(reference_cider(predicted, referred), abs=1e-12)


def test_cider_equals_what_pycocoevalcap_gave() -> None:
    """Golden: ``CiderScorer(n=4, sigma=6.0)`` of pycocoevalcap 1.2, 2026-11-23, on the same tokens."""
    predicted = ["the cat sat on the mat", "a dog runs in the park", "nothing alike"]
    referred = ["the cat lay on the mat", "a dog runs in the park", "quite another text"]
    values = cider.cider_d([text.split() for text in predicted], [text.split() for text in referred])
    assert values == pytest.approx([4.074927008164994, 10.0, 0.0], abs=1e-12)


def newsroom_fragments(summary: list[str], source: list[str]) -> list[int]:
    """The fragments of Newsroom's ``Fragments._match``, scanning as it does."""
    lengths, start = [], 0
    while start < len(summary):
        best, place = 0, 0
        while place < len(source):
            if summary[start] == source[place]:
                a, b = start, place
                while a < len(summary) and b < len(source) and summary[a] == source[b]:
                    a, b = a + 1, b + 1
                best, place = max(best, a - start), b
            else:
                place += 1
        if best:
            lengths.append(best)
        start += max(best, 1)
    return lengths


def test_fragments_are_newsrooms_greedy_ones() -> None:
    generator = random.Random(2018)
    for _ in range(5_000):
        summary = generator.choices("abc", k=generator.randrange(12))
        source = generator.choices("abc", k=generator.randrange(25))
        assert extractiveness.fragment_lengths(summary, source) == newsroom_fragments(summary, source)


def test_extractiveness_of_an_example_counted_by_hand() -> None:
    values = extractiveness.score(["The cat sat on it."], sources=["On the mat the cat sat, said Ann."]).per_example
    assert values == {  # fragments "the cat sat" and "on" of 5 words; trigram "the cat sat" of 3
        "coverage": [4 / 5], "density": [(9 + 1) / 5], "compression": [8 / 5], "supported_trigram_fraction": [1 / 3],
    }  # fmt: skip


def test_novelty_and_repetition_of_examples_counted_by_hand() -> None:
    novel = novelty.score(["a b a c"], sources=["a b d"]).per_example
    assert novel["novel_1gram_fraction"] == [1 / 3]  # c of a, b, c
    assert novel["novel_2gram_fraction"] == [2 / 3]  # "b a", "a c"; "a b" is in the source
    repeated = repetition.score(["no no no way"]).per_example
    assert repeated["repeated_1gram_fraction"] == [1 / 2]  # no
    assert repeated["repeated_2gram_fraction"] == [1 / 2]  # "no no", not "no way"
    assert repeated["repeated_4gram_fraction"] == [0.0]


def test_length_counts_words_and_compares_with_the_reference() -> None:
    values = length.score(["Three words here!", ""], ["two words", "one"]).per_example
    assert values == {"num_words": [3.0, 0.0], "num_words_over_reference": [1.0, -1.0]}


@each
def test_values_are_finite_and_one_per_example(metric: object) -> None:
    result = score(metric, PREDICTIONS, REFERENCES)
    assert set(result.per_example) == set(metric.NAMES)
    for values in result.per_example.values():
        assert len(values) == len(PREDICTIONS)
        assert all(math.isfinite(value) for value in values)


@each
def test_a_copy_scores_highest_and_an_unrelated_text_lowest(metric: object) -> None:
    if metric in (length, repetition):
        pytest.skip("does not compare words with another text")
    texts = [f"number {place} is a word of this {place + 1} text" for place in range(20)]
    copies, others = score(metric, texts, texts), score(metric, ["quite unlike all others here"] * 20, texts)
    for same, other in zip(copies.scores, others.scores, strict=True):
        if same.metric == "compression":
            continue
        assert (same.value < other.value) if metric is novelty else (same.value > other.value)


@each
def test_the_signature_is_one_line_and_in_every_score(metric: object) -> None:
    assert "\n" not in metric.signature()
    for one in score(metric, PREDICTIONS[:5], REFERENCES[:5]).scores:
        assert f"|v:{metric.VERSION}" in one.signature


@each
def test_texts_that_do_not_pair_up_are_refused(metric: object) -> None:
    with pytest.raises(DataError, match=r"no predictions|predictions, but"):
        score(metric, [], [])
    if metric is not repetition:
        with pytest.raises(DataError, match="2 predictions, but 1"):
            score(metric, ["a", "b"], ["a"])


def test_every_metric_is_listed_with_a_card_that_names_definition_limits_and_source() -> None:
    needed: Callable[[str], list[str]] = lambda card: [  # noqa: E731
        heading for heading in ("What it is", "Settings", "Limits", "Source") if heading not in card
    ]
    for metric in METRICS:
        name = metric.__name__.rsplit(".", 1)[1]
        assert name in parts.names("metrics")
        assert needed(parts.card("metrics", name)) == []
