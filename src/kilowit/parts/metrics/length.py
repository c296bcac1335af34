"""length: how long the summaries are, to be read beside every other score.

What it is     num_words: words of the prediction. num_words_over_reference: that minus the words of the reference.
               Means over examples.
Settings       Lower case, words of any script, no punctuation.
Limits         No measure of quality. But ROUGE moves with it: two systems of the same model with 31 and 60 words
               lie 12 points of ROUGE-1 apart on SAMSum, so a difference in score with a difference in length
               is not a difference in quality.
Source         Sun et al. 2019, "How to compare summarizers without target length?", aclanthology.org/W19-2303.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES, scores_of_means
from kilowit.parts.words import WORD_RULE, check_lengths, words

NEEDS_SOURCE: Final = False
NAMES: Final = ("num_words", "num_words_over_reference")
VERSION: Final = 1  # raise it when the same inputs begin to give other values


def signature(names: Sequence[str] = NAMES) -> str:
    """Return what the values depend on, in one line."""
    return f"length|l:{'+'.join(names)}|words:{WORD_RULE}|agg:mean|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"


def score(predictions: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Count the words of each prediction and its reference.

    Raises:
        DataError: not one reference per prediction, or none at all.
    """
    check_lengths(predictions, references=references)
    predicted = [float(len(words(text))) for text in predictions]
    over = [num - len(words(text)) for num, text in zip(predicted, references, strict=True)]
    per_example = dict(zip(NAMES, (predicted, over), strict=True))
    return MetricResult(scores_of_means(per_example, lambda name: signature([name])), per_example)
