"""cider: n-grams in common with the reference, each weighted by how rare it is in this set of references.

What it is     CIDEr-D: mean over n of 1 to 4 of the clipped cosine of TF-IDF vectors of n-grams, times a Gaussian
               penalty for a difference in length, times 10; in [0, 10], mean over examples.
Settings       sigma 6; document frequencies from the references of this very call; lower case, words of any script, no
               punctuation, no stems.
Limits         The weights come from the test set: the same prediction scores differently in another set, and in a
               set of one it scores 0. Made for captions of 10 words: summaries with 20 words more than their
               reference keep 0.4 % of their score. The interval takes the weights as given.
Source         Vedantam, Zitnick and Parikh 2015, arXiv 1411.5726, section 7 (CIDEr-D); pycocoevalcap 1.2
               ``CiderScorer``, to which the tests hold it equal (it wants Java for tokens; these are ours).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES, scores_of_means
from kilowit.parts.words import WORD_RULE, check_lengths, ngrams, words

NEEDS_SOURCE: Final = False
NAMES: Final = ("cider_d",)
VERSION: Final = 1  # raise it when the same inputs begin to give other values
MAX_ORDER: Final = 4
SIGMA: Final = 6.0  # Source: section 7 of the paper, as is the scale
SCALE: Final = 10.0

Counts = Counter[tuple[str, ...]]


def signature(names: Sequence[str] = NAMES) -> str:
    """Return what the values depend on, in one line."""
    return (
        f"cider|l:{'+'.join(names)}|n:{MAX_ORDER}|sigma:{SIGMA:g}|df:references|words:{WORD_RULE}|agg:mean"
        f"|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(predictions: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Score each prediction against its reference, with weights from all references.

    Raises:
        DataError: not one reference per prediction, or none at all.
    """
    check_lengths(predictions, references=references)
    values = cider_d([words(text) for text in predictions], [words(text) for text in references])
    per_example = {NAMES[0]: values}
    return MetricResult(scores_of_means(per_example, lambda name: signature([name])), per_example)


def cider_d(predicted: Sequence[Sequence[str]], referred: Sequence[Sequence[str]]) -> list[float]:
    """Return the CIDEr-D of each pair of tokenized texts."""
    totals = [0.0] * len(predicted)
    for order in range(1, MAX_ORDER + 1):
        reference_counts = [Counter(ngrams(tokens, order)) for tokens in referred]
        frequencies = Counter(ngram for counts in reference_counts for ngram in counts)
        log_num = math.log(len(referred)) if referred else 0.0
        weights = {ngram: log_num - math.log(frequency) for ngram, frequency in frequencies.items()}
        for place, (tokens, counts) in enumerate(zip(predicted, reference_counts, strict=True)):
            totals[place] += _similarity(Counter(ngrams(tokens, order)), counts, weights, log_num)
    return [
        SCALE * total / MAX_ORDER * _length_penalty(len(tokens), len(other))
        for total, tokens, other in zip(totals, predicted, referred, strict=True)
    ]


def _similarity(
    predicted: Counts, referred: Counts, weights: dict[tuple[str, ...], float], unseen_weight: float
) -> float:
    """Return the cosine of the TF-IDF vectors, predicted values clipped at the reference's."""
    dot = norm_predicted = norm_referred = 0.0
    for ngram, count in predicted.items():
        weight = weights.get(ngram, unseen_weight)
        norm_predicted += (count * weight) ** 2
        if ngram in referred:
            dot += min(count, referred[ngram]) * referred[ngram] * weight * weight
    for ngram, count in referred.items():
        norm_referred += (count * weights[ngram]) ** 2
    return dot / math.sqrt(norm_predicted * norm_referred) if norm_predicted and norm_referred else 0.0


def _length_penalty(num_predicted: int, num_referred: int) -> float:
    """Return the Gaussian of the difference in bigrams, which is how the reference code measures length."""
    difference = max(num_predicted - 1, 0) - max(num_referred - 1, 0)
    return math.exp(-(difference**2) / (2 * SIGMA**2))
