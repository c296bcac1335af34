"""Reading table files: every way to be wrong has one clear error with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kilowit.errors import DataError
from kilowit.parts.table_file import read_columns

ROWS = [
    {"document": "Ein Gerät, zwei\nZeilen", "summary": 'a "b"', "n": 1},
    {"document": "x" * 200_000, "summary": "", "n": 2},
]


def write_jsonl(path: Path) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_csv(path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["n", "document", "summary"])
    writer.writeheader()
    writer.writerows(ROWS)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_parquet(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(ROWS), path)


def write_arrow_file(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def write_arrow_stream(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl), ("a.jsonl.gz", write_jsonl), ("A.CSV", write_csv), ("a.csv.gz", write_csv),
        ("a.parquet", write_parquet), ("file.arrow", write_arrow_file), ("stream.arrow", write_arrow_stream),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_texts(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    columns = read_columns(tmp_path / name, ["document", "summary"], optional=["id"])
    assert columns == {name: [row[name] for row in ROWS] for name in ("document", "summary")}


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_bytes(b"\xef\xbb\xbfdocument,summary\r\na b,c\r\n")
    assert read_columns(path, ["document"]) == {"document": ["a b"]}


@pytest.mark.parametrize(
    ("name", "content", "place", "message"),
    [
        ("latin.jsonl", b'{"document": "a"}\n{"document": "caf\xe9"}\n', ":2", "byte 18 of the line, 0xe9, is not UTF"),
        ("latin.csv", b"document\nok\ncaf\xe9\n", ":3", "is not UTF-8"),
        ("broken.jsonl", b'{"document": "a"}\n{"document": \n', ":2", "not JSON"),
        ("list.jsonl", b"[1]\n", ":1", "holds list, not an object"),
        ("gap.jsonl", b'{"document": "a"}\n\n{"text": "b"}\n', ":3", 'no column "document"'),
        ("short.csv", b"id,document\n1,a\n2\n", ":3", "the row has 1 fields, the header 2"),
        ("quote.csv", b'document\n"a"b\n', ":2", "not CSV"),
        ("no.jsonl.gz", b"not gzip", "", "not a whole gzip file"),
        ("cut.csv.gz", gzip.compress(b"document\n" + b"ab\n" * 999, mtime=0)[:30], "", "not a whole gzip file"),
        ("no.parquet", b"PAR1 is not enough", "", "not a whole parquet file"),
        ("no.arrow", b"ARROW1 is not enough", "", "not a whole arrow file"),
        ("table.xlsx", b"", "", "not a table file"),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, place: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_columns(path, ["document"])
    assert message in caught.value.message
    assert caught.value.place == f"{path}{place}"
    assert caught.value.hint


def test_a_missing_column_hints_at_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("dialogue,summary\na,b\n")
    with pytest.raises(DataError, match='no column "dialog"') as caught:
        read_columns(path, ["dialog"])
    assert caught.value.hint == 'Did you mean "dialogue"?'
    write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match='no column "sumary"') as caught:
        read_columns(tmp_path / "a.parquet", ["sumary"])
    assert caught.value.hint == 'Did you mean "summary"?'


def test_a_file_that_is_not_there_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_columns(tmp_path / "none.jsonl", ["document"])
