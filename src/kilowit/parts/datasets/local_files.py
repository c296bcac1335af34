"""local_files: your own pairs of document and summary, in files.

What it is     jsonl, csv (either may end in .gz), parquet or arrow files with one column of documents and one of
               summaries, UTF-8.
Splits         `train`, `validation` and `test` name one file each; or `path` names one file, which is divided by the
               hash of each id (`validation_fraction`, `test_fraction`), the same way on every machine.
Options        document_column (document), summary_column (summary), id_column (id where there is one, else the
               number of the row), licence (unknown).
Left out       rows whose document or summary is empty, None or NaN; the card counts them.
Licence        whatever yours is: state it in `licence`, and the report repeats it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from kilowit.errors import DataError
from kilowit.parts.corpus import ListedRows, Provenance, Rows, build_corpus, split_by_hash
from kilowit.parts.dataset import SPLITS, Corpus, DatasetOptions
from kilowit.parts.table_file import read_columns, table_format

Fraction = Annotated[float, Field(gt=0, lt=0.5)]


class Options(DatasetOptions):
    """Where the files are and which columns to read."""

    path_options: ClassVar[tuple[str, ...]] = ("path", "train", "validation", "test")

    path: str | None = Field(None, description="one file to be divided in three")
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    validation_fraction: Fraction = Field(0.05, description="of `path`, by hash of the id")
    test_fraction: Fraction = Field(0.05, description="of `path`, by hash of the id")
    document_column: str = "document"
    summary_column: str = "summary"
    id_column: str | None = Field(None, description='None = "id" if there is one, else the number of the row')
    licence: str = Field("unknown", description="of the texts, as the report shall state it")

    @model_validator(mode="after")
    def _one_way_to_name_files(self) -> Self:
        missing = [name for name in SPLITS if getattr(self, name) is None]
        if self.path is None and missing:
            raise ValueError(f"{missing[0]} is missing: name train, validation and test, or one path to be divided")
        if self.path is not None and len(missing) < len(SPLITS):
            raise ValueError("path and train, validation, test exclude each other")
        ignored = {"validation_fraction", "test_fraction"} & self.model_fields_set
        if self.path is None and ignored:
            raise ValueError(f"{min(ignored)} only works with path")
        return self


def load(options: Options) -> Corpus:
    """Read the files.

    Raises:
        DataError: a file is missing, malformed, empty, or lacks a column.
    """
    if options.path is not None:
        files = {"path": Path(options.path).expanduser()}
        splits = split_by_hash(_read(files["path"], options, "row"), options.validation_fraction, options.test_fraction)
    else:
        files = {name: Path(getattr(options, name)).expanduser() for name in SPLITS}
        splits = {name: _read(file, options, name) for name, file in files.items()}
    formats = sorted({table_format(file) for file in files.values()})
    provenance = Provenance(
        name="local_files",
        source=f"files:{'+'.join(formats)}",
        licence=options.licence,
        document_column=options.document_column,
        summary_column=options.summary_column,
    )
    return build_corpus(provenance, splits, options)


def _read(path: Path, options: Options, id_prefix: str) -> Rows:
    required = [options.document_column, options.summary_column]
    if options.id_column is not None:
        required.append(options.id_column)
    columns = read_columns(path, list(dict.fromkeys(required)), optional=["id"])
    num_rows = len(columns[options.document_column])
    id_values = columns.get(options.id_column or "id")
    ids = [f"{id_prefix}-{i}" for i in range(num_rows)] if id_values is None else [str(v) for v in id_values]
    if id_values is not None:
        check_unique(ids, str(path))
    return ListedRows(ids, columns[options.document_column], columns[options.summary_column])


def check_unique(ids: list[str], place: str) -> None:
    """Refuse ids that occur twice: predictions could not be told apart.

    Raises:
        DataError: naming the first repeated id and its two rows.
    """
    first_row: dict[str, int] = {}
    for row, row_id in enumerate(ids, start=1):
        if row_id in first_row:
            raise DataError(
                f'id "{row_id}" of row {first_row[row_id]} is that of row {row} too',
                place=place,
                hint="Name another id_column, or remove the column: rows are numbered then.",
            )
        first_row[row_id] = row
