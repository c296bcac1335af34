"""One published figure, its numbers in SI, and which run it is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_RUN_ID: Final = re.compile(r"^[0-9a-f]{8}\b")
_CLOCK: Final = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}")
# To SI, by the unit as written; x100 is how the summarization examples print ROUGE.
_FACTORS: Final = {
    "kJ": ("joule", 1e3), "J": ("joule", 1.0), "kWh": ("joule", 3.6e6), "s": ("second", 1.0), "MB": ("byte", 1e6),
    "GB": ("byte", 1e9), "%": ("fraction", 0.01), "kgCO2eq": ("co2e_kg", 1.0), "FLOP": ("flop", 1.0),
    "USD": ("usd", 1.0), "USD/h": ("usd_per_hour", 1.0), "1/s": ("per_second", 1.0), "x100": ("times_100", 1.0),
    "tokens": ("tokens", 1.0), "x": ("ratio", 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One line of the table."""

    document: str
    figure: str
    value: str
    unit: str
    where: str
    run_text: str
    note: str

    @cached_property
    def run(self) -> str:
        """What the run is called, or "" where the line names none or several."""
        return run_key(self.run_text)

    @cached_property
    def numbers(self) -> list[float]:
        """The numbers of the value as written; of ``8m 28s (508)`` the one in brackets."""
        bracket = re.fullmatch(r".*\(([^()]*)\)", self.value)
        return [float(text) for text in _NUMBER.findall(bracket[1] if bracket else self.value)]

    @property
    def si(self) -> float:
        """The last of its numbers in SI."""
        return self.numbers[-1] * _FACTORS.get(self.unit, ("", 1.0))[1]

    @property
    def is_minute(self) -> bool:
        """Whether it is one minute of a series."""
        return self.quantity == "energy_gpu_joule" and _CLOCK.search(self.figure) is not None

    @cached_property
    def quantity(self) -> str:
        """What is measured, where two lines may be of the same thing; else the figure's own name."""
        text = self.figure.lower()
        if self.unit in ("J", "kJ") and "gpu" in text:
            return "energy_gpu_joule"
        return self.figure

    @property
    def names_its_run(self) -> bool:
        """Whether the figure's own name says of which run it is, so that nobody can take it for another's."""
        return bool(self.run) and self.run in self.figure

    def stated(self) -> dict[str, float]:
        """Return its numbers in SI by name, with the unit at the end."""
        ending, factor = _FACTORS.get(self.unit, (self.unit, 1.0))
        name = f"{self.document}.{self.figure}" if self.document else self.figure
        name = re.sub(r"[^A-Za-z0-9.:]+", "_", name).strip("_") + (f"_{ending}" if ending else "")
        if len(self.numbers) == 1:
            return {name: self.numbers[0] * factor}
        return {f"{name}_{i}": value * factor for i, value in enumerate(self.numbers, start=1)}


def claims_of(rows: Iterable[Mapping[str, str]], place: str) -> list[Claim]:
    """Return the lines of a table as claims."""
    names = ("id", "figure", "value", "unit", "where", "run", "flaw_or_check")
    return [Claim(*((row.get(name) or "").strip() for name in names)) for row in rows]


def run_key(text: str) -> str:
    """Return what tells one run from another: its eight digits where it has them, else the whole text.

    >>> run_key("b8ad2ad7 (2021-07-07, DDP, 8 V100)")
    'b8ad2ad7'
    """
    match = _RUN_ID.match(text)
    return match[0] if match else "" if text == "all" else text
