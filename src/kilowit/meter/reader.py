"""Reading sensors against a deadline: a sensor that hangs or raises costs a line in the ledger, never the job.

Sensors that may hang are called in one daemon thread, which the caller waits for. If a call outlasts the deadline, its
thread is left behind with its sensor, and a new thread goes on with the others; a sensor that comes back is read again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final

from kilowit.errors import SensorError
from kilowit.parts.sensor import Opening, Sensor, Sweep, Value

OPEN_DEADLINE_SECOND: Final = 5.0  # a driver that wakes its GPU can take seconds
READ_DEADLINE_SECOND: Final = 0.5
STARVED_TRIES: Final = 4  # deadlines to wait when the thread is not even scheduled


class _Round:
    """One call to each of several sensors, made by a reader thread."""

    def __init__(self, sensors: Sequence[Sensor], call: Callable[[Sensor], Any]) -> None:
        self.sensors, self.call = list(sensors), call
        self.outcomes: dict[int, Any] = {}  # position -> what the call returned, or the exception
        self.position = -1  # which sensor is being called; -1 = not begun
        self.began_second = 0.0  # when that call began
        self.is_abandoned = False
        self.done = threading.Event()

    def run(self) -> None:
        """Call one sensor after another."""
        for position, sensor in enumerate(self.sensors):
            self.began_second = time.monotonic()
            self.position = position
            self.outcomes[position] = _outcome(sensor, self.call)
            if self.is_abandoned:
                return
        self.done.set()


class SensorReader:
    """Opens, reads and closes sensors; never raises for them.

    Args:
        sensors: unopened.
        read_deadline_second: how long a phase edge may wait for one sensor.
        open_deadline_second: how long the start may wait for one sensor.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        *,
        read_deadline_second: float = READ_DEADLINE_SECOND,
        open_deadline_second: float = OPEN_DEADLINE_SECOND,
    ) -> None:
        self._sensors = list(sensors)
        self._read_deadline_second = read_deadline_second
        self._open_deadline_second = open_deadline_second
        self._hung: list[tuple[Sensor, _Round]] = []
        self._inbox: SimpleQueue[_Round | None] | None = None
        self._untold: list[str] = []

    def open(self) -> list[tuple[Sensor, Opening | Exception]]:
        """Open all sensors; those that fail or hang are dropped, with the reason."""
        opened = self._call_all(self._sensors, lambda sensor: sensor.open(), self._open_deadline_second)
        self._sensors = [sensor for sensor, outcome in opened if isinstance(outcome, Opening)]
        self._hung.clear()
        return opened

    def drop(self, sensor: Sensor) -> None:
        """Read this sensor no more."""
        self._sensors = [other for other in self._sensors if other is not sensor]
        self._call_all([sensor], lambda s: s.close(), self._read_deadline_second)
        self._hung = [entry for entry in self._hung if entry[0] is not sensor]

    def read(self, *, cheap_only: bool) -> tuple[dict[str, Value], list[str]]:
        """Return the values by channel id, and what went wrong."""
        values: dict[str, Value] = {}
        faults = self._untold + self._readmit()
        self._untold = []

        def sweep(sensor: Sensor) -> Sweep:
            return sensor.read(cheap_only=cheap_only)

        slow = [sensor for sensor in self._sensors if sensor.may_hang]
        outcomes = self._call_all(slow, sweep, self._read_deadline_second) if slow else []
        outcomes += [(sensor, _outcome(sensor, sweep)) for sensor in self._sensors if not sensor.may_hang]
        for sensor, outcome in outcomes:
            if isinstance(outcome, Sweep):
                values.update(outcome.values)
                faults += [f"sensor {sensor.name}: {name}: {reason}" for name, reason in outcome.faults.items()]
            else:
                faults.append(f"sensor {sensor.name}: {_reason(outcome)}")
        return values, faults

    def close(self) -> list[str]:
        """Close all sensors and let the thread go; return what went wrong."""
        outcomes = self._call_all(self._sensors, lambda sensor: sensor.close(), self._read_deadline_second)
        if self._inbox is not None:
            self._inbox.put(None)
            self._inbox = None
        return [f"sensor {sensor.name}: {_reason(outcome)}" for sensor, outcome in outcomes if outcome is not None]

    def describe(self) -> list[dict[str, Any]]:
        """Return what each sensor says of itself."""
        outcomes = self._call_all(self._sensors, lambda sensor: sensor.describe(), self._read_deadline_second)
        return [outcome for _, outcome in outcomes if isinstance(outcome, dict)]

    def _call_all(
        self, sensors: Sequence[Sensor], call: Callable[[Sensor], Any], deadline_second: float
    ) -> list[tuple[Sensor, Any]]:
        results: list[tuple[Sensor, Any]] = []
        left = list(sensors)
        while left:
            task = _Round(left, call)
            self._submit(task)
            if self._wait(task, deadline_second):
                return results + [(sensor, task.outcomes[i]) for i, sensor in enumerate(left)]
            position = max(task.position, 0)
            results += [(left[i], task.outcomes[i]) for i in range(position)]
            results.append((left[position], TimeoutError(f"no answer within {deadline_second:g} s; left out for now")))
            self._abandon(left[position], task)
            left = left[position + 1 :]
        return results

    def _wait(self, task: _Round, deadline_second: float) -> bool:
        """Wait for a round; each sensor in it has the whole deadline. False if one outlasted it."""
        num_starved = 0
        left_second = deadline_second
        while not task.done.wait(left_second):
            if task.position < 0:
                num_starved += 1
                if num_starved >= STARVED_TRIES:
                    return False
                continue
            left_second = deadline_second - (time.monotonic() - task.began_second)
            if left_second <= 0:
                return task.done.is_set()
        return True

    def _submit(self, task: _Round) -> None:
        if self._inbox is None:
            inbox: SimpleQueue[_Round | None] = SimpleQueue()
            thread = threading.Thread(target=_serve, args=(inbox,), name="kilowit-reader", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had: read here, without a deadline
                self._untold.append(f"meter: {error}; sensors are read without a deadline")
                task.run()
                return
            self._inbox = inbox
        self._inbox.put(task)

    def _abandon(self, sensor: Sensor, task: _Round) -> None:
        """Leave the thread behind with the sensor that holds it."""
        task.is_abandoned = True
        if self._inbox is not None:
            self._inbox.put(None)
            self._inbox = None
        self._sensors = [other for other in self._sensors if other is not sensor]
        self._hung.append((sensor, task))

    def _readmit(self) -> list[str]:
        """Take back the sensors whose thread has returned."""
        back = [(sensor, task) for sensor, task in self._hung if task.position in task.outcomes]
        if not back:
            return []
        self._hung = [entry for entry in self._hung if entry not in back]
        self._sensors += [sensor for sensor, _ in back]
        return [f"sensor {sensor.name}: answers again" for sensor, _ in back]


def _outcome(sensor: Sensor, call: Callable[[Sensor], Any]) -> Any:
    """Return what a call returns or raises: whatever a sensor raises is its outcome, told by the caller."""
    try:
        return call(sensor)
    except Exception as error:
        return error


def _serve(inbox: SimpleQueue[_Round | None]) -> None:
    while (task := inbox.get()) is not None:
        task.run()
        if task.is_abandoned:
            return


def _reason(outcome: Any) -> str:
    if isinstance(outcome, SensorError):
        return f"{outcome.source}: {outcome.message}"
    if isinstance(outcome, TimeoutError):
        return str(outcome)
    return f"{type(outcome).__name__}: {outcome}" if isinstance(outcome, Exception) else f"returned {outcome!r:.60}"
