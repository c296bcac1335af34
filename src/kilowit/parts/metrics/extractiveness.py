"""extractiveness: how much of a summary is copied from its source. A warning light, never a measure of factuality.

What it is     coverage: share of the summary's words that stand in fragments shared with the source, in [0, 1].
               density: mean length of the fragment that a word stands in, in words (squares over summary length).
               compression: source words over summary words.
               supported_trigram_fraction: share of the summary's word trigrams that occur in the source, in [0, 1].
Settings       Lower case, words of any script, no punctuation. Fragments are found greedily as in Newsroom's code:
               at each summary word the longest match, where the search in the source goes on behind each match
               that it has tried; so a longer match that begins inside a tried one is not seen.
Needs          the sources. References are not looked at.
Limits         High values mean copying, not truth: copied words can be rearranged into a false claim, and true
               summaries can share no trigram. The supported trigrams follow human consistency ratings on extractive
               news (Pearson 0.70 on QAGS-CNN/DM) and say next to nothing on abstractive news (0.13 on QAGS-XSum).
               Newsroom tokenizes with spaCy and counts punctuation, so its published figures differ a little. Of
               an empty summary all values are 0.
Source         Grusky, Naaman and Artzi 2018, Newsroom, aclanthology.org/N18-1065, section 4 and the code
               lil-lab/newsroom; correlations: kilowit's own, tests/golden/parts/metrics/test_qags.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES
from kilowit.parts.word_figures import beside_source
from kilowit.parts.words import WORD_RULE, ngrams

NEEDS_SOURCE: Final = True
NAMES: Final = ("coverage", "density", "compression", "supported_trigram_fraction")
VERSION: Final = 1  # raise it when the same inputs begin to give other values
SUPPORT_ORDER: Final = 3


def signature(names: Sequence[str] = NAMES) -> str:
    """Return what the values depend on, in one line."""
    return (
        f"extractiveness|l:{'+'.join(names)}|words:{WORD_RULE}|fragments:newsroom-greedy|support:{SUPPORT_ORDER}-grams"
        f"|agg:mean|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(
    predictions: Sequence[str], references: Sequence[str] | None = None, *, sources: Sequence[str]
) -> MetricResult:
    """Compare each prediction with its source. Cost: about 0.2 ms for an article of 670 words.

    Raises:
        DataError: not one source per prediction, or none at all.
    """
    return beside_source(predictions, sources, NAMES, signature, extraction)


class Extraction(NamedTuple):
    """The values of one summary, in the order of `NAMES`."""

    coverage: float
    density: float
    compression: float
    supported_trigram_fraction: float


def extraction(summary: Sequence[str], source: Sequence[str]) -> Extraction:
    """Return what one summary takes from its source, both as words; of an empty summary 0."""
    if not summary:
        return Extraction(0.0, 0.0, 0.0, 0.0)
    lengths = fragment_lengths(summary, source)
    trigrams = list(ngrams(summary, SUPPORT_ORDER))
    in_source = set(ngrams(source, SUPPORT_ORDER)) if trigrams else set()
    return Extraction(
        sum(lengths) / len(summary),
        sum(length * length for length in lengths) / len(summary),
        len(source) / len(summary),
        sum(trigram in in_source for trigram in trigrams) / len(trigrams) if trigrams else 0.0,
    )


def fragment_lengths(summary: Sequence[str], source: Sequence[str]) -> list[int]:
    """Return the lengths, in words, of the fragments that a summary shares with its source, in order.

    Source: Newsroom's ``Fragments._match``, which scans the source for each fragment; here only the places of the
    fragment's first word are looked at, which gives the same fragments.

    >>> fragment_lengths("the cat sat on it".split(), "on the mat the cat sat".split())
    [3, 1]
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(source):
        places[word].append(place)
    lengths, start = [], 0
    while start < len(summary):
        longest, tried_to = 0, 0
        for place in places.get(summary[start], ()):
            if place >= tried_to:
                length = _match_length(summary, start, source, place)
                tried_to = place + length
                longest = max(longest, length)
        if longest:
            lengths.append(longest)
        start += max(longest, 1)
    return lengths


def _match_length(summary: Sequence[str], start: int, source: Sequence[str], place: int) -> int:
    limit = min(len(summary) - start, len(source) - place)
    length = 1
    while length < limit and summary[start + length] == source[place + length]:
        length += 1
    return length
