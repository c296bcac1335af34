"""The meter: nested phases over sensor readings, in any Python program.

    with Meter(folder) as meter, meter.phase("train") as phase:
        ...

It never raises into the job and never blocks it for longer than a sensor's deadline; whatever goes wrong becomes a
line in the ledger. It knows nothing of models.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from kilowit.errors import PartError
from kilowit.meter.election import Claims, job_of
from kilowit.meter.figures import MeterResult, utc_text
from kilowit.meter.journal import Journal
from kilowit.meter.ledger import POWER_NAME, LineFile, plain
from kilowit.meter.phase import Phase
from kilowit.meter.power_trace import PowerTrace
from kilowit.meter.reader import SensorReader
from kilowit.meter.sampler import Sampler
from kilowit.meter.start import Started, choose_channels
from kilowit.parts.sensor import Channel, Sensor, Value, default_sensors
from kilowit.record import PhaseFigures

LEDGER_VERSION: Final = 1
CLOCK_STEP_SECOND: Final = 1.0
State = Literal["new", "running", "stopped", "bystander"]


class Meter:
    """Meters a program, phase by phase.

    >>> with Meter(sensors=[]) as meter, meter.phase("train") as phase:
    ...     phase.count(num_examples=3)
    >>> meter.result.phases[0].num_examples
    3

    Args:
        folder: where ``ledger.jsonl`` and ``power.csv`` are written; None = in memory alone.
        sensors: what to read; None = all that work here.
        period_second: time between samples; None = read at phase edges and in `sample` alone.
        synchronize: called at both ends of each phase, e.g. ``torch.cuda.synchronize``.
        job: what the ranks of one job share; None = as the launcher says, else this process is alone.
        idle_power_watt: power of the idle machine; None = as seen in the phase ``idle``.
        clock: seconds that only grow; tests move it by hand.
        utc_clock: seconds since 1970.
        lock_folder: where ranks of one node agree on who reads; None = the node's own memory.

    Raises:
        PartError: `period_second` is not positive.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        sensors: Sequence[Sensor] | None = None,
        period_second: float | None = 1.0,
        synchronize: Callable[[], object] | None = None,
        job: str | None = None,
        idle_power_watt: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        utc_clock: Callable[[], float] = time.time,
        lock_folder: Path | None = None,
    ) -> None:
        if period_second is not None and not period_second > 0:
            raise PartError(f"period_second is {period_second}", hint="Give seconds above 0, or None for no samples.")
        self.result: MeterResult | None = None
        self._folder = None if folder is None else Path(folder)
        self._given_sensors, self._period_second = sensors, period_second
        self._synchronize = synchronize
        self._job, self._lock_folder = job, lock_folder
        self._idle_power_watt = idle_power_watt
        self._clock, self._utc_clock = clock, utc_clock
        self._state: State = "new"
        self._lock = threading.RLock()
        self._journal = Journal(None, clock)
        self._reader: SensorReader | None = None
        self._power: LineFile | None = None
        self._sampler: Sampler | None = None
        self._claims: Claims | None = None
        self._numbers: dict[str, int] = {}
        self._open_phases: list[Phase] = []
        self._num_phases = 0
        self._utc_offset_second = 0.0

    def start(self) -> Meter:
        """Open the sensors and the ledger. Calling it again does nothing."""
        if self._state == "new":
            self._state = "running"
            self._guard(self._start)
            if not self._journal.is_open:  # the meter itself failed, and has said so: phases only tell the time
                self._state = "bystander"
        return self

    def stop(self) -> MeterResult:
        """Close the ledger and return the figures. Calling it again returns the same."""
        if self.result is None:
            self._guard(self._stop)
        if self.result is None:  # the meter itself failed; its warnings say how
            self._state = "stopped"
            self.result = self._journal.finish()
        return self.result

    def __enter__(self) -> Meter:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def phase(self, name: str, *, synchronize: bool = True) -> Phase:
        """Return a block that books what happens inside it on `name`; blocks nest.

        Args:
            synchronize: False = do not wait for the device at its ends (for blocks in a hot loop).
        """
        return Phase(self, name, synchronize=synchronize)

    def note(self, kind: str, message: str, **facts: Any) -> None:
        """Write one line into the ledger; kind ``warning`` also comes with the result."""
        if self._state == "running":
            self._guard(self._journal.note, kind, message, facts)
        elif self._state == "new" and kind == "warning":
            self._journal.note(kind, message)

    def sample(self) -> None:
        """Take one sample of every channel now."""
        self._attempt(self._sample)

    def total_so_far(self) -> PhaseFigures | None:
        """Sample, and return what has been metered since the start; None if the meter does not run."""
        self.sample()
        figures: PhaseFigures | None = self._attempt(self._journal.total_so_far)
        return figures

    @property
    def current_phase(self) -> str | None:
        """Name of the innermost open phase."""
        open_phases = self._open_phases
        return open_phases[-1].name if open_phases else None

    def _attempt(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do something while the meter runs; else nothing."""
        return self._guard(action, *arguments) if self._state == "running" else None

    def _guard(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do something; if it fails, say so in the ledger and let the job go on."""
        try:
            with self._lock:
                return action(*arguments)
        except Exception as error:  # the meter never hurts the job: every error of its own is a line
            self._journal.fault(f"meter: {action.__name__.strip('_')}: {type(error).__name__}: {error}")
            return None

    def _start(self) -> None:
        _LIVE.add(self)
        self._journal = Journal(self._folder, self._clock)
        self._utc_offset_second = self._utc_clock() - self._clock()
        job = self._job if self._job is not None else job_of(os.environ)
        self._claims = Claims(job, self._lock_folder) if job is not None else None
        self._reader = SensorReader(default_sensors() if self._given_sensors is None else self._given_sensors)
        started = choose_channels(self._reader, self._claims)
        self._numbers = {channel.id: number for number, channel in enumerate(started.channels)}
        self._journal.emit("open", self._header(started), self._read(cheap_only=False))
        for kind, message in started.notes:
            self._journal.note(kind, message)
        self._trace = PowerTrace(started.channels)
        if self._folder is not None:
            self._power = LineFile(self._folder / POWER_NAME)
            self._write_power(self._trace.header)
        if self._period_second is not None:
            sampler = Sampler(self.sample, self._beat, self._sync, self._period_second)
            try:
                sampler.start()
            except RuntimeError as error:
                self._journal.fault(f"meter: {error}; sensors are read at phase edges alone")
            else:
                self._sampler = sampler

    def _header(self, started: Started) -> dict[str, Any]:
        utc_second = self._utc_clock()
        return {
            "v": LEDGER_VERSION,
            "utc": utc_text(utc_second),
            "utc_second": utc_second,
            "clock_second": self._journal.zero_second,
            "pid": os.getpid(),
            "num_cpus": os.cpu_count(),
            "period_second": self._period_second,
            "idle_power_watt": self._idle_power_watt,
            "absent": started.absent,
            "sensors": plain(started.sensors),
            "channels": [_told(channel) for channel in started.channels],
        }

    def _stop(self) -> None:
        was_running, self._state = self._state == "running", "stopped"
        if self._sampler is not None:
            self._sampler.ask_to_end()
        if was_running and self._reader is not None:
            for phase in self._open_phases:
                self._journal.note("warning", f'phase "{phase.name}" was still open when the meter stopped')
            self._journal.note_repeated_faults()
            t_second = self._journal.now()
            self._journal.emit("close", {}, self._read(cheap_only=False), t_second)
            for text in self._reader.close():
                self._journal.fault(text)
        self.result = self._journal.finish()
        if self._claims is not None:
            self._claims.release()
        if self._sampler is None:
            self._close_files()
        else:
            self._sampler.at_end(self._close_files)
        _LIVE.discard(self)

    def _close_files(self) -> None:
        self._journal.close()
        if self._power is not None:
            self._power.sync()
            self._power.close()

    def _begin(self, phase: Phase) -> None:
        self._num_phases += 1
        phase.phase_id = self._num_phases
        self._open_phases.append(phase)
        readings = self._read(cheap_only=True)
        self._journal.emit("start", {"id": phase.phase_id, "phase": phase.name}, readings)

    def _end(self, phase: Phase, error: BaseException | None) -> PhaseFigures | None:
        t_second = self._journal.now()
        self._open_phases = [other for other in self._open_phases if other is not phase]
        fields: dict[str, Any] = {"id": phase.phase_id, "phase": phase.name}
        if phase.counts:
            fields["counts"] = phase.counts
        if phase.facts:
            fields["facts"] = plain(phase.facts)
        if error is not None:
            fields["error"] = type(error).__name__
        self._journal.emit("end", fields, self._read(cheap_only=True), t_second)
        return self._journal.phase_result(phase.phase_id)

    def _wait_for_device(self) -> None:
        """Synchronise outside the lock: it can take as long as the device has work queued."""
        if self._synchronize is None or self._state != "running":
            return
        try:
            self._synchronize()
        except Exception as error:  # the job meets its own device error; here it only spoils the edge
            self._synchronize = None
            text = f"synchronize: {type(error).__name__}: {error}; phase edges are no longer synchronised"
            self._journal.fault(text)

    def _sample(self) -> None:
        readings = self._read(cheap_only=False)
        self._journal.emit("sample", {}, readings)
        if self._power is not None:
            self._write_power(self._trace.line(self._journal.now(), readings))
        self._check_utc()

    def _beat(self, late_second: float) -> None:
        if late_second > 0:
            text = f"no sample for {late_second:.1f} s: the process was stopped or the machine suspended"
            self.note("warning", text)
        self._attempt(self._journal.emit, "heartbeat", {})

    def _sync(self) -> None:
        self._journal.sync()

    def _write_power(self, line: str) -> None:
        assert self._power is not None
        self._power.write(line)
        if self._power.problem is not None:
            self._journal.fault(self._power.problem)

    def _check_utc(self) -> None:
        offset_second = self._utc_clock() - self._clock()
        step_second = offset_second - self._utc_offset_second
        if abs(step_second) > CLOCK_STEP_SECOND:
            self._utc_offset_second = offset_second
            self._journal.note("warning", f"the wall clock stepped by {step_second:+.1f} s; durations are not affected")

    def _read(self, *, cheap_only: bool) -> dict[str, Value]:
        """Return the readings of all channels, by number as text."""
        assert self._reader is not None
        values, faults = self._reader.read(cheap_only=cheap_only)
        readings: dict[str, Value] = {}
        for channel_id, value in values.items():
            number = self._numbers.get(channel_id)
            if number is None:
                continue
            rounded = _rounded(value)
            if rounded is None:
                faults.append(f"{channel_id}: reading is not a number: {value!r:.60}")
            else:
                readings[str(number)] = rounded
        for text in faults:
            self._journal.fault(text)
        return readings

    def _become_bystander(self) -> None:
        """In a forked child: the parent meters; this copy only lets the child's code run."""
        self._state = "bystander"
        self._lock = threading.RLock()
        self._reader = self._sampler = None
        self._journal.leave_to_parent()
        if self._power is not None:
            self._power.close()
        if self._claims is not None:
            self._claims.forget()
        self._power = self._claims = None


def _told(channel: Channel) -> dict[str, Any]:
    """Return a channel as the ledger tells it: what is not as usual."""
    return {
        field.name: value
        for field in dataclasses.fields(channel)
        if (value := getattr(channel, field.name)) != field.default
    }


def _rounded(value: Any) -> Value | None:
    if isinstance(value, int | float):
        return round(float(value), 6) if value == value and abs(value) != float("inf") else None
    if isinstance(value, tuple) and len(value) == 3:
        numbers = [_rounded(part) for part in value]
        return (numbers[0], numbers[1], numbers[2]) if None not in numbers else None  # type: ignore[return-value]
    return None


_LIVE: weakref.WeakSet[Meter] = weakref.WeakSet()


def _forget_in_child() -> None:
    for meter in list(_LIVE):
        meter._become_bystander()


os.register_at_fork(after_in_child=_forget_in_child)
