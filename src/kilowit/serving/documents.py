"""Documents to summarize: standard input or a text file as one document, a table file as one a row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from kilowit.errors import DataError
from kilowit.parts.table_file import FORMATS, read_columns

DEFAULT_COLUMN: Final = "document"
STANDARD_INPUT: Final = "-"
_EMPTY: Final = "nothing to summarize: the document is empty"
_ENCODING_HINT: Final = "Convert it: iconv -f latin1 -t utf-8 FILE > NEW (if latin1 is what it is)."


def read_documents(path: str, column: str | None = None) -> list[str]:
    """Read documents.

    Args:
        path: a text file, which is one document; a jsonl, csv, parquet or arrow file; ``-`` = standard input.
        column: of a table file; None = ``document``.

    Raises:
        DataError: not there, not UTF-8, malformed, without the column, or without a document; says the line.
        PartError: parquet or arrow without pyarrow installed.
    """
    is_table = any(path.lower().endswith(f".{form}") for form in FORMATS)
    if not is_table:
        if column is not None:
            hint = f"Name a table file ({', '.join(FORMATS)}), or leave out --column."
            raise DataError("a text is one document and has no columns", place=path, hint=hint)
        return [_read_text(path)]
    name = column or DEFAULT_COLUMN
    texts = read_columns(Path(path), [name])[name]
    if not texts:
        raise DataError("holds no documents", place=path, hint="Give at least one row.")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            found = "nothing" if text is None else type(text).__name__
            raise DataError(
                f'"{name}" is {found}, not text', place=f"{path}, row {number}", hint="Leave the row out, or mend it."
            )
        if not text.strip():
            raise DataError(_EMPTY, place=f"{path}, row {number}", hint="Leave the row out.")
    return [str(text) for text in texts]


def _read_text(path: str) -> str:
    place = "standard input" if path == STANDARD_INPUT else path
    try:
        raw = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    except OSError as error:
        hint = "Check the path and its rights."
        raise DataError(f"cannot be read: {error.strerror}", place=place, hint=hint) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = f"not UTF-8 (byte 0x{raw[error.start]:02x})"
        raise DataError(message, place=f"{place}:{line}", hint=_ENCODING_HINT) from error
    if not text.strip():
        raise DataError(_EMPTY, place=place, hint="Give a text.")
    return text
