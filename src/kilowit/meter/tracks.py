"""From readings of one channel to joules on the timeline.

A track remembers which stretches passed since its last reading, and books the next reading on them. With a reading
at every edge that is one stretch; after a hang or a gap it is several, and they share by power, else by time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from kilowit.meter.tally import Tally
from kilowit.parts.sensor import Bounds, Channel, Value

STUCK_TICKS: Final = 3  # a counter that stands still for longer is waiting, not idle
MIN_STUCK_SECOND: Final = 0.25
BRIDGE_PERIODS: Final = 2.5  # how far past its last reading a channel is continued at its last rate
RATE_SECOND: Final = 0.5  # a rate is taken over at least this long: within one tick a counter moves 0 or too much
RATE_WINDOW_SECOND: Final = 1.0  # a burst may pass this many seconds at the greatest rate before it is called a lie

Warn = Callable[[str, str], None]  # (kind, message)


class Waiting:
    """A stretch that passed since the last reading."""

    __slots__ = ("joule", "second", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally, self.second, self.joule = tally, 0.0, 0.0  # joule: what the power channel saw meanwhile


class Track(ABC):
    """What all channels share: the stretches that wait for the next reading."""

    def __init__(self, number: int, channel: Channel, warn: Warn) -> None:
        self.number, self.channel, self.warn = number, channel, warn
        self.waiting: list[Waiting] = []

    def wait(self, tally: Tally, second: float) -> None:
        """Let time pass on a stretch."""
        if not self.waiting or self.waiting[-1].tally is not tally:
            self.waiting.append(Waiting(tally))
        self.waiting[-1].second += second

    def waited_second(self) -> float:
        """Return the time since the last reading."""
        return sum(part.second for part in self.waiting)

    def interrupt(self) -> None:
        """Forget what waited: nothing is known about it."""
        self.waiting.clear()

    @abstractmethod
    def read(self, value: Value) -> None:
        """Book a reading on what waited."""

    def finish(self, period_second: float) -> None:
        """Book what still waits at the end, as far as that can be known."""
        self.interrupt()


class EnergyCounterTrack(Track):
    """A counter of joules, or a model that counts (likely, low, high)."""

    def __init__(self, number: int, channel: Channel, warn: Warn) -> None:
        super().__init__(number, channel, warn)
        self.last: Bounds | None = None
        self.rate: Bounds | None = None  # watts over the last `RATE_SECOND` or more that were read
        self._recent_joule: Bounds = (0.0, 0.0, 0.0)
        self._recent_second = 0.0

    def read(self, value: Value) -> None:
        """Book the difference to the last reading; a wrap, a reset, a leap and a standstill are recognised."""
        bounds = value if isinstance(value, tuple | list) else (value, value, value)
        likely, low, high = bounds
        before, elapsed_second = self.last, self.waited_second()
        if before is None:
            self.last = (likely, low, high)
            self.interrupt()
            return
        delta = likely - before[0]
        if delta == 0 and elapsed_second > max(STUCK_TICKS * self.channel.tick_second, MIN_STUCK_SECOND):
            return  # keep waiting: the next movement is shared over the whole standstill
        self.last = (likely, low, high)
        if self._is_plausible(delta, elapsed_second):
            self._book((delta, low - before[1], high - before[2]), elapsed_second)
        elif delta < 0 and self.channel.wrap and self._is_plausible(delta + self.channel.wrap, elapsed_second):
            wrapped = delta + self.channel.wrap
            self.warn("wrap", f"{self.channel.device}: counter wrapped, as it does after {self.channel.wrap:.0f} J")
            self._book((wrapped, wrapped, wrapped), elapsed_second)
        else:
            what = "was reset" if delta < 0 else f"leapt by {delta:.0f} J"
            self._bridge(elapsed_second, what)

    def finish(self, period_second: float) -> None:
        """Continue at the last rate for a moment; beyond that, only integrated power is known."""
        elapsed_second = self.waited_second()
        if not elapsed_second or self.last is None:
            self.interrupt()
        elif elapsed_second > BRIDGE_PERIODS * period_second:
            self._bridge(elapsed_second, f"stood still for {elapsed_second:.1f} s")
        elif seen_joule := sum(part.joule for part in self.waiting):
            self._book((seen_joule,) * 3, elapsed_second, is_filled=True)
        elif self.rate is not None:
            self._book(self._at_last_rate(elapsed_second), elapsed_second, is_filled=True)
        else:
            self.interrupt()

    def _is_plausible(self, delta: float, elapsed_second: float) -> bool:
        rate_max = self.channel.rate_max
        return delta >= 0 and (rate_max is None or delta <= rate_max * (elapsed_second + RATE_WINDOW_SECOND))

    def _bridge(self, elapsed_second: float, what: str) -> None:
        """Book integrated power in place of a counter that cannot be believed."""
        seen_joule = sum(part.joule for part in self.waiting)
        if seen_joule > 0:
            self.warn("counter", f"{self.channel.device}: energy counter {what}; integrated power is booked instead")
            self._book((seen_joule,) * 3, elapsed_second, is_filled=True)
        elif self.rate is not None and elapsed_second <= BRIDGE_PERIODS:
            self.warn("counter", f"{self.channel.device}: energy counter {what}; its last rate is booked instead")
            self._book(self._at_last_rate(elapsed_second), elapsed_second, is_filled=True)
        else:
            self.warn("counter", f"{self.channel.device}: energy counter {what}; {elapsed_second:.1f} s are unknown")
            self.interrupt()

    def _book(self, joule: Bounds, elapsed_second: float, *, is_filled: bool = False) -> None:
        if not is_filled:
            self._learn_rate(joule, elapsed_second)
        seen_joule = sum(part.joule for part in self.waiting)
        for part in self.waiting:
            if seen_joule > 0:
                share = part.joule / seen_joule
            else:
                share = part.second / elapsed_second if elapsed_second else 1 / len(self.waiting)
            energy = part.tally.live().energy_of(self.number)
            energy.joule += joule[0] * share
            energy.joule_low += joule[1] * share
            energy.joule_high += joule[2] * share
            energy.filled_joule += joule[0] * share if is_filled else 0.0
            energy.covered_second += part.second
            energy.num_intervals += 1
        self.interrupt()

    def _learn_rate(self, joule: Bounds, second: float) -> None:
        recent = self._recent_joule
        self._recent_joule = (recent[0] + joule[0], recent[1] + joule[1], recent[2] + joule[2])
        self._recent_second += second
        if self._recent_second >= RATE_SECOND:
            likely, low, high = self._recent_joule
            self.rate = (likely / self._recent_second, low / self._recent_second, high / self._recent_second)
            self._recent_joule, self._recent_second = (0.0, 0.0, 0.0), 0.0

    def _at_last_rate(self, second: float) -> Bounds:
        assert self.rate is not None
        return self.rate[0] * second, self.rate[1] * second, self.rate[2] * second


class PowerTrack(Track):
    """Watts at moments, integrated by trapezoids; tells the counter of the same device what it saw."""

    def __init__(self, number: int, channel: Channel, warn: Warn) -> None:
        super().__init__(number, channel, warn)
        self.last: float | None = None
        self.counter: EnergyCounterTrack | None = None

    def read(self, value: Value) -> None:
        """Book the trapezoid between the last reading and this one."""
        watt = float(value[0]) if isinstance(value, tuple | list) else float(value)
        if self.last is not None:
            self._book(self.last, watt, is_filled=False)
        self.last = watt
        self.interrupt()

    def finish(self, period_second: float) -> None:
        """Continue at the last reading for a moment."""
        if self.last is not None and self.waited_second() <= BRIDGE_PERIODS * period_second:
            self._book(self.last, self.last, is_filled=True)
        self.interrupt()

    def _book(self, from_watt: float, to_watt: float, *, is_filled: bool) -> None:
        mean_watt = (from_watt + to_watt) / 2
        for part in self.waiting:
            energy = part.tally.live().energy_of(self.number)
            joule = mean_watt * part.second
            energy.joule += joule
            energy.joule_low += joule
            energy.joule_high += joule
            energy.filled_joule += joule if is_filled else 0.0
            energy.covered_second += part.second
            energy.num_intervals += 1
            energy.square_watt2_second += (from_watt**2 + to_watt**2) / 2 * part.second
            if self.counter is not None:
                self._tell_counter(part, joule)

    def _tell_counter(self, part: Waiting, joule: float) -> None:
        assert self.counter is not None
        for waiting in reversed(self.counter.waiting):
            if waiting.tally is part.tally:
                waiting.joule += joule
                return


class AmountTrack(Track):
    """A counter of bytes or busy seconds. Going back is a restart at 0."""

    def __init__(self, number: int, channel: Channel, warn: Warn) -> None:
        super().__init__(number, channel, warn)
        self.last: float | None = None

    def read(self, value: Value) -> None:
        """Share what the counter moved over what waited, by time."""
        level = float(value[0]) if isinstance(value, tuple | list) else float(value)
        elapsed_second = self.waited_second()
        if self.last is not None:
            moved = max(0.0, level - self.last)
            for part in self.waiting:
                share = part.second / elapsed_second if elapsed_second else 1 / len(self.waiting)
                part.tally.live().add_amount(self.channel.quantity, moved * share)
                part.tally.live().add_mean(self.number, moved / elapsed_second if elapsed_second else 0.0, part.second)
        self.last = level
        self.interrupt()


class GaugeTrack(Track):
    """A level; its mean is taken between readings, its peak by the reduction, over all devices at once."""

    def __init__(self, number: int, channel: Channel, warn: Warn) -> None:
        super().__init__(number, channel, warn)
        self.last: float | None = None

    def read(self, value: Value) -> None:
        """Let the level have been the mean of the last reading and this one."""
        level = float(value[0]) if isinstance(value, tuple | list) else float(value)
        before = level if self.last is None else self.last
        for part in self.waiting:
            part.tally.live().add_mean(self.number, (before + level) / 2, part.second)
        self.last = level
        self.interrupt()


def track_of(number: int, channel: Channel, warn: Warn) -> Any:
    """Return the track that suits a channel."""
    if channel.source and channel.kind == "counter":
        return EnergyCounterTrack(number, channel, warn)
    if channel.source and channel.kind == "power":
        return PowerTrack(number, channel, warn)
    return (AmountTrack if channel.kind == "counter" else GaugeTrack)(number, channel, warn)
