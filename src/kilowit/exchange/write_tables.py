"""The tables of `kilowit query` as files: run, phase, score, serving; ``imported`` of run marks others' runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from kilowit.errors import PartError
from kilowit.record import Record
from kilowit.settings import FactorSettings


def csv_files(records: Sequence[Record], asked: FactorSettings) -> Mapping[str, bytes]:
    """Return one csv file a table; what is unknown is empty."""
    files = {}
    for name, (columns, rows) in _tables(records).items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        files[f"{name}.csv"] = text.getvalue().encode()
    return files


def parquet_files(records: Sequence[Record], asked: FactorSettings) -> Mapping[str, bytes]:
    """Return one Parquet file a table; what is unknown is null.

    Raises:
        PartError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        hint = "pip install pyarrow (the extra train brings it), or --format csv."
        raise PartError("Parquet needs pyarrow", hint=hint) from error
    files = {}
    for name, (columns, rows) in _tables(records).items():
        arrays = {column: pyarrow.array([row[i] for row in rows]) for i, column in enumerate(columns)}
        buffer = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(arrays), buffer)
        files[f"{name}.parquet"] = buffer.getvalue().to_pybytes()
    return files


def _tables(records: Sequence[Record]) -> dict[str, tuple[Sequence[str], list[tuple[Any, ...]]]]:
    from kilowit.store.query import COLUMNS, query

    return {name: query(records, f"SELECT * FROM {name}") for name in COLUMNS}
