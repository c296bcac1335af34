"""meteor: words in common with the reference, stems included, with a penalty for scattered order.

What it is     METEOR of 2007 with its stages "exact" and "stem", without synonyms and paraphrases: harmonic mean of
               precision and recall of aligned words (recall weighs nine times as much), times 1 minus half the
               cube of chunks over matches; in [0, 1], mean over examples.
Settings       alpha 0.9, beta 3, gamma 0.5; Porter stems; lower case, words of any script, no punctuation; alignment
               word by word from the end, as NLTK does it.
Limits         Not the METEOR 1.5 of the SummEval tables (that has paraphrase tables, tuned weights and a search for
               the alignment with fewest chunks): compare within kilowit only. English stems.
Source         Lavie and Agarwal 2007, aclanthology.org/W07-0734; NLTK 3.10 ``meteor_score`` without WordNet, to which
               the tests hold it equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES, scores_of_means
from kilowit.parts.rouge.porter import stem
from kilowit.parts.words import WORD_RULE, check_lengths, words

NEEDS_SOURCE: Final = False
NAMES: Final = ("meteor_exact_stem",)
VERSION: Final = 1  # raise it when the same inputs begin to give other values
ALPHA: Final = 0.9  # Source: Lavie and Agarwal 2007, section 2, as are the next two
BETA: Final = 3.0
GAMMA: Final = 0.5

Placed = list[tuple[int, str]]  # words with their places

_stem = lru_cache(maxsize=1 << 17)(stem)


def signature(names: Sequence[str] = NAMES) -> str:
    """Return what the values depend on, in one line."""
    return (
        f"meteor|l:{'+'.join(names)}|stages:exact+stem|stem:porter|words:{WORD_RULE}|alpha:{ALPHA:g}|beta:{BETA:g}"
        f"|gamma:{GAMMA:g}|agg:mean|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(predictions: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Score each prediction against its reference.

    Raises:
        DataError: not one reference per prediction, or none at all.
    """
    check_lengths(predictions, references=references)
    values = [meteor(words(p), words(r)) for p, r in zip(predictions, references, strict=True)]
    per_example = {NAMES[0]: values}
    return MetricResult(scores_of_means(per_example, lambda name: signature([name])), per_example)


def meteor(predicted: Sequence[str], referred: Sequence[str]) -> float:
    """Return the METEOR of one pair of tokenized texts; 0 where no word matches.

    >>> round(meteor("the cats sat".split(), "the cat sat down".split()), 4)
    0.755
    """
    matches, left_predicted, left_referred = _match(list(enumerate(predicted)), list(enumerate(referred)))
    more, _, _ = _match(
        [(place, _stem(word)) for place, word in left_predicted],
        [(place, _stem(word)) for place, word in left_referred],
    )
    matches = sorted(matches + more)
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(predicted), len(matches) / len(referred)
    mean = (precision * recall) / (ALPHA * precision + (1 - ALPHA) * recall)
    num_chunks = 1 + sum(
        (next_predicted, next_referred) != (at_predicted + 1, at_referred + 1)
        for (at_predicted, at_referred), (next_predicted, next_referred) in pairwise(matches)
    )
    penalty: float = GAMMA * (num_chunks / len(matches)) ** BETA
    return (1 - penalty) * mean


def _match(predicted: Placed, referred: Placed) -> tuple[list[tuple[int, int]], Placed, Placed]:
    """Align equal words, last with last; return the pairs of places, and what is left of either text."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in referred:
        places[word].append(place)
    matches, left = [], []
    for place, word in reversed(predicted):
        if places.get(word):
            matches.append((place, places[word].pop()))
        else:
            left.append((place, word))
    taken = {place for _, place in matches}
    return matches, left[::-1], [item for item in referred if item[0] not in taken]
