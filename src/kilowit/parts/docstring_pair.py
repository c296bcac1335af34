"""One docstring -> (body, summary line), or None where it is not prose that a summary could be of.

PEP 257: the first line of a docstring sums up what follows. The body ends at the first section (Args, Returns, ...);
what is code, table, list of parameters or markup directive in it is left out, inline markup is unwrapped.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MIN_DOCUMENT_WORDS: Final = 15
MAX_DOCUMENT_WORDS: Final = 400
MIN_SUMMARY_WORDS: Final = 4
MAX_SUMMARY_WORDS: Final = 25
MIN_PARAGRAPH_WORDS: Final = 4
MIN_PROSE_FRACTION: Final = 0.75  # share of words made of letters alone
MIN_SHARED_WORDS: Final = 1  # content words of the summary that the body must hold: else it sums up something else


class DocstringPair(NamedTuple):
    """A text and its summary."""

    document: str
    summary: str


_READ_SECTIONS: Final = (
    "parameters|params?|args|arguments|keyword args|keyword arguments|other parameters|kwargs|returns?|yields?|raises|"
    "throws|notes?|warns|warnings?|attributes|properties|inputs?|outputs?|options|fields|limitations?|tips?|details|"
    "description|behaviou?r|algorithm|important|caution|rationale|motivation|remarks?"
)
_SKIPPED_SECTIONS: Final = (
    "examples?|references?|see also|methods|usage|todo|shape|version ?added|deprecated|variables|members|citation|"
    "bibliography|history|copyright|authors?|license|default|doctests?|example usage|sample usage|tests?"
)


def _heading(names: str) -> re.Pattern[str]:
    marks = r"(?:\*\*)?"
    return re.compile(rf"^\s*(?:#+\s*|\*\*|\.\. )?(?:{names})\s*{marks}\s*:{{0,2}}{marks}\s*$", re.IGNORECASE)


_READ_HEADING: Final = _heading(_READ_SECTIONS)
_SKIPPED_HEADING: Final = _heading(_SKIPPED_SECTIONS)
_SPHINX_FIELD: Final = re.compile(r"^\s*[:@](?:param|arg|returns?|raises?|keyword)\b\s*(?:\w+ )?(\w*)\s*:\s*")
_MARKUP: Final = re.compile(r"^\s*(?::\w[\w ]*[^:`]*:(?=\s|$)|@\w+\b|\\\w+|\.\. |<[a-zA-Z/!])")
_FENCE: Final = re.compile(r"^\s*(?:```|~~~)")
_DOCTEST: Final = re.compile(r"^\s*(?:>>>|\.\.\. |In \[)")
_GOOGLE_ITEM: Final = re.compile(
    r"^\s*\*{0,2}`{0,2}([\w.]+)`{0,2}\s*"
    r"(?:\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\])?\s*(?::|--?|–)(?:\s+(?=\S+ \S)|$)"
)
_NUMPY_ITEM: Final = re.compile(r"^\*{0,2}[\w.*]+(?:, ?\*{0,2}\w+)*\s*(?::\s.*)?$")
_UNDERLINE: Final = re.compile(r"^\s*([-=~^#*+\"'._])\1{2,}\s*$")
_TABLE: Final = re.compile(r"^\s*(?:\||\+[-=+]+\+|[=-]{3,} +[=-]{3,})|\S +\| +\S")
_BULLET: Final = re.compile(r"^\s*(?:[-*+•]|\(?\w{1,2}[.)])\s+")
_ROLE: Final = re.compile(r":[\w+.-]+(?::[\w+.-]+)*:`~?([^`<]+?)\s*(?:<[^`>]*>)?`")
_LINK: Final = re.compile(r"`([^`<]+?)\s*<[^`>]+>`_{0,2}|\[`?~?([^\]`]+)`?\]\([^)]*\)")
_TICKS: Final = re.compile(r"`{1,2}~?([^`\n]+)`{1,2}_{0,2}|\[`~?([^`\]]+)`\]")
_EMPHASIS: Final = re.compile(r"(?<![\w*])\*{1,2}(?=\S)([^*\n]+?)(?<=\S)\*{1,2}(?![\w*])")
_CODE: Final = re.compile(r"[{}\\<>=|#@$^~`]|\w\(|\w\[|::|//|->|\.\.\.\w")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z'’-]*[.,;:!?)\"']*|\([A-Za-z'’-]+[.,;:!?)\"']*")
_STOP_WORDS: Final = frozenset({
    "this", "that", "these", "those", "with", "from", "into", "which", "when", "where", "will", "would", "should",
    "could", "have", "been", "being", "they", "them", "their", "there", "then", "than", "what", "also", "only", "such",
    "each", "other", "some", "more", "most", "over", "under", "between", "after", "before", "about", "given",
    "returns", "return", "class", "function", "method", "object", "objects", "used", "uses", "using", "value", "values",
})  # fmt: skip


def docstring_pair(docstring: str) -> DocstringPair | None:
    """Split a docstring into its body and the summary line of it.

    Returns:
        The pair in plain text, one paragraph a line; None if either side is too short, too long, or not prose, or if
        they share no content word.
    """
    head, rest = _head_and_rest(inspect.cleandoc(docstring))
    summary = _plain(" ".join(head.split()))
    if not _is_summary(summary):
        return None
    document = "\n".join(_paragraphs(rest))
    if not MIN_DOCUMENT_WORDS <= len(document.split()) <= MAX_DOCUMENT_WORDS or not _is_prose(document):
        return None
    if len(_content_words(summary) & _content_words(document)) < MIN_SHARED_WORDS:
        return None
    return DocstringPair(document, summary)


def _head_and_rest(text: str) -> tuple[str, str]:
    """Split after the first line if that is a sentence, else after the first paragraph."""
    line, _, rest = text.partition("\n")
    return (line, rest) if line.endswith(".") else (text.partition("\n\n")[0], text.partition("\n\n")[2])


def _is_summary(text: str) -> bool:
    num_words = len(text.split())
    return (
        MIN_SUMMARY_WORDS <= num_words <= MAX_SUMMARY_WORDS
        and text[0].isupper()
        and not text.endswith((":", ",", ";"))
        and _CODE.search(text) is None
        and _is_prose(text)
    )


def _is_prose(text: str) -> bool:
    words = text.split()
    return sum(_WORD.fullmatch(word) is not None for word in words) >= MIN_PROSE_FRACTION * len(words)


def _content_words(text: str) -> set[str]:
    """Stems, roughly: the first five letters of words of at least four, common words left out."""
    return {word[:5] for word in re.findall(r"[a-z]{4,}", text.lower()) if word not in _STOP_WORDS}


def _paragraphs(body: str) -> list[str]:
    """Return what is prose in a body, one paragraph or item a line."""
    kept: list[str] = []
    items: list[str] = []
    for line in [*_read_lines(body), ""]:
        item = _item(line)
        if items and (not line.strip() or item is not None):
            kept.append(_prose_of(items))
            items = []
        if line.strip():
            items.append(line if item is None else item)
    return [text for text in kept if text]


def _read_lines(body: str) -> Iterator[str]:
    """Yield the lines of paragraphs and of sections that are prose; headings, code and examples left out."""
    lines = body.split("\n")
    in_fence = skipping = False
    for position, line in enumerate(lines):
        underlined = position + 1 < len(lines) and _UNDERLINE.match(lines[position + 1]) is not None
        if _FENCE.match(line):
            in_fence = not in_fence
        elif _SKIPPED_HEADING.match(line) or _DOCTEST.match(line):
            skipping = True
        elif _READ_HEADING.match(line):
            skipping = False
            yield ""
        elif underlined:
            skipping = False  # an unknown heading
        elif not in_fence and not skipping:
            yield "" if _UNDERLINE.match(line) or _TABLE.search(line) else line


def _item(line: str) -> str | None:
    """Return the text of a line that begins an item (parameter, bullet), or None if it begins none."""
    if match := _SPHINX_FIELD.match(line) or _GOOGLE_ITEM.match(line):
        return f"{match.group(1)}: {line[match.end() :]}" if match.group(1) else line[match.end() :]
    if match := _BULLET.match(line):
        return line[match.end() :]
    return "" if _MARKUP.match(line) or (":" in line and _NUMPY_ITEM.match(line)) else None


def _prose_of(lines: list[str]) -> str:
    """Join the lines of one paragraph or item; "" if it is code, or too short to say anything."""
    text = _plain(" ".join(line.strip() for line in lines)).removesuffix("::").strip()
    words = text.split()
    num_code = sum(_CODE.search(word) is not None for word in words)
    return text if len(words) >= MIN_PARAGRAPH_WORDS and num_code * 5 <= len(words) else ""


def _plain(text: str) -> str:
    """Unwrap inline markup: roles, links, code ticks, emphasis.

    >>> _plain("Call :meth:`~torch.nn.Module.eval` of ``model``, *then* save.")
    'Call eval of model, then save.'
    """
    text = _ROLE.sub(lambda match: match.group(1).rpartition(".")[2], text)
    text = _LINK.sub(lambda match: match.group(1) or match.group(2), text)
    text = _TICKS.sub(lambda match: match.group(1) or match.group(2), text)
    return " ".join(_EMPHASIS.sub(r"\1", text).split())
