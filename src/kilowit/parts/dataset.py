"""What a dataset is: a file ``parts/datasets/<name>.py`` with ``Options`` and ``load(options) -> Corpus``.

A dataset that downloads also has ``fetch(options)``, so that the download is metered apart from the reading.
`Options` extends `DatasetOptions`; the YAML mapping less its ``name`` is what it is built from.
A dataset that is not on the machine from the start also defines ``fetch(options)``: the phase ``download`` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from kilowit.settings import Block, Count

SPLITS: Final = ("train", "validation", "test")


class DatasetOptions(Block):
    """Options that every dataset takes. Examples are the first of a shuffle by `seed`; None = all, in order."""

    max_train_examples: Count | None = None
    max_validation_examples: Count | None = None
    max_test_examples: Count | None = None
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the shuffle that a maximum selects from")


@dataclass(frozen=True)
class Split:
    """Parallel columns of one split: ids, source documents, reference summaries."""

    ids: Sequence[str]
    documents: Sequence[str]
    summaries: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Corpus:
    """A dataset ready for use: three splits of clean text, and where they came from."""

    name: str
    source: str  # hub:<id>@<revision>, or the kind of files
    licence: str
    document_column: str
    summary_column: str
    train: Split
    validation: Split
    test: Split
    fingerprint: str  # sha256 over ids and texts
    version: str | None = None  # as its publishers number or name it; None = it has one only
    revision: str | None = None  # commit on the hub, or hash of what it was made of; None = local files
    notes: tuple[str, ...] = ()  # what a reader of the card should know, e.g. how many empty documents were left out
