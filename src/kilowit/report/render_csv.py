"""Tables as CSV: full precision, SI units named by the header, intervals in columns of their own."""

from __future__ import annotations

import csv
import io

from kilowit.report.markup import clean
from kilowit.report.quantity import CSV_SIZES
from kilowit.report.table import Entry, Table

# Spreadsheets run a text that begins so as a formula. Source: OWASP, CSV Injection.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n")


def csv_text(table: Table) -> str:
    """Write all rows of a table, those that the page leaves out included; unknown is empty."""
    has_interval = [any(row[i].low is not None for row in table.rows) for i in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for column, interval in zip(table.columns, has_interval, strict=True):
        header += [column.key, *((f"{column.key}_low", f"{column.key}_high") if interval else ())]
    writer.writerow(header)
    for row in table.rows:
        writer.writerow([cell for i, entry in enumerate(row) for cell in _cells(table, entry, i, has_interval[i])])
    return out.getvalue()


def _cells(table: Table, entry: Entry, index: int, has_interval: bool) -> list[str]:
    size = CSV_SIZES.get(table.columns[index].kind, 1.0)
    cells = [_cell(entry.value, size)]
    return [*cells, _cell(entry.low, size), _cell(entry.high, size)] if has_interval else cells


def _cell(value: float | str | None, size: float) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        text = clean(value).replace("\r\n", "\n").replace("\r", "\n")
        return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return repr(value / size) if size != 1.0 else repr(value)
