"""How the command line writes: data to stdout, everything said about it to stderr.

A table is drawn for a person and is tab-separated for a pipe; ``--json`` gives the values as they are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table


def say(text: str) -> None:
    """Write a remark for the person at the terminal, to stderr."""
    sys.stderr.write(f"{text}\n")


def show(text: str) -> None:
    """Write a line of data to stdout."""
    sys.stdout.write(f"{text}\n")


def show_json(value: Any) -> None:
    """Write a value as one JSON document to stdout; dataclasses become objects, NaN and infinity null."""
    show(json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, indent=1))


def to_plain(value: Any) -> Any:
    """Return a value made of what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table: drawn on a terminal, tab-separated with a header line in a pipe.

    Columns whose every value is a number are aligned to the right, columns in which nothing is known are not drawn.
    None is drawn as a dash and piped as nothing; numbers are not wrapped.
    """
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            show("\t".join("" if item is None else str(item).replace("\t", " ").replace("\n", " ") for item in row))
        return
    from rich.console import Console

    console = Console()
    drawn = [i for i in range(len(columns)) if not rows or any(row[i] not in (None, "–") for row in rows)]
    cells = [["–" if row[i] is None else str(row[i]) for i in drawn] for row in rows]
    names = [columns[i] for i in drawn]
    if _least_width(names, cells) <= console.width:
        console.print(_drawn_table(names, cells))
        return
    for name, *values in cells:  # too narrow for a table: a paragraph a row
        facts = [f"{what} {value}".replace("\n", " ") for what, value in zip(names[1:], values, strict=True) if value]
        console.print(f"{name}\n  {',  '.join(facts)}", highlight=False, markup=False)


def _least_width(names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Return the width below which a number or half a word would be cut: text may wrap to 12 characters."""
    width = 0
    for i, name in enumerate(names):
        column = [row[i] for row in cells]
        longest = max(len(line) for text in (name, *column) for line in text.splitlines() or [""])
        width += 3 + (longest if _is_numeric(column) else min(longest, 12))
    return width


def _drawn_table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        numeric = _is_numeric([row[i] for row in cells])
        justify: Literal["right", "left"] = "right" if numeric else "left"
        least = None if numeric else min(12, max(len(row[i]) for row in cells) if cells else 12)
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=numeric, min_width=least)
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    return table


def _is_numeric(column: Sequence[str]) -> bool:
    return all(text[:1].isdigit() or text[:1] in ("", "–", "-", "−", "$", ".") for text in column)
