"""From ledger events to figures: the one reduction, fed line by line, by the running meter and by `read_ledger` alike.

The timeline is cut at phase edges; each segment belongs to the innermost open phase, or to the gap. Energies are
differences of counters between edges (or integrals of power), so what the leaves and the gaps hold is the total,
by construction. Nothing is kept but the sums: an hour costs no more memory than a minute.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from kilowit.meter.figures import Context, MeterResult, build_result, phase_figures
from kilowit.meter.tally import Tally
from kilowit.meter.tracks import EnergyCounterTrack, PowerTrack, Track, track_of
from kilowit.parts.sensor import POWER, Channel, Value
from kilowit.record import PhaseFigures

GAP: Final = "gap"
CROSS_CHECK_FRACTION: Final = 0.10  # counter against integrated power (zeus#181 saw 43 % at idle)
CROSS_CHECK_SECOND: Final = 10.0
_CHANNEL_FIELDS: Final = frozenset(f.name for f in dataclasses.fields(Channel))


class Frame:
    """One open phase: what is its own, and what its nested phases hold."""

    def __init__(self, phase_id: int, name: str) -> None:
        self.phase_id, self.name = phase_id, name
        self.own, self.nested = Tally(), Tally()

    def inclusive(self) -> Tally:
        """Return own and nested as one stretch."""
        whole = Tally()
        whole.add(self.own)
        counts, facts = dict(whole.counts), dict(whole.facts)
        whole.add(self.nested)
        whole.counts, whole.facts, whole.num_segments = counts, facts, 1
        return whole


class Reduction:
    """A fold over ledger events.

    Attributes:
        warnings: what went wrong, each text once, in order.
        is_open: whether a session has begun and not ended.
        derived: warnings that this fold found itself and that nobody has written down yet.
    """

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}
        self.derived: list[tuple[str, str]] = []
        self.rows: dict[str, Tally] = {}
        self.channels: list[Channel] = []
        self.tracks: list[Track] = []
        self.absent: dict[str, str] = {}
        self.header: dict[str, Any] = {}
        self.sensors: list[dict[str, Any]] = []
        self.wall_second = 0.0
        self.num_unreadable_lines = 0
        self._gap = Tally()
        self._stack: list[Frame] = []
        self._t_second = self._utc_second = 0.0
        self._reading_order: list[int] = []
        self.is_open = False
        self._is_clean = False
        self._ended: Frame | None = None

    def feed(self, event: dict[str, Any]) -> None:
        """Take one event in.

        Raises:
            KeyError, TypeError, ValueError: the event is malformed; nothing of it was booked but its time.
        """
        kind = event["event"]
        if kind == "open":
            self._open(event)
            return
        if kind == "note":
            self._note(event)
        if not self.is_open:
            if kind == "note":
                return
            raise ValueError("no open line yet")
        self._advance(float(event["t"]))
        if "read" in event:
            self._read(event["read"])
        if kind == "start":
            self._start(int(event["id"]), str(event["phase"]))
        elif kind == "end":
            self._end(int(event["id"]), event)
        elif kind == "close":
            self._is_clean = True
            self._finish_session()

    def phase_result(self, phase_id: int) -> PhaseFigures | None:
        """Return the inclusive figures of the phase that ended last; None if that was another one."""
        if self._ended is None or self._ended.phase_id != phase_id:
            return None
        return phase_figures(self._ended.name, self._ended.inclusive(), self._context())

    def total_so_far(self) -> PhaseFigures:
        """Return the figures of the whole timeline up to the last event."""
        context = self._context()
        return phase_figures("total", context.run, context)

    def finish(self) -> MeterResult:
        """Close what is open at the last line seen, and return all figures."""
        self._finish_session()
        for channel in self.channels:
            self._cross_check(channel)
        if self.num_unreadable_lines:
            self.warnings[f"{self.num_unreadable_lines} ledger lines were unreadable and are left out"] = None
        return build_result(self._context(), clean=self._is_clean)

    def _open(self, event: dict[str, Any]) -> None:
        channels = [Channel(**{k: v for k, v in item.items() if k in _CHANNEL_FIELDS}) for item in event["channels"]]
        self._finish_session()
        first = len(self.channels)
        self.channels += channels
        self.tracks = [track_of(first + i, channel, self._warn) for i, channel in enumerate(channels)]
        self._pair_tracks()
        self.absent = dict(event.get("absent", {}))
        if not self.header:
            self.header = event
        self.sensors += event.get("sensors", [])
        self._t_second, self.is_open, self._is_clean = float(event["t"]), True, False
        self._utc_second = float(event.get("utc_second", 0.0)) - self._t_second
        self._gap = Tally()
        self._gap.num_segments = 1
        self._read(event.get("read", {}))

    def _pair_tracks(self) -> None:
        """Let each power channel vouch for the counter of its device."""
        counters = {
            (track.channel.component, track.channel.device): track
            for track in self.tracks
            if isinstance(track, EnergyCounterTrack)
        }
        for track in self.tracks:
            if isinstance(track, PowerTrack):
                track.counter = counters.get((track.channel.component, track.channel.device))
        # Power is read first, so that a counter that cannot be believed finds what power saw.
        self._reading_order = sorted(range(len(self.tracks)), key=lambda i: self.tracks[i].channel.kind != "power")

    def _current(self) -> Tally:
        return self._stack[-1].own if self._stack else self._gap

    def _advance(self, t_second: float) -> None:
        second = t_second - self._t_second
        if not second > 0:  # a clock never runs back; a damaged line might
            return
        self._t_second = t_second
        current = self._current()
        current.wall_second += second
        self.wall_second += second
        for track in self.tracks:
            track.wait(current, second)

    def _read(self, readings: dict[str, Value]) -> None:
        peaks: dict[str, float] = {}
        for i in self._reading_order:
            value = readings.get(str(i))
            if value is None or not _is_finite(value):
                continue
            track = self.tracks[i]
            track.read(value)
            if track.channel.kind != "counter":
                level = float(value[0]) if isinstance(value, tuple | list) else float(value)
                key = f"{track.channel.component}:{POWER}" if track.channel.source else track.channel.quantity
                peaks[key] = peaks.get(key, 0.0) + level
        current = self._current()
        for key, level in peaks.items():
            current.raise_peak(key, level)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("kind") == "warning" and not event.get("derived"):
            self.warnings[str(event["message"])] = None

    def _start(self, phase_id: int, name: str) -> None:
        self._stack.append(Frame(phase_id, name))
        self._stack[-1].own.num_segments = 1
        self.rows.setdefault(name, Tally())

    def _end(self, phase_id: int, event: dict[str, Any]) -> None:
        position = next((i for i, frame in enumerate(self._stack) if frame.phase_id == phase_id), None)
        if position is None:
            raise ValueError(f"phase {phase_id} ends but never started")
        frame = self._stack[position]
        if position != len(self._stack) - 1:
            inner = self._stack[-1].name
            self._warn("phases", f'phase "{frame.name}" ended before "{inner}", which started inside it')
        frame.own.set_facts(event.get("counts", {}), event.get("facts", {}))
        self._close_frame(position)
        self._current().num_segments += 1

    def _close_frame(self, position: int) -> None:
        frame = self._stack.pop(position)
        self._ended = frame
        if position > 0:
            self._stack[position - 1].nested.add(frame.inclusive())
        row = self.rows[frame.name]
        row.add(frame.own)
        frame.own.continued_in = row

    def _finish_session(self) -> None:
        if not self.is_open:
            return
        period_second = float(self.header.get("period_second") or 1.0)
        for i in self._reading_order:
            self.tracks[i].finish(period_second)
        while self._stack:
            self._close_frame(len(self._stack) - 1)
        row = self.rows.setdefault(GAP, Tally())
        row.add(self._gap)
        self._gap.continued_in = row
        self.is_open = False

    def _cross_check(self, power: Channel) -> None:
        """Compare a device's counter with its integrated power over the whole run."""
        if power.kind != "power" or not power.source or self.wall_second < CROSS_CHECK_SECOND:
            return
        run = self._context().run
        for number, counter in enumerate(self.channels):
            if (counter.kind, counter.component, counter.device) != ("counter", power.component, power.device):
                continue
            counted = run.energy_of(number).joule
            integrated = run.energy_of(self.channels.index(power)).joule
            if counted > 0 and abs(integrated - counted) > CROSS_CHECK_FRACTION * counted:
                gap_percent = 100 * (integrated - counted) / counted
                self._warn(
                    "cross_check",
                    f"{power.device}: integrated power is {gap_percent:+.0f} % off the energy counter, which is booked",
                )

    def _warn(self, kind: str, message: str) -> None:
        if message not in self.warnings:
            self.warnings[message] = None
            self.derived.append((kind, message))

    def _context(self) -> Context:
        run = Tally()
        for row in self.rows.values():
            run.add(row)
        for frame in self._stack:
            run.add(frame.own)
        if self._gap.continued_in is None:
            run.add(self._gap)
        return Context(
            channels=self.channels,
            absent=self.absent,
            rows=self.rows,
            run=run,
            header=self.header,
            ended_utc_second=self._utc_second + self._t_second,
            sensors=tuple(self.sensors),
            warnings=tuple(self.warnings),
        )


def _is_finite(value: Any) -> bool:
    numbers = value if isinstance(value, tuple | list) else (value,)
    return all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
