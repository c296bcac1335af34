"""Words around numbers, for messages and reports."""

from __future__ import annotations


def counted(num: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, which is in the singular after 1.

    >>> counted(1, "thread"), counted(1200, "summary", "summaries")
    ('1 thread', '1,200 summaries')
    """
    return f"{num:,} {noun if num == 1 else plural or noun + 's'}"
