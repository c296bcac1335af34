"""Records of this and of earlier schemas, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kilowit.errors import StoreError
from kilowit.record import SCHEMA_VERSION, Record
from report_records import study_records, trained


def test_a_record_is_read_back_as_it_was_written() -> None:
    for record in study_records(num_seeds=1):
        assert Record.from_json(record.to_json()) == record


def test_the_published_records_of_schema_1_are_read(repository: Path) -> None:
    paths = sorted((repository / "docs" / "results" / "bart-large-samsum" / "records").glob("*.json"))
    assert paths
    for path in paths:
        assert json.loads(path.read_text())["schema_version"] == 1
        record = Record.from_json(path.read_text())
        assert record.schema_version == SCHEMA_VERSION
        assert record.dataset is not None and record.dataset.splits[0].source_length is None
        assert record.phases and record.scores


def test_figures_that_an_earlier_schema_counted_otherwise_become_a_note() -> None:
    old = json.loads(trained("bart-tiny", "full", 0, number=1).to_json())
    old["schema_version"] = 1
    pooled = {"compression_ratio": 4.62, "novel_unigram_fraction": 0.352, "novel_bigram_fraction": None}
    old["dataset"]["splits"][0] |= pooled
    read = Record.from_json(json.dumps(old)).dataset
    assert read is not None
    assert read.notes[-1] == "train: compression 4.62, novel words 35.2%, over all words together (schema 1)"
    old["dataset"] = None
    assert Record.from_json(json.dumps(old)).dataset is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, f"this kilowit reads 1 to {SCHEMA_VERSION}"),
        ({"schema_version": 1, "dataset": {"splits": 3}}, "missing field"),
        ({"schema_version": 1, "dataset": 7}, "expected an object"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(change: dict[str, object], message: str) -> None:
    value = json.loads(trained("bart-tiny", "full", 0, number=1).to_json()) | change
    with pytest.raises(StoreError, match=message):
        Record.from_json(json.dumps(value))


def test_a_mapping_of_figures_holds_figures_only() -> None:
    record = trained("bart-tiny", "full", 0, number=1)
    value = json.loads(record.to_json())
    value["dataset"]["splits"][0]["source_length"]["truncated_fraction"]["512"] = "all"
    with pytest.raises(StoreError, match="truncated_fraction:512"):
        Record.from_json(json.dumps(value))
    value["dataset"]["splits"][0]["source_length"]["truncated_fraction"]["512"] = 0  # a whole number is a fraction too
    read = Record.from_json(json.dumps(value))
    assert read.dataset is not None and read.dataset.splits[0].source_length is not None
    assert read.dataset.splits[0].source_length.truncated_fraction["512"] == 0.0
