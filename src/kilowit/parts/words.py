"""Words and n-grams as the weight-free metrics count them, and the checks that all of them make.

A word is a run of letters, digits and underscores of any script, in lower case; punctuation is no word. ROUGE has
tokens of its own (`parts.rouge`), BLEU and chrF have sacrebleu's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from kilowit.errors import DataError

WORD_RULE: Final = "lower,\\w+"  # for signatures
_WORD: Final = re.compile(r"\w+")


def words(text: str) -> list[str]:
    r"""Return the words of a text.

    >>> words("Don't panic: 42 été!")
    ['don', 't', 'panic', '42', 'été']
    """
    return _WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Yield the n-grams of a text in order; none if it has fewer than n words."""
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def check_lengths(predictions: Sequence[str], **others: Sequence[str]) -> None:
    """Refuse texts that do not pair up, or none at all.

    Raises:
        DataError: with the numbers seen.
    """
    for name, texts in others.items():
        if len(texts) != len(predictions):
            raise DataError(
                f"{len(predictions)} predictions, but {len(texts)} {name}",
                hint=f"Give one of the {name} per prediction, in the same order.",
            )
    if not predictions:
        raise DataError("no predictions to score", hint="Give at least one.")
