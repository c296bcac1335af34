"""What a factor is, and how the tables behind it are read: one dated coefficient with its interval and its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

KG_PER_LB: Final = 0.45359237  # exact, international avoirdupois pound, 1959
JOULE_PER_KWH: Final = 3_600_000  # exact

TABLES: Final = Path(__file__).parent / "tables"

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One dated coefficient. `low` and `high` span what other sources say of the same thing.

    `basis` of a grid factor is ``direct`` (stack emissions of generation), ``lifecycle`` (fuel supply and plants
    included) or ``mixed`` (the world's interval); `same_basis` says whether two may stand in one comparison.
    """

    id: str  # carbon:azure/westus2@eGRID2023
    name: str
    value: float
    low: float
    high: float
    unit: str
    basis: str = ""
    year: str = ""
    region: str = ""
    source: str = ""
    licence: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        assert self.low <= self.value <= self.high, f"{self.id}: {self.low} <= {self.value} <= {self.high}"


@cache
def table(name: str) -> tuple[Row, ...]:
    """Return the rows of one table of the package, read once."""
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def index(name: str, column: str) -> dict[str, Row]:
    """Return the rows of a table by the lower-cased value of one column."""
    return {row[column].lower(): row for row in table(name)}


@cache
def constant(name: str) -> float:
    """Return the first number that constants.csv lists under `name`."""
    return float(next(row["value"] for row in table("constants") if row["name"] == name))


def kg_to_lb(mass_kg: float) -> float:
    """Convert kilograms to pounds.

    >>> kg_to_lb(0.45359237)
    1.0
    """
    return mass_kg / KG_PER_LB


def lb_to_kg(mass_lb: float) -> float:
    """Convert pounds to kilograms."""
    return mass_lb * KG_PER_LB


def joule_to_kwh(energy_joule: float) -> float:
    """Convert joules to kilowatt-hours."""
    return energy_joule / JOULE_PER_KWH


def kwh_to_joule(energy_kwh: float) -> float:
    """Convert kilowatt-hours to joules."""
    return energy_kwh * JOULE_PER_KWH


def same_basis(first: Factor, second: Factor) -> bool:
    """Say whether two grid factors may stand in one comparison: ``direct`` and ``lifecycle`` may not."""
    return first.basis == second.basis
