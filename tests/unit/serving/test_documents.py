"""Documents from text and tables; every way to be wrong has one error with its place."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kilowit.errors import DataError
from kilowit.serving.documents import read_documents


def write(path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    assert read_documents(write(tmp_path / "a.txt", "\ufeffOne\n\ntwo\n")) == ["One\n\ntwo\n"]


def test_a_table_has_one_document_a_row(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"document": f"d{i}", "text": f"t{i}"}) + "\n" for i in range(2))
    path = write(tmp_path / "a.jsonl", rows)
    assert read_documents(path) == ["d0", "d1"]
    assert read_documents(path, "text") == ["t0", "t1"]
    assert read_documents(write(tmp_path / "a.csv", 'document\n"x, y"\nz\n')) == ["x, y", "z"]


def test_standard_input_is_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("für\n".encode())))
    assert read_documents("-") == ["für\n"]


@pytest.mark.parametrize(
    ("name", "content", "column", "place", "message"),
    [
        ("a.txt", b"ok\n\xe9t\xe9\n", None, "a.txt:2", "not UTF-8 (byte 0xe9)"),
        ("a.txt", " \n\t", None, "a.txt", "the document is empty"),
        ("a.txt", "text", "document", "a.txt", "has no columns"),
        ("a.jsonl", "", None, "a.jsonl", "holds no documents"),
        ("a.jsonl", '{"document": 3}', None, "row 1", '"document" is int, not text'),
        ("a.jsonl", '{"document": null}', None, "row 1", '"document" is nothing, not text'),
        ("a.jsonl", '{"document": "a"}\n{"document": " "}', None, "row 2", "the document is empty"),
        ("a.jsonl", '{"text": "a"}', None, "a.jsonl:1", 'no column "document"'),
        ("a.csv", b"document\n\xff\n", None, "a.csv:2", "is not UTF-8"),
    ],
)
def test_what_cannot_be_read_has_one_error_with_its_place(
    name: str, content: bytes | str, column: str | None, place: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read_documents(write(tmp_path / name, content), column)
    assert place in str(caught.value.place)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_documents(str(tmp_path / "none.txt"))
