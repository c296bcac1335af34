"""Replay: a recorded or scripted trace in place of a device, for tests and for questions after the fact.

What it reads  a CSV (t_second, watt and/or joule) or JSONL file, or two lists; time comes from a clock that the
               caller moves, so that an hour replays in a millisecond
Imitates       the tick of a counter, its wrap and reset, the duty cycle of a power sensor, gaps
Source         none of its own: a channel carries the source of the device that it stands for
"""

from __future__ import annotations

import bisect
import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kilowit.errors import SensorError
from kilowit.parts.sensor import ENERGY, POWER, Channel, Component, Opening, Sweep, Value


def default() -> None:
    """Return nothing: a trace is never found by itself."""


class VirtualClock:
    """A clock that stands still until it is moved; call it to read it."""

    def __init__(self, second: float = 0.0) -> None:
        self.second = second

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.second

    def advance(self, second: float) -> None:
        """Move time forward by `second`."""
        self.second += second


@dataclass(frozen=True)
class Trace:
    """Power over time, straight between its knots. `joule` is its running integral, from 0 at the first knot."""

    t_second: Sequence[float]
    watt: Sequence[float]
    joule: Sequence[float]

    @classmethod
    def from_power(cls, t_second: Sequence[float], watt: Sequence[float]) -> Trace:
        """Build a trace from samples of power; a step is two knots at one moment."""
        joule = [0.0]
        for i in range(1, len(t_second)):
            joule.append(joule[-1] + (watt[i] + watt[i - 1]) / 2 * (t_second[i] - t_second[i - 1]))
        return cls(list(t_second), list(watt), joule)

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read a trace from CSV or JSONL with the columns ``t_second`` and ``watt`` and/or ``joule``.

        Raises:
            SensorError: no such file, a column is missing, or a cell is not a number.
        """
        try:
            rows = _read_rows(path)
            t_second = [float(row["t_second"]) for row in rows]
            if "watt" in rows[0]:
                return cls.from_power(t_second, [float(row["watt"]) for row in rows])
            return cls.from_counter(t_second, [float(row["joule"]) for row in rows])
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise SensorError(
                "none:no_trace",
                f"trace {path} cannot be read: {error!r}",
                hint="It needs the columns t_second and watt or joule, and at least one row.",
            ) from error

    @classmethod
    def from_counter(cls, t_second: Sequence[float], joule: Sequence[float]) -> Trace:
        """Build a trace from readings of a counter; the power between two is their slope."""
        knots: list[float] = []
        watts: list[float] = []
        for i in range(1, len(t_second)):
            slope = (joule[i] - joule[i - 1]) / (t_second[i] - t_second[i - 1])
            knots += [t_second[i - 1], t_second[i]]
            watts += [slope, slope]
        return cls.from_power(knots or list(t_second), watts or [0.0] * len(t_second))

    def joule_at(self, t_second: float) -> float:
        """Return the energy since the first knot; flat power before and after the trace."""
        if t_second <= self.t_second[0]:
            return self.watt[0] * (t_second - self.t_second[0])
        i = bisect.bisect_right(self.t_second, t_second) - 1
        beyond = t_second - self.t_second[i]
        return self.joule[i] + (self.watt[i] + self.watt_at(t_second)) / 2 * beyond

    def watt_at(self, t_second: float) -> float:
        """Return the power at a moment, straight between knots."""
        i = bisect.bisect_right(self.t_second, t_second) - 1
        if i < 0:
            return self.watt[0]
        if i + 1 >= len(self.t_second):
            return self.watt[-1]
        span = self.t_second[i + 1] - self.t_second[i]
        return self.watt[i] + (self.watt[i + 1] - self.watt[i]) * (t_second - self.t_second[i]) / span


@dataclass(frozen=True)
class Flaws:
    """How the imitated device falls short of the trace.

    Args:
        tick_second: the counter shows the energy as of the last multiple of this.
        wrap_joule: the counter starts again at 0 here.
        start_joule: what the counter shows at time 0.
        resets_second: moments at which the counter is set to 0.
        gaps_second: (from, to) spans in which every reading fails.
        window_second: the power sensor shows the mean over this long before the tick; 0 = at the moment.
    """

    tick_second: float = 0.0
    wrap_joule: float | None = None
    start_joule: float = 0.0
    resets_second: tuple[float, ...] = ()
    gaps_second: tuple[tuple[float, float], ...] = ()
    window_second: float = 0.0


class ReplaySensor:
    """A device that follows a trace on a given clock.

    Args:
        trace: the true power over time.
        clock: gives the moment of the trace.
        component: whose joules these are.
        has_counter: offer an energy counter.
        has_power: offer a power reading.
    """

    name = "replay"
    may_hang = True

    def __init__(
        self,
        trace: Trace,
        clock: Callable[[], float],
        *,
        component: Component = "gpu",
        device: str = "replay-0",
        has_counter: bool = True,
        has_power: bool = True,
        flaws: Flaws | None = None,
        error_fraction: float = 0.05,
        source: str | None = None,
    ) -> None:
        self.components: tuple[Component, ...] = (component,)
        self._trace, self._clock, self._flaws = trace, clock, flaws or Flaws()
        self._channels: list[Channel] = []
        prefix, tick_second = f"replay:{component}:{device}", self._flaws.tick_second
        if has_counter:
            name = source or "nvml_counter"
            self._channels.append(
                Channel(f"{prefix}:energy", "counter", ENERGY, device, component, name, True, tick_second,
                        error_fraction, self._flaws.wrap_joule, 5 * max(trace.watt) + 1.0)
            )  # fmt: skip
        if has_power:
            name = source or "nvml_sampled"
            self._channels.append(
                Channel(f"{prefix}:power", "power", POWER, device, component, name, True, tick_second, error_fraction)
            )

    def open(self) -> Opening:
        """Offer the channels asked for."""
        return Opening(self._channels)

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read the imitated device at the moment of its clock."""
        now_second = self._clock()
        if any(start <= now_second < end for start, end in self._flaws.gaps_second):
            return Sweep({}, {channel.id: "gap in the trace" for channel in self._channels})
        values: dict[str, Value] = {
            channel.id: self._counter_joule(now_second) if channel.kind == "counter" else self._power_watt(now_second)
            for channel in self._channels
        }
        return Sweep(values, {})

    def close(self) -> None:
        """Do nothing: a trace needs no closing."""

    def describe(self) -> dict[str, Any]:
        """Say how long the trace is."""
        return {"sensor": self.name, "reads": f"trace of {self._trace.t_second[-1] - self._trace.t_second[0]:.1f} s"}

    def _shown_second(self, now_second: float) -> float:
        tick_second = self._flaws.tick_second
        # 10 // 0.1 is 99: the nudge keeps a moment that is a tick on its own tick
        return math.floor(now_second / tick_second + 1e-9) * tick_second if tick_second else now_second

    def _counter_joule(self, now_second: float) -> float:
        shown_second = self._shown_second(now_second)
        past_resets = [t for t in self._flaws.resets_second if t <= shown_second]
        if past_resets:
            joule = self._trace.joule_at(shown_second) - self._trace.joule_at(past_resets[-1])
        else:
            joule = self._flaws.start_joule + self._trace.joule_at(shown_second)
        return joule % self._flaws.wrap_joule if self._flaws.wrap_joule else joule

    def _power_watt(self, now_second: float) -> float:
        shown_second, window_second = self._shown_second(now_second), self._flaws.window_second
        if not window_second:
            return self._trace.watt_at(shown_second)
        from_second = shown_second - window_second
        return (self._trace.joule_at(shown_second) - self._trace.joule_at(from_second)) / window_second


def _read_rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return list(csv.DictReader(text.splitlines()))
