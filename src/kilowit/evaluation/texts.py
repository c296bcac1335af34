"""Predictions of any system, read from a jsonl or csv file, every fault with its line.

A row has ``prediction`` and ``reference``, both text, and may have ``source`` (the whole document) and ``id`` (text or
a whole number). What one row has, all have. Other columns are left alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kilowit.errors import DataError, near_name_hint
from kilowit.parts.table_file import numbered_rows

REQUIRED: Final = ("prediction", "reference")
OPTIONAL: Final = ("source", "id")
_SHAPE: Final = 'Each row needs "prediction" and "reference"; "source" and "id" are optional.'


@dataclass(frozen=True)
class Texts:
    """What one system wrote, with what it should have: parallel lists."""

    name: str
    predictions: list[str]
    references: list[str]
    sources: list[str] | None = None
    ids: list[str] | None = None
    places: list[str] = field(default_factory=list)  # file:line of each row, for messages

    def __post_init__(self) -> None:
        for what, texts in (("references", self.references), ("sources", self.sources), ("ids", self.ids)):
            if texts is not None and len(texts) != len(self.predictions):
                raise DataError(
                    f"{len(self.predictions)} predictions, but {len(texts)} {what}",
                    place=self.name,
                    hint=f"Give one of the {what} per prediction, in the same order.",
                )
        if not self.predictions:
            raise DataError("holds no predictions", place=self.name, hint=_SHAPE)

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def fingerprint(self) -> str:
        """Sha256 over predictions and references, to cite what was scored."""
        digest = hashlib.sha256()
        for prediction, reference in zip(self.predictions, self.references, strict=True):
            for text in (prediction, reference):
                digest.update(f"{len(text)}:{text}".encode(errors="surrogatepass"))
        return digest.hexdigest()

    def place(self, index: int) -> str:
        """Return where a row stands."""
        return self.places[index] if self.places else f"{self.name}, example {index}"


def read_texts(path: Path) -> Texts:
    """Read predictions.

    Raises:
        DataError: the file, or a row of it, is not as the module says; names file and line.
    """
    rows: list[Mapping[str, object]] = []
    places: list[str] = []
    for line, row in numbered_rows(path):
        rows.append(row)
        places.append(f"{path}:{line}")
    if not rows:
        raise DataError("holds no predictions", place=str(path), hint=_SHAPE)
    _check_keys(rows, places)
    columns = {
        name: [_text(row[name], name, place) for row, place in zip(rows, places, strict=True)]
        for name in (*REQUIRED, "source")
        if name in rows[0]
    }
    ids = None
    if "id" in rows[0]:
        ids = [_id(row["id"], place) for row, place in zip(rows, places, strict=True)]
        _check_distinct(ids, places)
    return Texts(str(path), columns["prediction"], columns["reference"], columns.get("source"), ids, places)


def aligned(one: Texts, other: Texts) -> list[int]:
    """Return for each row of `one` the row of `other` on the same example.

    Raises:
        DataError: the two do not have the same examples, by id or, without ids, in the same order.
    """
    if (one.ids is None) != (other.ids is None):
        without = one if one.ids is None else other
        raise DataError("has no ids, the other file has", place=without.name, hint="Give both files ids, or neither.")
    if len(one) != len(other):
        raise DataError(
            f"{len(other)} examples, but {one.name} has {len(one)}{_missing(one, other)}",
            place=other.name,
            hint="Compare systems on the same examples.",
        )
    order = list(range(len(one)))
    if one.ids is not None and other.ids is not None:
        row_of = {example: row for row, example in enumerate(other.ids)}
        for row, example in enumerate(one.ids):
            if example not in row_of:
                raise DataError(
                    f'id "{example}" is not in {other.name}',
                    place=one.place(row),
                    hint="Compare systems on the same examples.",
                )
            order[row] = row_of[example]
    for row, place in enumerate(order):
        if one.references[row] != other.references[place]:
            raise DataError(
                f"the reference differs from the one at {other.place(place)}",
                place=one.place(row),
                hint="Compare systems on the same references; without ids, rows must be in the same order.",
            )
    return order


def _missing(one: Texts, other: Texts) -> str:
    if one.ids is None or other.ids is None:
        return ""
    alone = sorted(set(one.ids) ^ set(other.ids))
    return f'; "{alone[0]}" is in one of them only' if alone else ""


def _check_keys(rows: Sequence[Mapping[str, object]], places: Sequence[str]) -> None:
    expected = [*REQUIRED, *(name for name in OPTIONAL if name in rows[0])]
    for row, place in zip(rows, places, strict=True):
        for name in expected:
            if name not in row:
                hint = f"{near_name_hint(name, row)} {_SHAPE}" if row else _SHAPE
                raise DataError(f'no "{name}"', place=place, hint=hint)
        for name in OPTIONAL:
            if name in row and name not in expected:
                raise DataError(f'has "{name}", which the rows before lack', place=place, hint=_SHAPE)


def _text(value: object, name: str, place: str) -> str:
    is_nan = isinstance(value, float) and math.isnan(value)
    if is_nan or (isinstance(value, str) and value.strip().lower() == "nan"):
        raise DataError(f"{name} is NaN", place=place, hint='Write what the system wrote; an empty summary is "".')
    if not isinstance(value, str):
        found = "null" if value is None else type(value).__name__
        raise DataError(f"{name} is {found}, not text", place=place, hint='An empty text is "".')
    return value


def _id(value: object, place: str) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
        return str(value)
    raise DataError(f"id is {value!r:.40}", place=place, hint="An id is a text or a whole number.")


def _check_distinct(ids: Iterable[str], places: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for example, place in zip(ids, places, strict=True):
        if example in seen:
            raise DataError(
                f'id "{example}" is also at {seen[example]}', place=place, hint="Give every example one id and one row."
            )
        seen[example] = place
