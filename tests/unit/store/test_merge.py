"""Merging: what is copied, what is refused, and that a refusal copies nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.errors import StoreError
from kilowit.record import Record
from kilowit.store import RunFolder, Store


def finished(store: Store, key: str) -> RunFolder:
    folder = store.create({"seed": 0}, label="lead_s0", cell_key=key, attempt=1)
    folder.ledger_path.write_text("{}\n")
    folder.write_record(
        Record(
            run_id=folder.run_id, cell_key=key, study_name="green", attempt=1, status="finished",
            started_at_utc="", ended_at_utc="", cell=folder.cell, environment={},
        )
    )  # fmt: skip
    return folder


def test_merge_copies_only_what_is_not_here_with_all_its_files(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    finished(here, "a")
    folder = finished(there, "b")
    folder.model_path.mkdir()
    (folder.model_path / "weights").write_bytes(b"\0" * 10)
    assert here.merge(there.path) == 1
    assert here.merge(there.path) == 0
    assert {record.cell_key for record in here.records()} == {"a", "b"}
    assert (here.find(folder.run_id).model_path / "weights").stat().st_size == 10
    assert not [path for path in here.path.iterdir() if path.name.startswith(".")]


def test_merge_into_a_store_that_does_not_exist_makes_it(tmp_path: Path) -> None:
    there = Store(tmp_path / "there")
    finished(there, "b")
    assert Store(tmp_path / "new" / "here").merge(there.path) == 1


def test_two_different_records_of_one_run_are_a_conflict_and_nothing_is_copied(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    folder = finished(there, "b")
    here.merge(there.path)
    folder.record_path.write_text(folder.record_path.read_text().replace("green", "brown"))
    finished(there, "c")
    with pytest.raises(StoreError, match=f"run {folder.run_id} differs in record.json"):
        here.merge(there.path)
    assert len(here.folders()) == 1


def test_merging_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such store"):
        Store(tmp_path).merge(tmp_path / "nowhere")
