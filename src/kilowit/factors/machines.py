"""Machines that can be rented: what is in them, what an hour costs, and what building them emitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from kilowit.errors import PartError
from kilowit.factors.factor import Factor, Row, index, table

Market = Literal["on_demand", "spot"]
EMBODIED_LIFETIME_SECOND = 4 * 365.25 * 86400  # Cloud Carbon Footprint, ccf-coefficients: four years
# ccf-coefficients constants.py: base rack server 1000 kg, a second CPU 100, SSD 100, 150 a GPU, 533/384 kg per GB of
# DRAM above 16. "A guess" for GPUs, by its own words: hence a factor of two on either side.
_SERVER_KG, _CPU_KG, _SSD_KG, _GPU_KG, _DRAM_KG_PER_GB, _DRAM_INCLUDED_GB = 1000.0, 100.0, 100.0, 150.0, 533 / 384, 16.0
_EMBODIED_FACTOR = 2.0


@dataclass(frozen=True)
class Machine:
    """One VM size."""

    name: str  # Standard_NC24ads_A100_v4
    num_gpus: int
    gpu: str  # a name of gpus.csv
    num_vcpus: int
    memory_gib: float
    host_cpu: str
    host_num_gpus: int  # GPUs of the whole host that this size is a slice of
    note: str
    source: str


def machines() -> tuple[str, ...]:
    """Return the names of all machines."""
    return tuple(row["machine"] for row in table("machines"))


@cache
def machine(name: str | None) -> Machine | None:
    """Return what is in a machine, or None if it is unknown."""
    row = index("machines", "machine").get((name or "").lower())
    if row is None:
        return None
    return Machine(
        name=row["machine"],
        num_gpus=int(row["num_gpus"]),
        gpu=row["gpu"],
        num_vcpus=int(row["num_vcpus"]),
        memory_gib=float(row["memory_gib"]),
        host_cpu=row["host_cpu"],
        host_num_gpus=int(row["host_num_gpus"]),
        note=row["note"],
        source=row["source"],
    )


def price(machine_name: str | None, region: str | None, market: Market) -> Factor | None:
    """Return USD per hour of the whole machine, or None where no price is known for that region.

    A price of another region is never borrowed; `price_regions` lists where there is one.

    Raises:
        PartError: a market other than on_demand and spot.
    """
    if market not in ("on_demand", "spot"):
        raise PartError(f'no market "{market}"', hint="Markets: on_demand, spot.")
    row = _prices().get(((machine_name or "").lower(), (region or "").lower(), market))
    return None if row is None else price_factor(row)


def price_regions(machine_name: str, market: Market = "on_demand") -> tuple[str, ...]:
    """Return the regions in which the price of a machine is known."""
    wanted = machine_name.lower()
    return tuple(sorted(region for name, region, m in _prices() if name == wanted and m == market))


def price_factor(row: Row) -> Factor:
    """Turn a row of prices.csv into a factor."""
    return Factor(
        id=f"price:{row['region']}/{row['machine']}/{row['market']}@{row['date']}",
        name=f"{row['machine']} {row['market']}",
        value=float(row["value"]),
        low=float(row["low"]),
        high=float(row["high"]),
        unit="USD/h",
        basis=row["market"],
        year=row["date"],
        region=row["region"],
        source=row["source"],
        licence="prices are facts; catalogue Apache-2.0 (recalled)",
        note=row["note"],
    )


def embodied(machine_name: str | None) -> Factor | None:
    """Return the embodied kg CO2e of a machine's share of its host, or None for an unknown machine.

    Share = GPUs of the machine / GPUs of its host. A host that the table lacks is built from the table's own formula.
    The interval is a factor of two on either side: 150 kg a GPU is a guess in the source.
    """
    found = machine(machine_name)
    if found is None:
        return None
    row = index("embodied", "machine").get(found.name.lower())
    share = found.num_gpus / found.host_num_gpus
    host_kg = float(row["host_kg_co2e"]) if row else _host_kg(found)
    kind = "ccf2026" if row else "ccf-formula"
    note = f"{found.num_gpus} of {found.host_num_gpus} GPUs of a host of {host_kg:.0f} kg; 150 kg per GPU is a guess"
    return Factor(
        id=f"embodied:{found.name}@{kind}",
        name=f"embodied/{found.name}",
        value=host_kg * share,
        low=host_kg * share / _EMBODIED_FACTOR,
        high=host_kg * share * _EMBODIED_FACTOR,
        unit="kg CO2e",
        basis="cradle to gate, share of the host by GPUs, over 4 years",
        year="2022" if row else "2026",
        source=row["source"] if row else "ccf-coefficients constants.py: 1000 + 100 + 100 + 150/GPU + 533/384 per GB",
        licence="Apache-2.0",
        note=note,
    )


def _host_kg(found: Machine) -> float:
    host_memory_gb = found.memory_gib * found.host_num_gpus / found.num_gpus
    dram_kg = max(0.0, host_memory_gb - _DRAM_INCLUDED_GB) * _DRAM_KG_PER_GB
    return _SERVER_KG + _CPU_KG + _SSD_KG + _GPU_KG * found.host_num_gpus + dram_kg


@cache
def _prices() -> dict[tuple[str, str, str], Row]:
    return {(row["machine"].lower(), row["region"], row["market"]): row for row in table("prices")}
