"""The compiled ROUGE engine: whole chunks of texts at once, more than 200 times the speed of rouge-score.

It hands bytes to the library that `library` finds or builds and gets numbers back, through ctypes alone.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

from kilowit.parts.rouge.figures import MAX_TABLE_CELLS, Fractions, max_order, too_long
from kilowit.parts.rouge.library import find_or_build

_MAX_CHUNK_LETTERS: Final = 1 << 22  # keeps working memory below 200 MB, whatever the number of pairs
_NUM_COLUMNS: Final = 7  # of pairs.c
_OUT_OF_MEMORY: Final = -1  # of pairs.c


def measure(
    predictions: Sequence[str], references: Sequence[str], *, use_stemmer: bool, types: Iterable[str]
) -> dict[str, Fractions]:
    """Return precision, recall and F1 per type and pair. Sentences are the lines of a text.

    Raises:
        DataError: a pair is too long for a common subsequence.
        PartError: the library is not there and cannot be built.
        MemoryError: as it says.
    """
    asked = tuple(types)
    counts = array("q")
    for texts in _chunks(predictions, references):
        counts.extend(_count(texts, use_stemmer, asked, first_pair=len(counts) // _NUM_COLUMNS))
    return {name: _fractions(counts, name) for name in asked}


def _chunks(predictions: Sequence[str], references: Sequence[str]) -> Iterator[list[str]]:
    """Yield prediction and reference by turns, a few million letters at a time."""
    texts: list[str] = []
    num_letters = 0
    for prediction, reference in zip(predictions, references, strict=True):
        texts += (prediction, reference)
        num_letters += len(prediction) + len(reference)
        if num_letters >= _MAX_CHUNK_LETTERS:
            yield texts
            texts, num_letters = [], 0
    if texts:
        yield texts


def _count(texts: list[str], use_stemmer: bool, types: tuple[str, ...], first_pair: int) -> array[int]:
    """Return the table of counts, one row of `_NUM_COLUMNS` after another."""
    letters, num_pairs = _bytes(texts), len(texts) // 2
    counts = array("q", bytes(8 * num_pairs * _NUM_COLUMNS))
    status = _library().kilowit_rouge_count(
        letters, len(letters), num_pairs, use_stemmer, max_order(types), "rougeL" in types, "rougeLsum" in types,
        MAX_TABLE_CELLS, counts.buffer_info()[0],
    )  # fmt: skip
    if status == _OUT_OF_MEMORY:
        raise MemoryError(f"no memory to score {num_pairs} pairs with {len(letters):,} letters")
    if status > 0:
        row = (status - 1) * _NUM_COLUMNS
        raise too_long(first_pair + status - 1, counts[row + 1], counts[row])
    return counts


def _bytes(texts: list[str]) -> bytes:
    """Return the texts in lower case, each ended by a NUL, "?" for every character beyond ASCII.

    Lower case first, as rouge-score does: it turns the Kelvin sign into a k.
    """
    joined = "\0".join(texts)
    if joined.count("\0") != len(texts) - 1:  # a text has NULs of its own; to ROUGE they are blanks
        joined = "\0".join(text.replace("\0", " ") for text in texts)
    return joined.lower().encode("ascii", "replace") + b"\0"


def _fractions(counts: array[int], name: str) -> Fractions:
    num_pairs = len(counts) // _NUM_COLUMNS
    column = {"rougeL": 5, "rougeLsum": 6}.get(name) or 1 + max_order([name])
    order = max_order([name]) or 1
    values = [array("d", bytes(8 * num_pairs)) for _ in range(3)]
    addresses = [value.buffer_info()[0] for value in values]
    _library().kilowit_rouge_fractions(counts.buffer_info()[0], num_pairs, column, order, *addresses)
    return Fractions(*(value.tolist() for value in values))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(find_or_build()))
    number, address = ctypes.c_int64, ctypes.c_void_p
    library.kilowit_rouge_count.argtypes = (ctypes.c_char_p, *(number,) * 7, address)
    library.kilowit_rouge_count.restype = number
    library.kilowit_rouge_fractions.argtypes = (address, number, number, number, address, address, address)
    library.kilowit_rouge_fractions.restype = None
    return library
