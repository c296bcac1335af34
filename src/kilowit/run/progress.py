"""What a person sees while a study runs: a live view on a terminal, one plain line per event in a pipe.

All of it goes to stderr; data alone goes to stdout. It draws at most once a second: the machine is metered.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self, TextIO

from kilowit.record import Record
from kilowit.run.outcome import StudyOutcome

MAX_LINES: Final = 12  # of cells that run, in the live view


@dataclass(frozen=True, kw_only=True)
class CellStart:
    """The cell that starts, and its place among those of the study."""

    label: str
    run_id: str
    attempt: int
    position: int  # from 1
    num_cells: int


@dataclass(frozen=True, kw_only=True)
class CellState:
    """Where the running cell is; None = not known yet."""

    phase: str | None = None
    step: int | None = None
    num_steps: int | None = None
    loss: float | None = None
    energy_joule: float | None = None
    elapsed_second: float = 0.0


class Progress(Protocol):
    """What the coordinator tells; a context manager around the study."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def study_started(self, name: str, num_cells: int) -> None:
        """Say what is ahead."""

    def note(self, message: str) -> None:
        """Say something worth a line: waiting for the machine, a dead run closed, a retry."""

    def cell_started(self, start: CellStart) -> None:
        """A worker was started."""

    def cell_changed(self, run_id: str, state: CellState) -> None:
        """The worker of a run has said something new."""

    def cell_ended(self, label: str, record: Record) -> None:
        """A worker has ended, well or not."""

    def cell_passed_over(self, label: str, reason: str) -> None:
        """A cell is not run: done already, or left out."""

    def study_ended(self, outcome: StudyOutcome) -> None:
        """Say how it went."""


class PlainProgress:
    """One line per event: for pipes, logs and tests."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._running: dict[str, tuple[str, str | None]] = {}  # run id -> label and phase

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()

    def study_started(self, name: str, num_cells: int) -> None:
        """Say what is ahead."""
        self._line(f"study {name}: {_count(num_cells, 'cell')}")

    def note(self, message: str) -> None:
        """Say something worth a line."""
        self._line(message)

    def cell_started(self, start: CellStart) -> None:
        """A worker was started."""
        self._running[start.run_id] = (start.label, None)
        again = f", attempt {start.attempt}" if start.attempt > 1 else ""
        self._line(f"{start.position}/{start.num_cells} {start.label}: started as {start.run_id}{again}")

    def cell_changed(self, run_id: str, state: CellState) -> None:
        """A new phase is a line; steps are not."""
        label, phase = self._running[run_id]
        if state.phase != phase and state.phase is not None:
            self._running[run_id] = (label, state.phase)
            self._line(f"{label}: {state.phase}")

    def cell_ended(self, label: str, record: Record) -> None:
        """A worker has ended, well or not."""
        self._line(f"{label}: {describe(record)}")

    def cell_passed_over(self, label: str, reason: str) -> None:
        """A cell is not run."""
        self._line(f"{label}: {reason}")

    def study_ended(self, outcome: StudyOutcome) -> None:
        """Say how it went."""
        self._line(outcome.sentence)

    def _line(self, text: str) -> None:
        self._stream.write(f"{datetime.now(UTC):%H:%M:%SZ}  {text}\n")
        self._stream.flush()


class RichProgress:
    """A line per finished cell, and below them a live line with phase, step, loss and joules, and a bar."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._running: dict[str, tuple[CellStart, CellState]] = {}  # by run id
        self._num_cells = self._num_over = 0
        self._seconds: list[float] = []
        self._drawn_at_second = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def study_started(self, name: str, num_cells: int) -> None:
        """Say what is ahead."""
        self._num_cells = num_cells
        self._print(f"study {name}: {_count(num_cells, 'cell')}", "bold")

    def note(self, message: str) -> None:
        """Say something worth a line."""
        self._print(message, "dim")

    def cell_started(self, start: CellStart) -> None:
        """A worker was started."""
        self._running[start.run_id] = (start, CellState())
        self._draw()

    def cell_changed(self, run_id: str, state: CellState) -> None:
        """The worker of a run has said something new."""
        self._running[run_id] = (self._running[run_id][0], state)
        if time.monotonic() - self._drawn_at_second >= 1.0:
            self._draw()

    def cell_ended(self, label: str, record: Record) -> None:
        """A worker has ended, well or not."""
        self._running.pop(record.run_id, None)
        self._num_over += 1
        self._seconds.append(sum(phase.wall_second for phase in record.phases))
        sign, style = {"finished": ("✓", "green"), "failed": ("✗", "red")}.get(record.status, ("–", "yellow"))
        self._print(f"{sign} {label}  {describe(record)}", style)

    def cell_passed_over(self, label: str, reason: str) -> None:
        """A cell is not run."""
        self._num_over += 1
        self._print(f"· {label}  {reason}", "dim")

    def study_ended(self, outcome: StudyOutcome) -> None:
        """Say how it went."""
        self._print(outcome.sentence, "bold")

    def _print(self, text: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(text, style=style), highlight=False)
        self._draw()

    def _draw(self) -> None:
        self._drawn_at_second = time.monotonic()
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        if self._num_cells:
            left = self._num_cells - self._num_over
            mean_second = sum(self._seconds) / len(self._seconds) if self._seconds else None
            each_second = None if mean_second is None else mean_second / max(1, len(self._running))
            ahead = f", about {_duration(each_second * left)} left" if each_second is not None and left else ""
            bar = ProgressBar(total=self._num_cells, completed=self._num_over, width=24)
            grid.add_row(bar, Text(f"{self._num_over}/{self._num_cells} cells{ahead}"))
        for start, state in list(self._running.values())[:MAX_LINES]:
            inner = ProgressBar(total=state.num_steps or 1, completed=state.step or 0, width=24)
            grid.add_row(inner, Text(f"{start.label}  {describe_state(state)}"))
        return grid


def make_progress() -> Progress:
    """Return the live view if stderr is a terminal, else plain lines."""
    return RichProgress() if sys.stderr.isatty() else PlainProgress()


def describe(record: Record) -> str:
    """Say in one line how a run ended."""
    second = sum(phase.wall_second for phase in record.phases)
    energies = [p.energy_total_joule for p in record.phases if p.energy_total_joule is not None]
    took = f"{_duration(second)}, {_energy(sum(energies) if energies else None)}"
    if record.status == "finished":
        scores = "  ".join(f"{score.metric} {score.value:.3f}" for score in record.scores[:3])
        return f"finished, {took}" + (f"  {scores}" if scores else "")
    where = f" in {record.error_phase}" if record.error_phase else ""
    return f"{record.status}{where}, {record.error_kind}: {record.error_message} ({took})"


def describe_state(state: CellState) -> str:
    """Say in one line where the running cell is."""
    words = [state.phase or ("starting" if state.energy_joule is None else "between phases")]
    if state.step is not None:
        words.append(f"step {state.step}" + (f"/{state.num_steps}" if state.num_steps else ""))
    if state.loss is not None:
        words.append(f"loss {state.loss:.3f}")
    if state.energy_joule is not None:
        words.append(_energy(state.energy_joule))
    return "  ".join([*words, _duration(state.elapsed_second)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _energy(joule: float | None) -> str:
    if joule is None:
        return "energy unknown"
    for factor, unit in ((1e6, "MJ"), (1e3, "kJ")):
        if joule >= factor:
            return f"{joule / factor:.3g} {unit}"
    return f"{joule:.3g} J"


def _duration(second: float) -> str:
    whole = round(second)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{second:.1f} s"
