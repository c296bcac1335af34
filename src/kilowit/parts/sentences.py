"""Split English text into sentences by rule: no model, no download, the same result everywhere.

Stands below the training-free baselines. A line end ends a sentence (dialogues, lists), unless the next line goes on
in lower case (hard-wrapped prose).
"""

from __future__ import annotations

import re
from typing import Final

_ABBREVIATIONS: Final = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "rev", "hon", "sr", "jr", "st", "gen", "col", "lt", "sgt", "capt", "maj", "gov",
    "sen", "rep", "pres", "nos", "vs", "etc", "eg", "e.g", "ie", "i.e", "cf", "al", "fig", "figs", "eq", "eqs", "sec",
    "vol", "pp", "eds", "approx", "dept", "inc", "ltd", "co", "corp", "est", "jan", "feb", "mar", "apr", "jun", "jul",
    "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "u.s", "u.k", "u.n", "a.m", "p.m",
    "ph.d", "b.c", "a.d", "w.r.t", "resp", "viz",
})  # fmt: skip
_BOUNDARY: Final = re.compile(r"""(?<=[.!?])["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9])""")
_LAST_WORD: Final = re.compile(r"(\S+)\.[\"'”’)\]]*$")
_WRAPPED: Final = re.compile(r"(?<=[^\s.!?:;])[ \t]*\n[ \t]*(?=[a-z])")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text in order, without outer white space; never an empty one.

    >>> split_sentences("Dr. Who left at 5 p.m. on Monday. He forgot v1.2! Did he?")
    ['Dr. Who left at 5 p.m. on Monday.', 'He forgot v1.2!', 'Did he?']
    """
    sentences: list[str] = []
    for line in _WRAPPED.sub(" ", text).splitlines():
        sentences.extend(_split_line(line.strip()))
    return sentences


def _split_line(line: str) -> list[str]:
    sentences, start = [], 0
    for boundary in _BOUNDARY.finditer(line):
        candidate = line[start : boundary.end()].strip()
        if not _ends_in_abbreviation(candidate):
            sentences.append(candidate)
            start = boundary.end()
    return [*sentences, line[start:].strip()] if line[start:].strip() else sentences


def _ends_in_abbreviation(text: str) -> bool:
    """Whether the last full stop belongs to an abbreviation or to a person's initial."""
    match = _LAST_WORD.search(text)
    if match is None:
        return False
    word = match.group(1).lstrip("\"'“‘([")
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")
