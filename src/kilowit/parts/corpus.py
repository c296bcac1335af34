"""From rows to a `Corpus`: clean, slice and fingerprint three splits. Every dataset ends here.

A row without text on either side is left out and counted in the corpus's notes; a split with nothing left is an
error. Selection is by hash, so the same rows are taken on every machine and whatever the order of the files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kilowit.errors import DataError
from kilowit.parts.dataset import SPLITS, Corpus, DatasetOptions, Split


class Rows(Protocol):
    """One split as its file or table holds it; texts are read only for the positions asked for."""

    @property
    def ids(self) -> Sequence[str]:
        """One id per row, unique within the split."""
        ...

    def read(self, positions: Sequence[int]) -> list[tuple[object, object]]:
        """Return (document, summary) of these rows, in this order; None or NaN where a cell is empty."""
        ...


@dataclass(frozen=True)
class ListedRows:
    """Rows that are in memory already."""

    ids: Sequence[str]
    documents: Sequence[object]
    summaries: Sequence[object]

    def read(self, positions: Sequence[int]) -> list[tuple[object, object]]:
        """Return (document, summary) of these rows, in this order."""
        return [(self.documents[i], self.summaries[i]) for i in positions]


@dataclass(frozen=True)
class RowsAt:
    """Some rows of another split, by position: a slice of it that copies no text."""

    rows: Rows
    positions: Sequence[int]

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the chosen rows."""
        return [self.rows.ids[i] for i in self.positions]

    def read(self, positions: Sequence[int]) -> list[tuple[object, object]]:
        """Return (document, summary) of these rows, in this order."""
        return self.rows.read([self.positions[i] for i in positions])


@dataclass(frozen=True)
class Provenance:
    """What a corpus's card says besides its texts."""

    name: str
    source: str
    licence: str
    document_column: str
    summary_column: str
    version: str | None = None
    revision: str | None = None
    notes: tuple[str, ...] = ()


def build_corpus(provenance: Provenance, splits: Mapping[str, Rows], options: DatasetOptions) -> Corpus:
    """Clean and slice the three splits and fingerprint what is left.

    Raises:
        DataError: a split has no usable row, or holds what is not text.
    """
    notes = list(provenance.notes)
    built: dict[str, Split] = {}
    for name in SPLITS:
        maximum = getattr(options, f"max_{name}_examples")
        built[name], num_dropped = _select(splits[name], maximum, options.seed, f"{provenance.name}, {name} split")
        if num_dropped:
            notes.append(f"{num_dropped} of the {name} rows left out: empty document or summary")
    return Corpus(
        name=provenance.name,
        source=provenance.source,
        licence=provenance.licence,
        document_column=provenance.document_column,
        summary_column=provenance.summary_column,
        fingerprint=fingerprint(built),
        version=provenance.version,
        revision=provenance.revision,
        notes=tuple(notes),
        **built,
    )


def split_by_hash(rows: Rows, validation_fraction: float, test_fraction: float) -> dict[str, Rows]:
    """Divide one split in three by the sha256 of each id: the same on every machine, in any order, without a seed.

    Fractions hold in expectation: a set of n rows differs from them by about sqrt(n x fraction).
    """
    chosen: dict[str, list[int]] = {name: [] for name in SPLITS}
    for position, row_id in enumerate(rows.ids):
        place = hash_fraction(row_id)
        held_out = "test" if place < test_fraction else "validation"
        chosen[held_out if place < test_fraction + validation_fraction else "train"].append(position)
    return {name: RowsAt(rows, positions) for name, positions in chosen.items()}


def hash_fraction(text: str) -> float:
    """Map a text to [0, 1), evenly and the same everywhere.

    >>> round(hash_fraction("kilowit"), 3)
    0.791
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def shuffled_positions(ids: Sequence[str], seed: int) -> list[int]:
    """Return all positions in an order that depends on the ids and the seed alone."""
    return sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{seed}\0{ids[i]}".encode()).digest())


def fingerprint(splits: Mapping[str, Split]) -> str:
    """Return the sha256 over ids and texts of the splits, in order."""
    digest = hashlib.sha256()
    for name in SPLITS:
        split = splits[name]
        digest.update(f"{name} {len(split)}\n".encode())
        for row in zip(split.ids, split.documents, split.summaries, strict=True):
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _select(rows: Rows, maximum: int | None, seed: int, place: str) -> tuple[Split, int]:
    """Take all rows in order, or the first `maximum` usable ones of the shuffle; count the unusable ones met."""
    if not len(rows.ids):
        raise DataError("the split is empty", place=place, hint="Give a file with at least one example.")
    order = list(range(len(rows.ids))) if maximum is None else shuffled_positions(rows.ids, seed)
    wanted = len(order) if maximum is None else maximum
    kept: list[tuple[str, str, str]] = []
    start = 0
    while len(kept) < wanted and start < len(order):
        positions = order[start : start + wanted - len(kept)]
        kept.extend(_usable(rows, positions, place))
        start += len(positions)
    if not kept:
        raise DataError(
            f"all {len(order)} examples have an empty document or summary",
            place=place,
            hint="Check document_column and summary_column.",
        )
    ids, documents, summaries = zip(*kept, strict=True)
    return Split(ids, documents, summaries), start - len(kept)


def _usable(rows: Rows, positions: Sequence[int], place: str) -> Iterable[tuple[str, str, str]]:
    for position, (document, summary) in zip(positions, rows.read(positions), strict=True):
        row_id = str(rows.ids[position])
        document_text, summary_text = _text(document, row_id, place), _text(summary, row_id, place)
        if document_text and summary_text:
            yield row_id, document_text, summary_text


def _text(value: object, row_id: str, place: str) -> str:
    """Return the text without outer white space; ``""`` for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        raise DataError(
            f'example "{row_id}" holds {type(value).__name__} {value!r:.40}, not text',
            place=place,
            hint="Check document_column and summary_column.",
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f'example "{row_id}" holds half a surrogate pair, which is no character',
            place=place,
            hint="Write the file anew as UTF-8.",
        ) from error
    return value.strip()
