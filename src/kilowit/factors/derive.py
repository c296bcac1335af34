"""Turn joules and seconds into CO2e and dollars, on reading: a report can be re-priced without re-running anything.

CO2e = energy x PUE x grid factor (location-based) + embodied share; cost = whole-machine wall time x price.
An interval is carried end to end: low x low x low to high x high x high.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kilowit.factors.carbon import carbon, pue
from kilowit.factors.factor import Factor, joule_to_kwh
from kilowit.factors.machines import EMBODIED_LIFETIME_SECOND, embodied, machine, machines, price, price_regions
from kilowit.record import PhaseFigures

_GRAM_PER_KG = 1000
_SECOND_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What a stretch of a run emitted and cost. None = unknown, and `notes` says why.

    `energy_kwh` is what the devices took; PUE is in the CO2e, not in the energy.
    """

    wall_second: float
    energy_kwh: float | None
    energy_kwh_low: float | None
    energy_kwh_high: float | None
    co2e_operational_kg: float | None
    co2e_operational_kg_low: float | None
    co2e_operational_kg_high: float | None
    co2e_embodied_kg: float | None
    co2e_embodied_kg_low: float | None
    co2e_embodied_kg_high: float | None
    cost_usd_on_demand: float | None
    cost_usd_spot: float | None
    cost_usd_spot_low: float | None
    cost_usd_spot_high: float | None
    basis: str  # of the grid factor: direct | lifecycle | mixed; never compare across
    factor_ids: tuple[str, ...]
    notes: tuple[str, ...]


def derive(
    phase: PhaseFigures, *, region: str | None = None, machine: str | None = None, pue: float | None = None
) -> Derived:
    """Derive CO2e and cost of one phase, or of a total, from its energy and wall time.

    Args:
        region: where it ran; None = unknown, the world's interval.
        machine: the VM that is billed; None = no price and no embodied share.
        pue: overrides the region's.

    Raises:
        PartError: an unknown region, or a PUE below 1.
    """
    return derive_figures(
        phase.wall_second,
        (phase.energy_total_joule, phase.energy_total_joule_low, phase.energy_total_joule_high),
        region=region,
        machine_name=machine,
        pue_override=pue,
    )


def derive_figures(
    wall_second: float,
    energy_joule: tuple[float | None, float | None, float | None],
    *,
    region: str | None,
    machine_name: str | None,
    pue_override: float | None = None,
) -> Derived:
    """Derive CO2e and cost from plain numbers; `energy_joule` is (likely, low, high), missing ends = likely.

    Raises:
        PartError: an unknown region, or a PUE below 1.
    """
    grid, overhead = carbon(region), pue(region, pue_override)
    built = embodied(machine_name)
    on_demand, spot = price(machine_name, region, "on_demand"), price(machine_name, region, "spot")
    likely, low, high = energy_joule
    energy = (likely, likely if low is None else low, likely if high is None else high)
    operational = [
        _emitted(joule, k, grid, overhead) for joule, k in zip(energy, ("value", "low", "high"), strict=True)
    ]
    hours = wall_second / _SECOND_PER_HOUR
    share = wall_second / EMBODIED_LIFETIME_SECOND
    kwh = [None if joule is None else joule_to_kwh(joule) for joule in energy]
    return Derived(
        wall_second=wall_second,
        energy_kwh=kwh[0],
        energy_kwh_low=kwh[1],
        energy_kwh_high=kwh[2],
        co2e_operational_kg=operational[0],
        co2e_operational_kg_low=operational[1],
        co2e_operational_kg_high=operational[2],
        co2e_embodied_kg=None if built is None else built.value * share,
        co2e_embodied_kg_low=None if built is None else built.low * share,
        co2e_embodied_kg_high=None if built is None else built.high * share,
        cost_usd_on_demand=None if on_demand is None else on_demand.value * hours,
        cost_usd_spot=None if spot is None else spot.value * hours,
        cost_usd_spot_low=None if spot is None else spot.low * hours,
        cost_usd_spot_high=None if spot is None else spot.high * hours,
        basis=grid.basis,
        factor_ids=tuple(f.id for f in (grid, overhead, built, on_demand, spot) if f is not None),
        notes=tuple(_notes(likely, region, machine_name, on_demand, spot)),
    )


def _emitted(energy_joule: float | None, end: str, grid: Factor, overhead: Factor) -> float | None:
    """Return kg CO2e: kWh x PUE x g/kWh / 1000, with one end of both factors' intervals."""
    if energy_joule is None:
        return None
    gram: float = joule_to_kwh(energy_joule) * getattr(overhead, end) * getattr(grid, end)
    return gram / _GRAM_PER_KG


def _notes(
    energy_joule: float | None,
    region: str | None,
    machine_name: str | None,
    on_demand: Factor | None,
    spot: Factor | None,
) -> Iterable[str]:
    if energy_joule is None:
        yield "no energy was read: no operational CO2e"
    if machine_name is None:
        yield "no machine given: no cost, no embodied CO2e"
        return
    if machine(machine_name) is None:
        yield f'unknown machine "{machine_name}": no embodied CO2e; known: {", ".join(machines())}'
    for market, found in (("on-demand", on_demand), ("spot", spot)):
        if found is None:
            known = price_regions(machine_name, "spot" if market == "spot" else "on_demand")
            where = f"known in {', '.join(known)}" if known else "known in no region"
            yield f"no {market} price of {machine_name} in {region or 'an unknown region'}; {where}"
