"""chrf: letters and words in common with the reference; the best cheap second opinion beside ROUGE.

What it is     Corpus chrF++: F2 (recall counts twice) of the mean precision and recall of character 1- to 6-grams and
               word 1- and 2-grams over the whole test set; in [0, 1] (times 100 it is sacrebleu's figure).
               Per example: the same of one pair.
Settings       sacrebleu's: case kept, no white space in character n-grams, effective order, one reference.
Interval       Corpus scores of 10,000 resamples of the examples, from their n-gram counts.
Limits         Favours longer summaries. Character n-grams reward words that merely look alike.
Source         Popović 2017, aclanthology.org/W17-4770; Post 2018, aclanthology.org/W18-6319; sacrebleu 2. Highest
               system-level Kendall with coherence (0.40) and relevance (0.59) of the overlap metrics in
               SummEval's table 2 (chrF there).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES
from kilowit.parts.sacrebleu_counts import corpus_result, segment_counts
from kilowit.parts.words import check_lengths

NEEDS_SOURCE: Final = False
PACKAGES: Final = ("sacrebleu", "numpy")
NAMES: Final = ("chrf++",)
VERSION: Final = 1  # raise it when the same inputs begin to give other values
CHARACTER_ORDER: Final = 6
WORD_ORDER: Final = 2
BETA: Final = 2


def signature(names: Sequence[str] = NAMES) -> str:
    """Return what the value depends on, in one line."""
    return (
        f"chrf++|nrefs:1|case:mixed|eff:yes|nc:{CHARACTER_ORDER}|nw:{WORD_ORDER}|beta:{BETA}|space:no|lib:sacrebleu-2"
        f"|scale:1|agg:corpus|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(predictions: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Score the predictions against their references. Cost: about 1 ms for a pair of 50 words.

    Raises:
        DataError: not one reference per prediction, or none at all.
        PartError: sacrebleu is not installed.
    """
    check_lengths(predictions, references=references)
    counts_NK = segment_counts(
        "CHRF", predictions, references, char_order=CHARACTER_ORDER, word_order=WORD_ORDER, beta=BETA
    )
    return corpus_result(NAMES[0], signature(), counts_NK, corpus_value=_chrf, example_value=_chrf)


def _chrf(counts_NK: Any) -> Any:
    """Return chrF++ of each row of counts: predicted, reference's and matching n-grams, order by order.

    Source: sacrebleu 2.6 ``CHRF._compute_f_score`` without epsilon smoothing: orders that either text is too short
    for are left out of the means.
    """
    import numpy as np

    predicted_NO, referred_NO, matching_NO = (counts_NK[:, column::3] for column in range(3))
    is_effective_NO = (predicted_NO > 0) & (referred_NO > 0)
    num_effective_N = np.maximum(is_effective_NO.sum(axis=1), 1)

    def mean_share(totals_NO: Any) -> Any:
        return np.where(is_effective_NO, matching_NO / np.maximum(totals_NO, 1), 0.0).sum(axis=1) / num_effective_N

    precision_N, recall_N = mean_share(predicted_NO), mean_share(referred_NO)
    divisor_N = BETA**2 * precision_N + recall_N
    return np.where(divisor_N > 0, (1 + BETA**2) * precision_N * recall_N / np.where(divisor_N > 0, divisor_N, 1), 0.0)
