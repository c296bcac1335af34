"""How long texts are: bins of a quarter octave, percentiles, and the share that each maximum length would cut.

The bins are the same for every dataset, and each power of two ends one: what a maximum such as 512 cuts is what lies
right of that bin.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kilowit.record import LengthFacts

LengthUnit = Literal["token", "word"]

MAX_SOURCES: Final = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)  # positions of BART to LED
MAX_TARGETS: Final = (32, 64, 128, 256, 512)
PERCENTAGES: Final = (0, 5, 25, 50, 75, 95, 99, 100)
BIN_ENDS: Final = tuple(sorted({round(2 ** (quarter / 4)) for quarter in range(4 * 32)}))  # longest length of each
TEXTS_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class SplitLengths:
    """The lengths of the texts of one split, in any order."""

    unit: LengthUnit
    sources: Sequence[int]
    targets: Sequence[int]


def word_lengths(documents: Sequence[str], summaries: Sequence[str]) -> SplitLengths:
    """Count what stands between white space."""
    return SplitLengths("word", [len(text.split()) for text in documents], [len(text.split()) for text in summaries])


def token_lengths(documents: Sequence[str], summaries: Sequence[str], tokenizer: Any, prefix: str = "") -> SplitLengths:
    """Count tokens as training would, special ones included, uncut.

    Args:
        tokenizer: of Hugging Face transformers, or what answers like one.
        prefix: what the model's family puts before each document.
    """
    return SplitLengths(
        "token",
        _num_tokens([prefix + text for text in documents], tokenizer, "text"),
        _num_tokens(summaries, tokenizer, "text_target"),
    )


def _num_tokens(texts: Sequence[str], tokenizer: Any, role: str) -> list[int]:
    counts: list[int] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        rows = tokenizer(**{role: list(texts[start : start + TEXTS_AT_ONCE])}, truncation=False, verbose=False)
        counts += [len(tokens) for tokens in rows["input_ids"]]
    return counts


def length_facts(
    lengths: Sequence[int], unit: LengthUnit, limits: Sequence[int], maximum: int | None = None
) -> LengthFacts | None:
    """Sum up the lengths of a column; None without texts.

    Args:
        limits: maximum lengths to say the truncated share of.
        maximum: the study's own, said too.

    Example:
        >>> length_facts([3, 5, 9], "word", [4, 8]).truncated_fraction
        {'4': 0.6666666666666666, '8': 0.3333333333333333}
    """
    if not lengths:
        return None
    ordered = sorted(lengths)
    num_texts = len(ordered)
    bins = Counter(BIN_ENDS[bisect_left(BIN_ENDS, length)] for length in ordered)
    ranks = {percentage: max(math.ceil(percentage * num_texts / 100), 1) - 1 for percentage in PERCENTAGES}
    tried = sorted({*limits, *([] if maximum is None else [maximum])})
    return LengthFacts(
        unit=unit,
        num_texts=num_texts,
        percentiles={str(percentage): ordered[rank] for percentage, rank in ranks.items()},
        num_texts_by_length={str(end): bins[end] for end in sorted(bins)},
        truncated_fraction={str(limit): share_longer(ordered, limit) for limit in tried},
        maximum=maximum,
    )


def share_longer(lengths: Sequence[int], limit: int) -> float:
    """Return the share of lengths, of which there is at least one, that are above a limit."""
    return sum(length > limit for length in lengths) / len(lengths)


@dataclass(frozen=True)
class LengthBar:
    """One bin of a distribution as it is drawn over the logarithm of the length: its area is its share of the texts."""

    octave_from: float  # log2 of the longest length of the bin before
    octave_to: float  # log2 of its own longest length
    share_per_octave: float


def length_bars(facts: LengthFacts) -> list[LengthBar]:
    """Return the bars from the shortest text to the longest, empty bins as bars of no height.

    >>> [round(bar.share_per_octave, 2) for bar in length_bars(length_facts([5, 5, 8], "word", []))]
    [2.07, 0.0, 0.0, 1.73]
    """
    counts = {int(end): num for end, num in facts.num_texts_by_length.items()}
    first, last = bisect_left(BIN_ENDS, min(counts)), bisect_left(BIN_ENDS, max(counts))
    found = []
    for i in range(first, last + 1):
        start, end = math.log2(BIN_ENDS[i - 1] if i else 0.5), math.log2(BIN_ENDS[i])
        found.append(LengthBar(start, end, counts.get(BIN_ENDS[i], 0) / facts.num_texts / (end - start)))
    return found
