"""Grams of CO2e per kWh by region, and the PUE of its data centres.

Rule of the interval: the spread of all shipped sources for the same grid, and at least the median distance between
public sources over all countries (constants.csv: grid_minimum_relative_spread) on either side.
"""

from __future__ import annotations

import functools

from kilowit.errors import PartError, near_name_hint
from kilowit.factors.factor import Factor, Row, index, table

_CARBON_UNIT = "g CO2e/kWh"
_GRIDS = ("country/", "us/")
_OF = "the grid of "  # how a cloud region's note names its grid
_UNKNOWN = {"", "unknown", "none", "local"}


def carbon(region: str | None) -> Factor:
    """Return the location-based grid factor of a region, in g CO2e per kWh.

    Args:
        region: "azure/westus2", "aws/eu-west-1", "gcp/us-central1", "country/FR", "us/CAMX"; None or "unknown" gives
            ``grid:unknown``, the interval from the cleanest to the dirtiest country, never a default country.

    Raises:
        PartError: a region that no table knows, with the nearest name.
    """
    if region is None or region.lower() in _UNKNOWN:
        return _world()
    return _carbon_factor(_region_row(region))


def regions() -> tuple[str, ...]:
    """Return the names of all regions that have a grid factor."""
    return tuple(row["name"] for row in table("carbon"))


def country(region: str | None) -> str:
    """Return the English name of the country that a region lies in; "" where no table says.

    >>> country("azure/francecentral"), country("us/CAMX"), country(None)
    ('France', 'United States', '')

    Raises:
        PartError: an unknown region.
    """
    if region is None or region.lower() in _UNKNOWN:
        return ""
    row = _region_row(region)
    grid = row["name"] if row["name"].startswith(_GRIDS) else row["note"].rpartition(_OF)[2]
    code = "country/us" if grid.startswith("us/") else grid.partition(";")[0].strip().lower()
    found = index("carbon", "name").get(code)
    return found["location"] if found is not None else ""


def pue(region: str | None, override: float | None = None) -> Factor:
    """Return the power usage effectiveness to multiply with: given, disclosed for the region, or the provider's mean.

    Outside a cloud it is 1.0 with the industry's average as its high end: the machine may stand in a server room.

    Raises:
        PartError: `override` below 1, or an unknown region.
    """
    if override is not None:
        if override < 1:
            raise PartError(f"PUE {override} is below 1", hint="PUE is total energy over IT energy: at least 1.")
        return _pue_factor("pue:given", "given", override, override, override, source="given by the user")
    region = None if region is None or region.lower() in _UNKNOWN else _region_row(region)["name"]
    provider = region.split("/")[0] if region else ""
    rows = index("pue", "name")
    row = rows.get(region.lower() if region else "") or rows.get(provider)
    if row is None:
        high = float(rows["industry"]["value"])
        source = f"no data centre known; high: {rows['industry']['source']} {rows['industry']['year']}"
        return _pue_factor("pue:none", "none", 1.0, 1.0, high, source=source)
    value, low, high = float(row["value"]), float(row["low"]), float(row["high"])
    factor_id = f"pue:{row['name']}@{row['year'] or 'mean'}"
    return _pue_factor(factor_id, row["name"], value, low, high, source=row["source"], year=row["year"])


def _region_row(region: str) -> Row:
    rows = index("carbon", "name")
    if region.lower() not in rows:
        raise PartError(f'no grid factor for region "{region}"', hint=_region_hint(region))
    return rows[region.lower()]


def _region_hint(region: str) -> str:
    """Suggest a region: the nearest, or the kinds of names there are (hundreds of names help nobody)."""
    near = near_name_hint(region.lower(), (name.lower() for name in regions()))
    named = [name for name in regions() if name.lower() in near.lower()] if near.startswith("Did you") else []
    if named:
        return f'Did you mean "{max(named, key=len)}"?'
    return "Regions look like azure/westus2, aws/eu-west-1, gcp/us-central1, country/FR, us/CAMX; or leave it out."


def _carbon_factor(row: Row) -> Factor:
    note = "; ".join(part for part in (row["location"], row["note"], row["alternatives"]) if part)
    return Factor(
        id=f"carbon:{row['name']}@{row['source_key']}",
        name=row["name"],
        value=float(row["value"]),
        low=float(row["low"]),
        high=float(row["high"]),
        unit=_CARBON_UNIT,
        basis=row["basis"],
        year=row["year"],
        region=row["name"],
        source=row["source"],
        licence=row["licence"],
        note=note,
    )


@functools.cache
def _world() -> Factor:
    values = [float(row["value"]) for row in table("carbon") if row["name"].startswith("country/")]
    means = [row for row in table("constants") if row["name"] == "world_average_g_per_kwh"]
    likely = sum(float(row["value"]) for row in means) / len(means)
    return Factor(
        id="grid:unknown",
        name="unknown",
        value=likely,
        low=min(values),
        high=max(values),
        unit=_CARBON_UNIT,
        basis="mixed",
        year="2024",
        region="unknown",
        source="mean of " + " and ".join(f"{row['value']} ({row['source']})" for row in means),
        licence="facts; countries CC BY 4.0 (Ember)",
        note="region unknown: from the cleanest to the dirtiest country",
    )


def _pue_factor(id: str, name: str, value: float, low: float, high: float, *, source: str, year: str = "") -> Factor:
    return Factor(
        id=id,
        name=f"pue/{name}",
        value=value,
        low=low,
        high=high,
        unit="kWh/kWh",
        basis="annual mean",
        year=year,
        region=name,
        source=source,
        licence="facts",
    )
