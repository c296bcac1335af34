"""The dataset card: counts, lengths, and what the summaries take from their sources, computed from a run's texts.

Counts are of the whole split. Means and fractions are of at most 2,000 examples or 10 million characters of it, chosen
by the hash of their ids: the same ones on every machine, within 2 % of the whole on SAMSum, a second of work a split at
most. Lengths in tokens are of every example, because training has counted them anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from kilowit.parts.corpus import shuffled_positions
from kilowit.parts.dataset import SPLITS, Corpus, Split
from kilowit.parts.metrics.extractiveness import extraction
from kilowit.parts.metrics.novelty import ORDERS, novel_fraction
from kilowit.parts.text_lengths import MAX_SOURCES, MAX_TARGETS, SplitLengths, length_facts, share_longer, word_lengths
from kilowit.parts.tokenized import TokenizedSplit
from kilowit.parts.words import words
from kilowit.record import DatasetFacts, SplitFacts

MAX_SAMPLED_EXAMPLES: Final = 2000
MAX_SAMPLED_CHARACTERS: Final = 10_000_000  # some 500 long documents; all 2,000 of anything up to the length of news


def dataset_facts(
    corpus: Corpus,
    lengths: Mapping[str, SplitLengths] | None = None,
    *,
    max_source: int | None = None,
    max_target: int | None = None,
    whole: bool = False,
) -> DatasetFacts:
    """Compute the card of a corpus.

    Args:
        lengths: of each split, in tokens of the model that reads it; None counts the words of the sample.
        max_source: the length that sources are cut to, in the unit of the lengths; None = no limit is known.
        max_target: likewise of the summaries.
        whole: measure every example rather than a sample. Cost: 0.1 ms an example of SAMSum, 2 ms one of 2,900 words.
    """
    samples = {name: sample_of(getattr(corpus, name), whole=whole) for name in SPLITS}
    return DatasetFacts(
        name=corpus.name,
        source=corpus.source,
        licence=corpus.licence,
        fingerprint=corpus.fingerprint,
        document_column=corpus.document_column,
        summary_column=corpus.summary_column,
        splits=[
            _split_facts(name, len(getattr(corpus, name)), sample, (lengths or {}).get(name), max_source, max_target)
            for name, sample in samples.items()
        ],
        notes=[*corpus.notes, *_sampling_notes(corpus, samples)],
        version=corpus.version,
        revision=corpus.revision,
    )


def tokenized_facts(
    corpus: Corpus,
    train: TokenizedSplit,
    validation: TokenizedSplit,
    test: TokenizedSplit,
    *,
    max_source_tokens: int,
    max_target_tokens: int,
) -> DatasetFacts:
    """Compute the card of a corpus that has been tokenized: its lengths are known, and of every example."""
    lengths = {
        name: SplitLengths("token", split.num_source_tokens_whole, split.num_target_tokens_whole)
        for name, split in zip(SPLITS, (train, validation, test), strict=True)
    }
    return dataset_facts(corpus, lengths, max_source=max_source_tokens, max_target=max_target_tokens)


def sample_of(split: Split, *, whole: bool = False) -> Split:
    """Return the examples of a split that its card measures, in the order of the split."""
    if whole:
        return split
    chosen: list[int] = []
    num_characters = 0
    for position in shuffled_positions(split.ids, seed=0)[:MAX_SAMPLED_EXAMPLES]:
        if num_characters > MAX_SAMPLED_CHARACTERS:
            break
        chosen.append(position)
        num_characters += len(split.documents[position]) + len(split.summaries[position])
    chosen.sort()
    return Split(
        [split.ids[i] for i in chosen], [split.documents[i] for i in chosen], [split.summaries[i] for i in chosen]
    )


def _sampling_notes(corpus: Corpus, samples: Mapping[str, Split]) -> list[str]:
    return [
        f"means and fractions of {name} are of {len(sample):,} of its {len(getattr(corpus, name)):,} examples, "
        "chosen by hash"
        for name, sample in samples.items()
        if len(sample) < len(getattr(corpus, name))
    ]


def _split_facts(
    name: str,
    num_examples: int,
    sample: Split,
    lengths: SplitLengths | None,
    max_source: int | None,
    max_target: int | None,
) -> SplitFacts:
    num_words = word_lengths(sample.documents, sample.summaries)
    measured = lengths or num_words
    is_token = measured.unit == "token"
    borrowed = _borrowing(sample)
    return SplitFacts(
        split=name,
        num_examples=num_examples,
        num_measured=len(sample),
        source_words_mean=_mean(num_words.sources),
        target_words_mean=_mean(num_words.targets),
        source_tokens_mean=_mean(measured.sources) if is_token else None,
        target_tokens_mean=_mean(measured.targets) if is_token else None,
        source_truncated_fraction=_cut(measured.sources, max_source),
        target_truncated_fraction=_cut(measured.targets, max_target),
        coverage_mean=_mean(borrowed.coverage),
        density_mean=_mean(borrowed.density),
        compression_mean=_mean(borrowed.compression),
        novel_1gram_fraction=_mean(borrowed.novelty[1]),
        novel_2gram_fraction=_mean(borrowed.novelty[2]),
        novel_3gram_fraction=_mean(borrowed.novelty[3]),
        novel_4gram_fraction=_mean(borrowed.novelty[4]),
        source_length=length_facts(measured.sources, measured.unit, MAX_SOURCES, max_source),
        target_length=length_facts(measured.targets, measured.unit, MAX_TARGETS, max_target),
    )


@dataclass(frozen=True)
class _Borrowing:
    """What each summary of a sample takes from its source: parallel lists."""

    coverage: list[float]
    density: list[float]
    compression: list[float]
    novelty: dict[int, list[float]]  # by order of the n-grams


def _borrowing(sample: Split) -> _Borrowing:
    """Compare each summary with its document, one pair in memory at a time."""
    found = _Borrowing([], [], [], {order: [] for order in ORDERS})
    for document, summary in zip(sample.documents, sample.summaries, strict=True):
        source_words, summary_words = words(document), words(summary)
        extracted = extraction(summary_words, source_words)
        found.coverage.append(extracted.coverage)
        found.density.append(extracted.density)
        found.compression.append(extracted.compression)
        for order, values in found.novelty.items():
            values.append(novel_fraction(summary_words, source_words, order))
    return found


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _cut(lengths: Sequence[int], maximum: int | None) -> float | None:
    return share_longer(lengths, maximum) if lengths and maximum is not None else None
