"""The store: run folders that are written once, found again, judged later, and never crash a scan."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path

import pytest

from kilowit.errors import StoreError
from kilowit.record import PhaseFigures, Record
from kilowit.store import RunFolder, Store, is_invalidated

CELL = {"study_name": "green", "recipe": "bf16", "seed": 0}


def make_folder(store: Store, *, key: str = "k1", attempt: int = 1, label: str = "lead_samsum_s0") -> RunFolder:
    return store.create(CELL, label=label, cell_key=key, attempt=attempt)


def make_record(folder: RunFolder, **changes: object) -> Record:
    facts = {
        "run_id": folder.run_id,
        "cell_key": folder.cell_key,
        "study_name": "green",
        "attempt": folder.attempt,
        "status": "finished",
        "started_at_utc": "2026-11-23T10:15:30Z",
        "ended_at_utc": "2026-11-23T10:16:30Z",
        "cell": folder.cell,
        "environment": {},
        "phases": [PhaseFigures(phase="train", wall_second=2.0, energy_total_joule=30.0)],
    }
    return Record(**{**facts, **changes})  # type: ignore[arg-type]


def finish(folder: RunFolder, **changes: object) -> Record:
    record = make_record(folder, **changes)
    folder.write_record(record)
    return record


def test_a_run_folder_says_what_is_asked_and_its_name_reads_aloud(tmp_path: Path) -> None:
    folder = make_folder(Store(tmp_path / "runs"), attempt=2)
    again = RunFolder(folder.path)
    assert (again.cell, again.cell_key, again.attempt, again.label) == (CELL, "k1", 2, "lead_samsum_s0")
    assert again.record is None
    assert again.environment == {}


def test_a_label_with_odd_characters_becomes_a_file_name(tmp_path: Path) -> None:
    folder = make_folder(Store(tmp_path), label="a/b c:d")
    assert folder.label == "a-b-c-d"
    assert Store(tmp_path).folders() == [folder]


def test_folders_created_at_once_by_many_threads_are_all_different(tmp_path: Path) -> None:
    store = Store(tmp_path)
    threads = [threading.Thread(target=lambda: [make_folder(store) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.folders()) == 40


def test_cell_environment_and_record_are_written_once(tmp_path: Path) -> None:
    folder = make_folder(Store(tmp_path))
    folder.write_environment({"python": "3.11"})
    finish(folder)
    for write in (
        lambda: folder.write_cell(CELL, cell_key="k1", attempt=1),
        lambda: folder.write_environment({}),
        lambda: folder.write_record(make_record(folder)),
    ):
        with pytest.raises(StoreError, match="never rewritten"):
            write()


def test_a_finished_folder_holds_no_temporary_or_reserved_file(tmp_path: Path) -> None:
    folder = make_folder(Store(tmp_path))
    assert (folder.path / ".reserve").stat().st_size > 0
    finish(folder)
    assert sorted(path.name for path in folder.path.iterdir()) == ["cell.json", "record.json"]


def test_records_come_back_equal_and_oldest_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = [finish(make_folder(store, key=f"k{i}")) for i in range(3)]
    assert store.records() == sorted(written, key=lambda record: record.run_id)
    assert store.problems == []


def test_done_is_the_latest_finished_record_of_the_cell(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(make_folder(store), status="failed", error_kind="timeout", error_message="late")
    assert store.done("k1") is None
    record = finish(make_folder(store, attempt=2))
    assert store.done("k1") == record
    assert store.done("other") is None


def test_a_store_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert (store.folders(), store.records(), store.status()) == ([], [], [])


def test_an_invalidated_run_is_no_longer_done_but_stays_on_the_bill(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = make_folder(store)
    finish(folder)
    as_written = folder.record_path.read_bytes()
    store.invalidate(folder.run_id, "fan was blocked", "ada")
    assert store.done("k1") is None
    (seen,) = store.records()
    assert is_invalidated(seen)
    assert "by ada: fan was blocked" in (seen.error_message or "")
    assert seen.phases[0].energy_total_joule == 30.0
    assert folder.record_path.read_bytes() == as_written
    assert store.status()[0].num_invalidated == 1


def test_an_invalidation_needs_a_reason_and_a_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = make_folder(store)
    for reason, who in ((" ", "ada"), ("why", "")):
        with pytest.raises(StoreError, match="reason and a name"):
            store.invalidate(folder.run_id, reason, who)


def test_find_takes_an_id_a_beginning_or_a_unique_part(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = make_folder(store, label="lead_a_s0"), make_folder(store, label="lead_b_s0")
    assert store.find(one.run_id) == one
    assert store.find("lead_b") == two
    with pytest.raises(StoreError, match='2 runs match "lead"'):
        store.find("lead")


def test_find_suggests_the_nearest_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = make_folder(store)
    with pytest.raises(StoreError, match=f'Did you mean "{folder.run_id}"'):
        store.find(folder.run_id.replace("samsum", "sansum"))
    with pytest.raises(StoreError, match="holds no runs"):
        Store(tmp_path / "empty").find("x")


def test_status_counts_by_study(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(make_folder(store, key="a"))
    finish(make_folder(store, key="b"), status="failed", error_kind="divergence", error_message="NaN")
    finish(make_folder(store, key="c"), status="interrupted", error_kind="interrupted", error_message="Ctrl-C")
    make_folder(store, key="d")  # died before its worker was started
    running = make_folder(store, key="e")
    descriptor = running.lock_for_worker()
    try:
        (status,) = store.status()
    finally:
        os.close(descriptor)
    assert (status.study_name, status.num_finished, status.num_failed, status.num_interrupted) == ("green", 1, 1, 1)
    assert (status.num_partial, status.num_running) == (1, 1)
    assert (status.energy_total_joule, status.wall_second) == (90.0, 6.0)


def test_status_is_what_the_records_add_up_to(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(12):
        phases = [
            PhaseFigures(
                phase="load", wall_second=0.1 * number, energy_total_joule=None if number % 3 else 0.7 * number
            ),
            PhaseFigures(phase="train", wall_second=number, energy_total_joule=None if number % 4 == 1 else number),
        ]
        status = ("finished", "failed", "interrupted")[number % 5 % 3]
        finish(make_folder(store, key=str(number)), study_name="ab"[number % 2], status=status, phases=phases)
    for folder in store.folders()[3:5]:
        store.invalidate(folder.run_id, "fan was blocked", "ada")
    old = store.folders()[5]
    old.record_path.write_text(old.record_path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    found = store.status()
    assert [line.study_name for line in found] == ["a", "b"]
    for line in found:
        records = [record for record in store.records() if record.study_name == line.study_name]
        states = ["invalidated" if is_invalidated(record) else record.status for record in records]
        for state in ("finished", "failed", "interrupted", "invalidated"):
            assert getattr(line, f"num_{state}") == states.count(state)
        phases = [phase for record in records for phase in record.phases]
        assert line.wall_second == math.fsum(phase.wall_second for phase in phases)
        assert line.energy_total_joule == math.fsum(phase.energy_total_joule or 0.0 for phase in phases)


def test_a_folder_runs_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    folder = make_folder(Store(tmp_path))
    assert not folder.is_running
    descriptor = folder.lock_for_worker()
    assert folder.is_running
    os.close(descriptor)
    assert not folder.is_running


def test_a_worker_on_another_machine_runs_until_its_ledger_falls_silent(tmp_path: Path) -> None:
    folder = make_folder(Store(tmp_path))
    folder.lock_path.write_text(json.dumps({"host": "another-host"}))
    folder.ledger_path.write_text("{}\n")
    assert folder.is_running
    for path in (folder.lock_path, folder.ledger_path):
        os.utime(path, (0, 0))
    assert not folder.is_running


CORRUPTIONS = {
    "record is half": ("record.json", b'{"schema_version": 1, "run_'),
    "record is of another schema": ("record.json", b'{"schema_version": 99}'),
    "record is a list": ("record.json", b"[]"),
    "record is not text": ("record.json", b"\xff\xfe\x00"),
    "record is of another run": ("record.json", None),
    "cell is not JSON": ("cell.json", b"\x00"),
    "cell lacks its key": ("cell.json", b'{"cell": {}}'),
    "edit is not an edit": ("edits.jsonl", b'{"colour": "red"}\n'),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corrupt_folder_is_listed_with_its_place_and_hides_no_other(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    good, bad = make_folder(store, key="good"), make_folder(store, key="bad")
    kept = finish(good)
    name, content = CORRUPTIONS[kind]
    if name != "cell.json":
        finish(bad)
    if content is None:
        content = good.record_path.read_bytes()
    (bad.path / name).write_bytes(content)
    fresh = Store(tmp_path)
    assert fresh.records() == [kept]
    (problem,) = fresh.problems
    assert bad.run_id in problem
    assert "\n  " in problem  # what to do
    (status,) = fresh.status()
    assert (status.num_finished, fresh.problems) == (1, [problem])


WRONG_FIELDS = {
    "a field is unknown": {"colour": "red"},
    "a field is missing": {"status": None},
    "the status is none": {"status": ["finished"]},
    "a phase is no object": {"phases": [1]},
    "seconds are text": {"phases": [{"phase": "train", "wall_second": "2"}]},
    "joules are text": {"phases": [{"phase": "train", "wall_second": 2.0, "energy_total_joule": "30"}]},
}


@pytest.mark.parametrize("kind", WRONG_FIELDS)
def test_status_finds_the_fault_in_what_it_reads_that_a_full_scan_finds(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    folder = make_folder(store)
    finish(folder)
    value = json.loads(folder.record_path.read_text()) | WRONG_FIELDS[kind]
    if value["status"] is None:
        del value["status"]
    folder.record_path.write_text(json.dumps(value))
    assert store.records() == []
    problems = store.problems
    assert problems and store.status() == []
    assert store.problems == problems


def test_a_folder_without_cell_and_record_is_a_problem(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "20261123T101530Z_lead_s0_7f3a").mkdir()
    assert store.records() == []
    assert "cell.json is missing" in store.problems[0]
    assert store.unfinished() == []


def test_what_is_no_run_folder_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "20261123T101530Z_lead_s0_7f3a").write_text("a file")
    (tmp_path / ".merge-20261123T101530Z_lead_s0_7f3a-1").mkdir()
    assert Store(tmp_path).folders() == []


def test_a_record_changed_on_disk_is_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = make_folder(store)
    finish(folder)
    assert store.records()[0].status == "finished"
    folder.record_path.write_text(make_record(folder, status="interrupted", error_message="x").to_json())
    assert store.records()[0].status == "interrupted"
