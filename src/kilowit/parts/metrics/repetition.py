"""repetition: how often a summary says the same thing twice, the habit of under-trained decoders.

What it is     repeated_1gram_fraction to repeated_4gram_fraction: of the distinct n-grams of the summary the share that
               occurs more than once in it, in [0, 1]; mean over examples.
Settings       Lower case, words of any script, no punctuation.
Needs          nothing but the predictions.
Limits         Grows with length, so compare it at similar lengths only; single words repeat in any good text, so look
               at trigrams and 4-grams. A summary with fewer than n words has no such n-gram and counts as 0.
Source         Fabbri et al. 2021, SummEval, doi.org/10.1162/tacl_a_00373, data statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES
from kilowit.parts.word_figures import by_itself
from kilowit.parts.words import WORD_RULE, ngrams

NEEDS_SOURCE: Final = False
ORDERS: Final = (1, 2, 3, 4)
NAMES: Final = tuple(f"repeated_{order}gram_fraction" for order in ORDERS)
VERSION: Final = 1  # raise it when the same inputs begin to give other values


def signature(names: Sequence[str] = NAMES) -> str:
    """Return what the values depend on, in one line."""
    return (
        f"repetition|l:{'+'.join(names)}|words:{WORD_RULE}|ngrams:distinct|agg:mean|ci:bootstrap{NUM_RESAMPLES}"
        f"|v:{VERSION}"
    )


def score(predictions: Sequence[str], references: Sequence[str] | None = None) -> MetricResult:
    """Look for repetition in each prediction.

    Raises:
        DataError: no predictions.
    """
    return by_itself(
        predictions, NAMES, signature, lambda tokens: [repeated_fraction(tokens, order) for order in ORDERS]
    )


def repeated_fraction(tokens: Sequence[str], order: int) -> float:
    """Return the share of the distinct n-grams that occur more than once.

    >>> repeated_fraction(["no", "no", "never"], 1)
    0.5
    """
    counts = Counter(ngrams(tokens, order))
    return sum(count > 1 for count in counts.values()) / len(counts) if counts else 0.0
