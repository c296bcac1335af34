"""Power traces whose integral is known, the flaws of the devices that show them, and windows to be measured.

Every tool is scored on the same: energy of a window against the known joules. The allowance is 0.5 % of the truth
plus what one tick of the counter can hide.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

from kilowit.parts.sensors.replay import Flaws, Trace

TRACE_SECOND = 64.0
TICK_SECOND = 0.1  # of the NVML energy counter
NVML_WINDOW_SECOND = 1.0  # NVML on Ampere and newer gives the mean power of the last second
ERROR_BAR_FRACTION = 0.005

# Starts and ends at odd moments, so that ticks, samples and edges never coincide. None shorter than 1 s.
WINDOWS_SECOND = (
    (2.03, 3.06), (4.511, 6.017), (7.29, 9.83), (10.377, 14.211), (15.05, 20.113), (21.449, 22.561),
    (23.717, 31.733), (33.101, 36.949), (38.37, 44.05), (45.673, 60.211),
)  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One device on one trace."""

    name: str
    trace: Trace
    flaws: Flaws
    has_counter: bool = True

    def truth_joule(self, start_second: float, end_second: float) -> float:
        """Return the energy of a window, by the integral of the trace."""
        return self.trace.joule_at(end_second) - self.trace.joule_at(start_second)

    def allowance_joule(self, start_second: float, end_second: float) -> float:
        """Return the error that the bar allows: 0.5 % plus one tick at the greatest power of the window."""
        first = bisect.bisect_left(self.trace.t_second, start_second)
        last = bisect.bisect_right(self.trace.t_second, end_second)
        edges = [self.trace.watt_at(start_second), self.trace.watt_at(end_second)]
        peak_watt = max([*self.trace.watt[first:last], *edges])
        return ERROR_BAR_FRACTION * self.truth_joule(start_second, end_second) + self.flaws.tick_second * peak_watt


def steps(changes: list[tuple[float, float]]) -> Trace:
    """Return a trace that holds each power until the next change, given as (t_second, watt)."""
    t_second: list[float] = []
    watt: list[float] = []
    for i, (moment, level) in enumerate(changes):
        until = changes[i + 1][0] if i + 1 < len(changes) else TRACE_SECOND
        t_second += [moment, until]
        watt += [level, level]
    return Trace.from_power(t_second, watt)


def square(period_second: float, low_watt: float = 70.0, high_watt: float = 310.0, shift_second: float = 0.0) -> Trace:
    """Return a square wave."""
    num_halves = math.ceil(2 * TRACE_SECOND / period_second)
    edges = [max(0.0, i * period_second / 2 - shift_second) for i in range(num_halves + 1)]
    levels = [(edge, high_watt if i % 2 else low_watt) for i, edge in enumerate(edges)]
    return steps([level for i, level in enumerate(levels) if i == 0 or level[0] > levels[i - 1][0]])


def ramp() -> Trace:
    """Return power that climbs from idle to full."""
    return Trace.from_power([0.0, TRACE_SECOND], [55.0, 400.0])


def wave() -> Trace:
    """Return a slow swing, as of a load that follows its data; straight between knots 20 ms apart."""
    t_second = [i * 0.02 for i in range(int(TRACE_SECOND / 0.02) + 1)]
    return Trace.from_power(t_second, [220 + 90 * math.sin(2 * math.pi * t / 17) for t in t_second])


def bursts(period_second: float = 0.7, length_second: float = 0.03) -> Trace:
    """Return full power for a moment, again and again."""
    changes: list[tuple[float, float]] = []
    for i in range(int(TRACE_SECOND / period_second)):
        start_second = (i + 0.44) * period_second
        changes += [(i * period_second, 60.0), (start_second, 700.0), (start_second + length_second, 60.0)]
    return steps(changes)


def scenarios() -> list[Scenario]:
    """Return what the bar names: square, ramp, burst, 100 ms tick, wrap, reset, gaps."""
    ticking = Flaws(tick_second=TICK_SECOND, start_joule=123_456.7, window_second=NVML_WINDOW_SECOND)
    return [
        Scenario("square", square(2.6), Flaws(start_joule=5e5)),
        Scenario("ramp", ramp(), Flaws(start_joule=1e4)),
        Scenario("burst", bursts(), Flaws(start_joule=7.0)),
        Scenario("tick 100 ms, square", square(2.6), ticking),
        Scenario("tick 100 ms, burst", bursts(), ticking),
        Scenario("wrap", wave(), Flaws(TICK_SECOND, wrap_joule=3000.0, start_joule=2900.0)),
        Scenario("reset", wave(), Flaws(TICK_SECOND, start_joule=9e4, resets_second=(12.5, 28.5, 50.5))),
        Scenario("gaps", square(2.6), Flaws(TICK_SECOND, start_joule=9e4, gaps_second=((11.1, 13.4), (25.6, 30.3)))),
    ]


def duty_scenario(number: int) -> Scenario:
    """Return one of many devices without a counter, whose power sensor sees 25 of every 100 ms (arXiv 2312.02741).

    Half are square waves of periods between 50 ms and 3 s, the others are bursts and slow waves.
    """
    fraction = (number * 0.6180339887498949) % 1.0
    period_second = 0.05 * 60 ** ((number * 0.7548776662466927) % 1.0)
    if number % 2:
        trace = square(period_second, 70 + 60 * fraction, 250 + 300 * fraction, shift_second=fraction * period_second)
    elif number % 4:
        trace = bursts(0.6 + 2 * fraction, 0.1 + 0.3 * fraction)
    else:
        trace = wave()
    flaws = Flaws(tick_second=TICK_SECOND, window_second=0.025)
    return Scenario(f"duty {number}", trace, flaws, has_counter=False)
