"""HTML and SVG that are escaped by construction: what is not `Markup` is text, and text is escaped."""

from __future__ import annotations

import html
import re
from importlib import resources
from typing import Final

# What XML and HTML forbid even as references: controls but tab, newline, return; lone surrogates; non-characters.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID: Final = frozenset({"meta", "input", "br", "hr", "link"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def clean(text: str) -> str:
    """Replace characters that no document may hold."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def escape(value: object) -> Markup:
    """Return a value as markup; only text that is not markup yet is escaped."""
    return value if isinstance(value, Markup) else Markup(html.escape(clean(str(value)), quote=True))


def join(*parts: object) -> Markup:
    """Concatenate markup and text."""
    return Markup("".join(escape(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return one element. A trailing underscore is dropped from attribute names, others become dashes.

    An attribute that is None or False is left out; True stands without a value.

    >>> tag("a", "x < y", href="#top", class_="quiet")
    '<a href="#top" class="quiet">x &lt; y</a>'
    """
    written = "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def standalone(drawing: Markup) -> str:
    """Return an SVG element as a file of its own, with the style of the figures inside."""
    style = resources.files("kilowit.report").joinpath("figure.css").read_text(encoding="utf-8")
    opening, rest = drawing.split(">", 1)
    return f"{opening}><style>{style}</style>{rest}\n"


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
