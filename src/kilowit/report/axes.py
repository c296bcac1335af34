"""Axes of hand-written figures: round ticks, linear or logarithmic, and the mapping to the canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LOG_RANGE: Final = 10.0  # above it a linear axis squeezes the cheap half of the choices into a corner


@dataclass(frozen=True)
class Axis:
    """A range of values mapped to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    tick_size: float = 1.0  # ticks are round multiples of this

    def at(self, value: float) -> float:
        """The pixel of a value; values outside the range fall on its ends."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values within the range."""
        low, high = self.low / self.tick_size, self.high / self.tick_size
        found = _log_ticks(low, high) if self.is_log else linear_ticks(low, high, 6)
        return [value * self.tick_size for value in found]


def axis_of(values: Sequence[float], start: float, end: float, *, may_be_log: bool, tick_size: float) -> Axis:
    """Return an axis with a margin around the values; logarithmic when allowed, positive and wide."""
    low, high = min(values), max(values)
    if may_be_log and low > 0 and high / low > LOG_RANGE:
        margin = (high / low) ** 0.06
        return Axis(low / margin, high * margin, start, end, True, tick_size)
    if may_be_log:
        return Axis(0.0, high * 1.12 or 1.0, start, end, False, tick_size)
    span = (high - low) or abs(high) * 0.2 or 1.0
    bottom = low - 0.1 * span
    return Axis(max(bottom, 0.0) if low >= 0 else bottom, high + 0.12 * span, start, end, False, tick_size)


def linear_ticks(low: float, high: float, num: int) -> list[float]:
    """Return about `num` multiples of 1, 2 or 5 x 10^n within a range."""
    raw = (high - low) / max(num - 1, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    multiples = (1, 2, 5) if decades <= 2.2 else (1, 3) if decades <= 3.5 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, math.ceil(decades / 6)) if len(multiples) == 1 else 1
    return [m * 10.0**e for e in exponents if e % every == 0 for m in multiples if low <= m * 10.0**e <= high]
