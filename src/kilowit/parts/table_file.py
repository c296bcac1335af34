"""Read the columns of a table file: jsonl, csv (either may end in .gz), parquet, arrow.

Each way to be wrong has one clear error, with the line where there are lines.
pyarrow is imported only for parquet and arrow: jsonl and csv work in a base installation.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from kilowit.errors import DataError, PartError, near_name_hint

FORMATS: Final = ("jsonl", "csv", "jsonl.gz", "csv.gz", "parquet", "arrow")
MAX_LINE_BYTE: Final = 1 << 26  # 64 MiB: a line of this length is a file whose line ends were lost


def table_format(path: Path) -> str:
    """Return which of `FORMATS` a file is, by its name.

    Raises:
        DataError: another ending.
    """
    name = path.name.lower()
    for form in FORMATS:
        if name.endswith(f".{form}"):
            return form
    raise DataError("not a table file that kilowit reads", place=str(path), hint=f"Known: {', '.join(FORMATS)}.")


def read_columns(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[object]]:
    """Read some columns of a file, in the order of its rows.

    Returns:
        The required columns, and the optional ones that are there; equally long. Empty cells are None (csv: ``""``).

    Raises:
        DataError: not there, not readable, not UTF-8, malformed, or without a required column; says the line.
        PartError: parquet or arrow without pyarrow installed.
    """
    form = table_format(path)
    with _reading(path):
        if form in ("parquet", "arrow"):
            return _read_arrow_columns(path, form, required, optional)
        rows = _csv_rows(path) if "csv" in form else _jsonl_rows(path)
        return _collect(path, rows, required, optional)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error})", place=str(path), hint="Compress it again.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot be read: {reason}", place=str(path), hint="Check the path and its rights.") from error


def numbered_rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield the rows of a jsonl or csv file with the number of the line that each ends on.

    Raises:
        DataError: not there, not readable, not UTF-8, malformed, or of another format; says the line.
    """
    form = table_format(path)
    if form in ("parquet", "arrow"):
        raise DataError(f"{form} has no lines", place=str(path), hint="Write it as jsonl or csv.")
    with _reading(path):
        yield from _csv_rows(path) if "csv" in form else _jsonl_rows(path)


def _collect(
    path: Path, rows: Iterator[tuple[int, Mapping[str, object]]], required: Sequence[str], optional: Sequence[str]
) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {name: [] for name in required}
    for line, row in rows:
        if not any(columns.values()):
            columns.update({name: [] for name in optional if name in row})
        for name, values in columns.items():
            if name not in row:
                raise _no_column(name, row, f"{path}:{line}")
            values.append(row[name])
    return columns


def _no_column(name: str, known: Iterator[str] | Mapping[str, object] | Sequence[str], place: str) -> DataError:
    return DataError(f'no column "{name}"', place=place, hint=near_name_hint(name, known))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield numbered lines of UTF-8 text, a byte order mark removed; only ``\n`` ends a line."""
    with path.open("rb") as raw_file, ExitStack() as stack:
        is_compressed = path.suffix.lower() == ".gz"
        file = stack.enter_context(gzip.GzipFile(fileobj=raw_file)) if is_compressed else raw_file
        for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE_BYTE + 1), b""), start=1):
            if len(raw) > MAX_LINE_BYTE:
                raise DataError(
                    f"the line is longer than {MAX_LINE_BYTE >> 20} MiB",
                    place=f"{path}:{number}",
                    hint="Write one row a line; a JSON array becomes lines with: jq -c '.[]' FILE > NEW.jsonl",
                )
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"byte {error.start + 1} of the line, 0x{raw[error.start]:02x}, is not UTF-8",
                    place=f"{path}:{number}",
                    hint="Convert the file: iconv -f latin1 -t utf-8 FILE > NEW (if latin1 is what it is).",
                ) from error
            yield number, text


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, text in _lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(
                f"the line is not JSON ({error})", place=f"{path}:{number}", hint="Write one JSON object per line."
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"the line holds {type(row).__name__}, not an object",
                place=f"{path}:{number}",
                hint='Write one object per line: {"document": ..., "summary": ...}.',
            )
        yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    csv.field_size_limit(sys.maxsize)  # the default, 128 KiB, is shorter than a patent
    reader = csv.reader((text for _, text in _lines(path)), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"the row has {len(row)} fields, the header {len(header)}",
                    place=f"{path}:{reader.line_num}",
                    hint='Put fields with commas, quotes or line ends in "double quotes".',
                )
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(f"not CSV ({error})", place=f"{path}:{reader.line_num}", hint="Mend the quotes.") from error


def _read_arrow_columns(
    path: Path, form: str, required: Sequence[str], optional: Sequence[str]
) -> dict[str, list[object]]:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise PartError(
            f"{form} files need the package pyarrow", hint="Install the training stack: pip install 'kilowit[train]'."
        ) from error
    try:
        return _read_parquet(path, required, optional) if form == "parquet" else _read_ipc(path, required, optional)
    except pyarrow.ArrowException as error:
        raise DataError(f"not a whole {form} file ({error})", place=str(path), hint="Write it again.") from error


def _read_parquet(path: Path, required: Sequence[str], optional: Sequence[str]) -> dict[str, list[object]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        wanted = _wanted(path, file.schema_arrow.names, required, optional)
        table = file.read(columns=wanted)
    return {name: table.column(name).to_pylist() for name in wanted}


def _read_ipc(path: Path, required: Sequence[str], optional: Sequence[str]) -> dict[str, list[object]]:
    """Read an Arrow IPC file; Hugging Face `datasets` writes the stream form of it."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        try:
            reader = pyarrow.ipc.open_file(source)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            reader = pyarrow.ipc.open_stream(source)
        wanted = _wanted(path, reader.schema.names, required, optional)
        table = reader.read_all()
        return {name: table.column(name).to_pylist() for name in wanted}


def _wanted(path: Path, names: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    for name in required:
        if name not in names:
            raise _no_column(name, names, str(path))
    return [*required, *(name for name in optional if name in names and name not in required)]
