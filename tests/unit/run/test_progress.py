"""What a person sees: one line per event in a pipe, a live view on a terminal, nothing on stdout."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from kilowit.record import PhaseFigures, Record, Score
from kilowit.run.ledger_tail import LedgerTail
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import CellStart, CellState, PlainProgress, Progress, RichProgress, describe, describe_state

START = CellStart(
    label="lead_samsum_s0", run_id="20261123T101530Z_lead_samsum_s0_7f3a", attempt=2, position=1, num_cells=3
)


def record(**changes: object) -> Record:
    facts = {
        "run_id": "r", "cell_key": "k", "study_name": "green", "attempt": 1, "status": "finished",
        "started_at_utc": "", "ended_at_utc": "", "cell": {}, "environment": {},
        "phases": [PhaseFigures(phase="train", wall_second=75.0, energy_total_joule=12_300.0)],
    }  # fmt: skip
    return Record(**{**facts, **changes})  # type: ignore[arg-type]


def tell_all(progress: Progress) -> None:
    with progress:
        progress.study_started("green", 3)
        progress.cell_started(START)
        for step in (1, 2):
            progress.cell_changed(
                START.run_id, CellState(phase="train", step=step, num_steps=4, loss=2.5, energy_joule=10.0)
            )
        progress.cell_changed(START.run_id, CellState(phase="score"))
        progress.cell_ended(START.label, record())
        progress.cell_passed_over("b", "done before as x")
        progress.note("a note")
        progress.study_ended(StudyOutcome(study_name="green", num_cells=3, num_finished=1, num_skipped=1))


def test_a_pipe_gets_one_plain_line_per_event_and_not_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    tell_all(PlainProgress(stream))
    lines = [line[11:] for line in stream.getvalue().splitlines()]  # without the time of day
    assert lines == [
        "study green: 3 cells",
        f"1/3 {START.label}: started as {START.run_id}, attempt 2",
        f"{START.label}: train",
        f"{START.label}: score",
        f"{START.label}: finished, 1 min 15 s, 12.3 kJ",
        "b: done before as x",
        "a note",
        "study green: 1 finished, 1 done before of 3",
    ]
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_phase_step_loss_joules_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = RichProgress()
    screen = io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=120)
    progress._live.console = progress._console
    tell_all(progress)
    seen = screen.getvalue()
    for words in ("✓ lead_samsum_s0  finished", "1/3 cells, about 2 min 30 s left", "a note", "1 finished"):
        assert words in seen


def test_a_state_reads_like_a_sentence() -> None:
    state = CellState(phase="train", step=3, num_steps=40, loss=2.51, energy_joule=1234.0, elapsed_second=61.0)
    assert describe_state(state) == "train  step 3/40  loss 2.510  1.23 kJ  1 min 01 s"
    assert describe_state(CellState()) == "starting  0.0 s"


def test_an_ending_says_status_cost_and_reason() -> None:
    score = Score(metric="rouge1", value=0.4567, ci95_low=None, ci95_high=None, num_examples=3, signature="s")
    assert describe(record(scores=[score])) == "finished, 1 min 15 s, 12.3 kJ  rouge1 0.457"
    failed = record(status="failed", error_kind="timeout", error_message="too long", error_phase="train", phases=[])
    assert describe(failed) == "failed in train, timeout: too long (0.0 s, energy unknown)"


def test_a_ledger_is_followed_line_by_line_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path)
    assert tail.read(1.0) == CellState(elapsed_second=1.0)
    events = [
        {"t": 0, "event": "open", "channels": [], "utc_second": 0.0},
        {"t": 1, "event": "start", "id": 1, "phase": "train"},
        {"t": 2, "event": "note", "kind": "progress", "message": "", "step": 3, "num_steps": 9, "loss": 1.5},
        {"t": 3, "event": "start", "id": 2, "phase": "validate"},
    ]
    whole = "".join(f"{json.dumps(event)}\n" for event in events)
    path.write_text(whole[:-5])
    assert tail.read() == CellState(phase="train", step=3, num_steps=9, loss=1.5)
    path.write_text(whole + "damaged\n" + json.dumps({"t": 4, "event": "end", "id": 1}) + "\n")
    assert tail.read().phase == "validate"
