"""textrank: the sentences that most others resemble.

What it does   Ranks sentences by PageRank over a graph whose edges are word overlap, and copies the best in the order
               of the document. Nothing is trained.
When to use    Beside lead: it finds the middle of a document, lead its start.
When not       Documents of one or two sentences (it is lead then).
Options        num_sentences (as lead), max_words (none), max_source_sentences (400: the graph grows with its square).
Source         Mihalcea and Tarau 2004, TextRank: Bringing Order into Text, EMNLP: similarity = words in common over
               log lengths (section 4.2), damping 0.85 (section 2). Own implementation; words lower case, no stop list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.parts.models.lead import Options as LeadOptions
from kilowit.parts.models.lead import cut_words, num_sentences_for
from kilowit.parts.sentences import split_sentences
from kilowit.settings import Count

DAMPING: Final = 0.85
TOLERANCE: Final = 1e-6
MAX_ITERATIONS: Final = 100


class Options(LeadOptions):
    """How many sentences to pick, and from how many."""

    max_source_sentences: Count = 400


@dataclass(frozen=True)
class TextRankSummarizer:
    """Copies the most central sentences of each document."""

    num_sentences: int
    max_words: int | None
    max_source_sentences: int

    def summarize(self, documents: list[str]) -> list[str]:
        """Return the best sentences of each document, in its order, one a line."""
        return [self._summarize_one(document) for document in documents]

    def _summarize_one(self, document: str) -> str:
        sentences = split_sentences(document)[: self.max_source_sentences]
        scores = rank_sentences(sentences)
        best = sorted(range(len(sentences)), key=lambda i: (-scores[i], i))[: self.num_sentences]
        return cut_words([sentences[i] for i in sorted(best)], self.max_words)


def summarizer(options: Options, dataset_name: str | None = None) -> TextRankSummarizer:
    """Build the baseline; `dataset_name` chooses the default number of sentences."""
    num_sentences = num_sentences_for(options.num_sentences, dataset_name)
    return TextRankSummarizer(num_sentences, options.max_words, options.max_source_sentences)


def rank_sentences(sentences: Sequence[str]) -> list[float]:
    """Return each sentence's weighted PageRank, summing to 1 where any two sentences share a word.

    Cost: the square of the number of sentences.

    Example:
        >>> [round(score, 2) for score in rank_sentences(["red green", "red blue", "green black"])]
        [0.49, 0.26, 0.26]
    """
    bags = [frozenset(re.findall(r"\w+", sentence.lower())) for sentence in sentences]
    edges: list[list[tuple[int, float]]] = [[] for _ in sentences]
    for i, bag in enumerate(bags):
        for j in range(i):
            if weight := _similarity(bag, bags[j]):
                edges[i].append((j, weight))
                edges[j].append((i, weight))
    total_weights = [sum(weight for _, weight in row) for row in edges]
    scores = [1 / len(sentences) for _ in sentences]
    for _ in range(MAX_ITERATIONS):
        previous = scores
        scores = [
            (1 - DAMPING) / len(sentences) + DAMPING * sum(previous[j] * w / total_weights[j] for j, w in row)
            for row in edges
        ]
        if max((abs(a - b) for a, b in zip(scores, previous, strict=True)), default=0.0) < TOLERANCE:
            break
    return scores


def _similarity(first: frozenset[str], second: frozenset[str]) -> float:
    """Words in common over the sum of the log sizes; 0 for one-word sentences, whose log is 0."""
    if len(first) < 2 or len(second) < 2:
        return 0.0
    return len(first & second) / (math.log(len(first)) + math.log(len(second)))
