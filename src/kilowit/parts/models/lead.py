"""lead: the first sentences of the document.

What it does   Copies the first `num_sentences` sentences, cut to `max_words` if given. Nothing is trained.
When to use    In every study: a neural model that does not beat it is not worth its energy. On news it is hard to beat.
When not       As a summarizer of dialogues or of patents, where the point is not at the start.
Options        num_sentences (None = 1 for xsum, reddit_tifu, docstrings; 5 for big_patent; else 3), max_words (none).
Source         Lead-3: Nallapati et al. 2016, arXiv 1602.06023; one sentence for extreme summarization:
               Narayan et al. 2018, arXiv 1808.08745. The numbers for other datasets are ours: near the length of
               their references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import Field

from kilowit.parts.sentences import split_sentences
from kilowit.settings import Block, Count

NUM_SENTENCES: Final = {"xsum": 1, "reddit_tifu": 1, "docstrings": 1, "big_patent": 5}
NUM_SENTENCES_ELSE: Final = 3


class Options(Block):
    """How much of the start to take."""

    num_sentences: Count | None = Field(None, description="None = what suits the dataset, see the card")
    max_words: Count | None = Field(None, description="cut after so many words; None = do not cut")


@dataclass(frozen=True)
class LeadSummarizer:
    """Copies the start of each document."""

    num_sentences: int
    max_words: int | None

    def summarize(self, documents: list[str]) -> list[str]:
        """Return the first sentences of each document, one a line."""
        return [cut_words(split_sentences(document)[: self.num_sentences], self.max_words) for document in documents]


def summarizer(options: Options, dataset_name: str | None = None) -> LeadSummarizer:
    """Build the baseline; `dataset_name` chooses the default number of sentences."""
    return LeadSummarizer(num_sentences_for(options.num_sentences, dataset_name), options.max_words)


def num_sentences_for(num_sentences: int | None, dataset_name: str | None) -> int:
    """Return the number asked for, else what suits the dataset."""
    return num_sentences or NUM_SENTENCES.get(dataset_name or "", NUM_SENTENCES_ELSE)


def cut_words(sentences: list[str], max_words: int | None) -> str:
    r"""Join sentences, one a line as ROUGE-Lsum expects, keeping at most `max_words` words.

    >>> cut_words(["One two.", "Three four."], 3)
    'One two.\nThree'
    """
    lines, num_left = [], max_words
    for sentence in sentences:
        words = sentence.split()
        kept = words if num_left is None else words[:num_left]
        if kept:
            lines.append(" ".join(kept))
        num_left = None if num_left is None else num_left - len(kept)
    return "\n".join(lines)
