"""The dataset `local_files`: a person's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kilowit.errors import DataError
from kilowit.parts.datasets.local_files import Options, load


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def example(i: int, **more: Any) -> dict[str, Any]:
    return {"document": f"document {i}", "summary": f"summary {i}", **more}


def test_three_files_become_three_splits_with_their_ids(tmp_path: Path) -> None:
    files = {
        name: write(tmp_path / f"{name}.jsonl", [example(i, id=f"{name}/{i}") for i in range(n)])
        for name, n in (("train", 4), ("validation", 2), ("test", 3))
    }
    corpus = load(Options(**files, licence="cc0"))
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (4, 2, 3)
    assert corpus.test.ids[0] == "test/0"
    assert (corpus.source, corpus.licence) == ("files:jsonl", "cc0")


def test_one_file_is_divided_by_the_hash_of_the_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [example(i) for i in range(400)])
    corpus = load(Options(path=path, test_fraction=0.1))
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == 400
    assert 20 < len(corpus.test) < 60  # 40 +- 3.5 standard deviations
    assert corpus == load(Options(path=path, test_fraction=0.1))


def test_other_column_names_and_an_id_column_work(tmp_path: Path) -> None:
    rows = [{"article": f"a {i}", "highlights": "h", "key": i} for i in range(100)]
    options = Options(
        path=write(tmp_path / "a.jsonl", rows), document_column="article", summary_column="highlights", id_column="key"
    )
    corpus = load(options)
    assert corpus.document_column == "article"
    assert set(corpus.test.ids) <= {str(i) for i in range(100)}


def test_an_id_that_occurs_twice_is_refused_with_both_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [example(0, id="a"), example(1, id="b"), example(2, id="a")])
    with pytest.raises(DataError, match='id "a" of row 1 is that of row 3 too'):
        load(Options(path=path))


def test_a_file_without_rows_is_an_empty_split(tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", [example(0)])
    with pytest.raises(DataError, match="the split is empty"):
        load(Options(train=good, validation=good, test=write(tmp_path / "empty.jsonl", [])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "train is missing"),
        ({"train": "a.jsonl", "test": "b.jsonl"}, "validation is missing"),
        ({"path": "a.jsonl", "test": "b.jsonl"}, "exclude each other"),
        ({"train": "a", "validation": "b", "test": "c", "test_fraction": 0.1}, "test_fraction only works with path"),
        ({"path": "a.jsonl", "max_test_examples": 0}, "greater than or equal to 1"),
        ({"path": "a.jsonl", "column": "x"}, "Extra inputs"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Options.model_validate(options)


def test_a_real_corpus_loads_with_its_published_counts(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "corpora" / "samsum"
    corpus = load(Options(**{name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}))
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (14731, 818, 819)
