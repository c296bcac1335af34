from __future__ import annotations

import json
from pathlib import Path

import pytest

from kilowit.errors import StoreError
from kilowit.meter import Meter, read_ledger
from kilowit.meter.ledger import LineFile, decode, encode
from kilowit.parts.sensors.replay import ReplaySensor, Trace, VirtualClock


def write_ledger(folder: Path, watt: float = 100.0) -> Path:
    clock = VirtualClock()
    sensor = ReplaySensor(Trace.from_power([0, 100], [watt, watt]), clock)
    with Meter(folder, sensors=[sensor], period_second=None, clock=clock, utc_clock=lambda: 1.8e9 + clock()) as meter:
        for name in ("prepare", "train"):
            with meter.phase(name):
                clock.advance(2)
                meter.sample()
    return folder / "ledger.jsonl"


def test_the_file_says_what_the_memory_said(tmp_path: Path) -> None:
    path = write_ledger(tmp_path)
    result = read_ledger(path)
    assert result.clean
    assert (result.started_at_utc, result.ended_at_utc) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:04Z")
    assert [(p.phase, p.energy_gpu_joule) for p in result.phases] == [("prepare", 200.0), ("train", 200.0), ("gap", 0)]


def test_a_truncated_ledger_is_closed_at_its_last_whole_line(tmp_path: Path) -> None:
    path = write_ledger(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-2])["event"] == "end"
    path.write_bytes(b"".join(lines[:-2]) + lines[-2][:25])
    result = read_ledger(path)
    assert not result.clean
    assert result.phase("train") is not None
    assert result.total.energy_gpu_joule == 400.0
    assert result.warnings == ("1 ledger lines were unreadable and are left out",)


def test_garbage_between_lines_is_skipped_and_counted(tmp_path: Path) -> None:
    path = write_ledger(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    dirt = [
        b"\x00\xff\xfe\n",
        b"[1,2]\n",
        b'{"event":"end","id":99,"t":1.0}\n',
        b'{"event":"start","t":"soon"}\n',
        b"\n",
    ]
    path.write_bytes(lines[0] + b"".join(dirt) + b"".join(lines[1:]))
    result = read_ledger(path)
    assert result.clean
    assert result.total.energy_gpu_joule == 400.0
    assert result.warnings == ("4 ledger lines were unreadable and are left out",)


def test_two_sessions_in_one_folder_add_up(tmp_path: Path) -> None:
    write_ledger(tmp_path, watt=100)
    path = write_ledger(tmp_path, watt=50)
    result = read_ledger(path)
    assert result.total.wall_second == 8.0
    assert [(p.phase, p.energy_gpu_joule) for p in result.phases] == [("prepare", 300.0), ("train", 300.0), ("gap", 0)]


def test_a_session_that_was_killed_in_mid_line_is_continued_on_a_new_line(tmp_path: Path) -> None:
    path = write_ledger(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    write_ledger(tmp_path)
    assert read_ledger(path).total.energy_gpu_joule == 800.0


def test_a_file_that_is_no_ledger_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read_ledger(tmp_path / "none.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"event":"sample","t":1}\n')
    with pytest.raises(StoreError, match="opening line is missing"):
        read_ledger(empty)


def test_lines_that_could_not_be_written_are_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.write_text("in the way")
    file = LineFile(folder / "ledger.jsonl")
    file.write("one")
    assert file.problem is not None
    folder.unlink()
    file.write("two")
    file.close()
    assert file.problem is None
    assert (folder / "ledger.jsonl").read_text() == "one\ntwo\n"


def test_an_event_is_one_line_whatever_it_holds() -> None:
    event = {"event": "note", "t": 1.5, "message": "two\nlines", "facts": {"loss": float("inf"), "path": Path("/x")}}
    line = encode(event)
    assert "\n" not in line
    again = decode(line)
    assert again is not None
    assert again["facts"] == {"loss": "inf", "path": "/x"}
    assert decode('{"no":"event"}') is None
