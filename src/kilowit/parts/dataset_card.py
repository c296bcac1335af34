"""The dataset card: counts, lengths, compression and novelty, computed from the texts that a run uses.

Counts are of the whole split. Means and fractions are of at most 2,000 examples of it, chosen by the hash of their
ids: the same ones on every machine, enough for two digits, and a second of work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kilowit.parts.corpus import shuffled_positions
from kilowit.parts.dataset import SPLITS, Corpus, Split
from kilowit.parts.prompt import Prompt
from kilowit.record import DatasetFacts, SplitFacts

MAX_SAMPLED_EXAMPLES: Final = 2000
_WORD: Final = re.compile(r"\w+")


def dataset_facts(
    corpus: Corpus,
    tokenizer: Any = None,
    prefix: str = "",
    max_source_tokens: int | None = None,
    max_target_tokens: int | None = None,
    prompt: Prompt | None = None,
) -> DatasetFacts:
    """Compute the card of a corpus.

    Args:
        tokenizer: of the model that reads it; None leaves the figures in tokens unknown.
        prefix: what the model's family puts before each document; counted in tokens.
        max_source_tokens: limit that truncation is judged by; None leaves it unknown.
        max_target_tokens: likewise of the summaries.
        prompt: what a decoder-only model reads around each document; counted in tokens.
    """
    return DatasetFacts(
        name=corpus.name,
        source=corpus.source,
        licence=corpus.licence,
        fingerprint=corpus.fingerprint,
        document_column=corpus.document_column,
        summary_column=corpus.summary_column,
        splits=[
            _split_facts(name, getattr(corpus, name), tokenizer, prefix, prompt, max_source_tokens, max_target_tokens)
            for name in SPLITS
        ],
        notes=[*corpus.notes, *_sampling_note(corpus)],
    )


def _sampling_note(corpus: Corpus) -> list[str]:
    sampled = [name for name in SPLITS if len(getattr(corpus, name)) > MAX_SAMPLED_EXAMPLES]
    if not sampled:
        return []
    return [f"means and fractions of {', '.join(sampled)} are of {MAX_SAMPLED_EXAMPLES:,} examples, chosen by hash"]


def novel_fraction(documents: Sequence[str], summaries: Sequence[str], n: int) -> float | None:
    """Return the share of the summaries' n-grams that their documents do not hold, repeats counted.

    Words are lower case, punctuation is no word. None if no summary has n words.

    Source: See et al. 2017, arXiv 1704.04368, figure 6; averaged over all n-grams of the split.

    Example:
        >>> novel_fraction(["the cat sat"], ["the cat slept"], 2)
        0.5
    """
    num_novel = num_all = 0
    for document, summary in zip(documents, summaries, strict=True):
        source = set(_ngrams(document, n))
        target = list(_ngrams(summary, n))
        num_all += len(target)
        num_novel += sum(gram not in source for gram in target)
    return num_novel / num_all if num_all else None


def _split_facts(
    name: str,
    split: Split,
    tokenizer: Any,
    prefix: str,
    prompt: Prompt | None,
    max_source_tokens: int | None,
    max_target_tokens: int | None,
) -> SplitFacts:
    positions = sorted(shuffled_positions(split.ids, seed=0)[:MAX_SAMPLED_EXAMPLES])
    documents = [split.documents[i] for i in positions]
    summaries = [split.summaries[i] for i in positions]
    source_words = _mean(len(text.split()) for text in documents)
    target_words = _mean(len(text.split()) for text in summaries)
    if prompt is None:
        source_tokens = _num_tokens(tokenizer, [prefix + text for text in documents])
        target_tokens = _num_tokens(tokenizer, summaries)
    else:
        source_tokens = [prompt.num_tokens + n for n in _num_tokens(tokenizer, documents, add_special_tokens=False)]
        target_tokens = [1 + n for n in _num_tokens(tokenizer, summaries, add_special_tokens=False)]
    return SplitFacts(
        split=name,
        num_examples=len(split),
        source_words_mean=source_words,
        target_words_mean=target_words,
        source_tokens_mean=_mean(source_tokens),
        target_tokens_mean=_mean(target_tokens),
        source_truncated_fraction=_fraction_over(source_tokens, max_source_tokens),
        target_truncated_fraction=_fraction_over(target_tokens, max_target_tokens),
        compression_ratio=source_words / target_words if source_words and target_words else None,
        novel_unigram_fraction=novel_fraction(documents, summaries, 1),
        novel_bigram_fraction=novel_fraction(documents, summaries, 2),
    )


def _num_tokens(tokenizer: Any, texts: Sequence[str], **how: bool) -> list[int]:
    """Count tokens per text, special ones included; empty without a tokenizer."""
    if tokenizer is None:
        return []
    return [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False, **how)["input_ids"]]


def _ngrams(text: str, n: int) -> Iterable[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return zip(*(words[i:] for i in range(n)), strict=False)


def _mean(values: Iterable[int]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def _fraction_over(lengths: Sequence[int], limit: int | None) -> float | None:
    return sum(length > limit for length in lengths) / len(lengths) if lengths and limit is not None else None
