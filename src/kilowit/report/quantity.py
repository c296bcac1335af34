"""How a figure is shown: its unit, scaled to the column, at two or three significant digits.

Stored figures are SI and are never converted in place; a display unit belongs to one column of one table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from kilowit.factors import JOULE_PER_KWH, KG_PER_LB

Kind = Literal[
    "text", "count", "plain", "score", "energy", "energy_wh", "power", "time", "mass", "mass_lb", "money", "byte",
    "fraction", "ratio", "flop", "rate", "loss", "p",
]  # fmt: skip
UNKNOWN: Final = "–"
LEAST_P: Final = 0.001  # smaller p-values are shown as smaller than this


@dataclass(frozen=True)
class Unit:
    """A display unit: what the header says, and how many stored units it holds."""

    name: str
    size: float


_LADDERS: Final[dict[str, tuple[Unit, ...]]] = {
    "energy": (Unit("mJ", 1e-3), Unit("J", 1), Unit("kJ", 1e3), Unit("MJ", 1e6), Unit("GJ", 1e9)),
    "energy_wh": tuple(
        Unit(name, size * JOULE_PER_KWH / 1000)
        for name, size in (("µWh", 1e-6), ("mWh", 1e-3), ("Wh", 1.0), ("kWh", 1e3), ("MWh", 1e6))
    ),
    "power": (Unit("W", 1), Unit("kW", 1e3)),
    "time": (Unit("ms", 1e-3), Unit("s", 1), Unit("min", 60), Unit("h", 3600)),
    "mass": (Unit("µg", 1e-9), Unit("mg", 1e-6), Unit("g", 1e-3), Unit("kg", 1), Unit("t", 1e3)),
    "mass_lb": tuple(Unit(n, s * KG_PER_LB) for n, s in (("10⁻⁶ lb", 1e-6), ("10⁻³ lb", 1e-3), ("lb", 1.0))),
    "money": (Unit("10⁻⁶ $", 1e-6), Unit("10⁻³ $", 1e-3), Unit("$", 1)),
    "byte": (Unit("B", 1), Unit("KiB", 2**10), Unit("MiB", 2**20), Unit("GiB", 2**30), Unit("TiB", 2**40)),
    "flop": tuple(
        Unit(f"{p}FLOP", 1000.0**i) for i, p in enumerate(("", "k", "M", "G", "T", "P", "E", "Z"))
    ),
    "count": (Unit("", 1),),
    "plain": (Unit("", 1),),
    "loss": (Unit("nats/token", 1),),
    "rate": (Unit("1/s", 1),),
    "ratio": (Unit("×", 1),),
    "score": (Unit("×100", 0.01),),
    "fraction": (Unit("%", 0.01),),
    "text": (Unit("", 1),),
    "p": (Unit("", 1),),
}  # fmt: skip


# In a CSV file a column has the unit that its key ends with, whatever the page shows.
CSV_SIZES: Final[dict[str, float]] = {"energy_wh": JOULE_PER_KWH, "mass_lb": KG_PER_LB}


def unit_for(kind: Kind, values: Iterable[float]) -> Unit:
    """Return the largest unit in which the largest value is 1 or more, and the typical one not tiny.

    >>> unit_for("energy_wh", [3.6e6]).name
    'kWh'
    """
    ladder = _LADDERS[kind]
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    if len(ladder) == 1:
        return ladder[0]
    if not sizes:
        return next(unit for unit in ladder if unit.size == 1 or unit is ladder[-1])
    typical = math.exp(sum(math.log(s) for s in sizes) / len(sizes))
    least = 3 if len(sizes) > 1 and kind in ("time", "energy") else 1  # 110 min reads better than 1.83 h
    limit = min(max(sizes), 100 * typical) / least * 1.000001
    fitting = [unit for unit in ladder if unit.size <= limit]
    return fitting[-1] if fitting else ladder[0]


def number(value: float, digits: int = 3) -> str:
    """Write a number with that many significant digits, never in E notation, thousands parted by commas.

    >>> number(12345.6), number(0.012345), number(0)
    ('12,300', '0.0123', '0')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else UNKNOWN
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - exponent)
    exponent = math.floor(math.log10(abs(rounded)))  # 9.999 became 10.0
    decimals = max(0, digits - 1 - exponent)
    return f"{rounded:,.{min(decimals, 9)}f}".replace("-", "−") if exponent > -7 else f"{value:.1e}".replace("-", "−")


def whole(value: float) -> str:
    """Write a count in full, thousands parted by commas."""
    return f"{round(value):,}".replace("-", "−")


def show(value: float, kind: Kind, unit: Unit, digits: int = 3) -> str:
    """Write one stored value in a display unit (which the header names)."""
    if kind == "count":
        return whole(value)
    if kind == "p" and value < LEAST_P:
        return f"<{LEAST_P:g}"
    if kind == "score":
        return f"{value / unit.size:.2f}".replace("-", "−")
    if kind in ("fraction", "ratio", "loss"):
        return number(value / unit.size, min(digits, 3))
    return number(value / unit.size, digits)


def measure(value: float, kind: Kind, digits: int = 3) -> str:
    """Write one stored value with its own best unit, for a sentence.

    >>> measure(1234.5, "energy")
    '1.23 kJ'
    """
    unit = unit_for(kind, [value])
    text = show(value, kind, unit, digits)
    if kind == "ratio":
        return f"{text}×"
    if kind == "money":
        return f"{_money(value, digits)}"
    return f"{text} {unit.name}".strip()


def _money(value: float, digits: int) -> str:
    return f"${value:,.2f}" if value >= 1 else f"${number(value, digits)}"
