"""What a request is told of its cost: joules, grams and dollars, each with what it rests on."""

from __future__ import annotations

from typing import Any, Final

from kilowit.endpoint.job import Cost
from kilowit.factors.derive import derive_figures
from kilowit.settings import FactorSettings

GRAM_PER_KG: Final = 1000
JOULE_PER_WH: Final = 3600
NUM_DIGITS: Final = 6  # more would pretend to a precision that no sensor has


def bill(cost: Cost, factors: FactorSettings, *, num_documents: int = 1) -> dict[str, Any]:
    """Return a cost as JSON: energy, CO2e and price with low and high, and where they come from.

    Args:
        factors: region, machine and PUE.
        num_documents: summaries that it covers.

    Raises:
        PartError: an unknown region, or a PUE below 1.
    """
    derived = derive_figures(
        cost.second,
        (cost.joule, cost.joule_low, cost.joule_high),
        region=factors.region,
        machine_name=factors.machine,
        pue_override=factors.pue,
    )
    per_document_joule = None if cost.joule is None or not num_documents else cost.joule / num_documents
    return {
        "energy_joule": _short(cost.joule),
        "energy_joule_low": _short(cost.joule_low),
        "energy_joule_high": _short(cost.joule_high),
        "energy_source": cost.source,
        "energy_basis": cost.basis,
        "energy_wh_per_1000": None if per_document_joule is None else _short(1000 * per_document_joule / JOULE_PER_WH),
        "co2e_gram": _gram(derived.co2e_operational_kg),
        "co2e_gram_low": _gram(derived.co2e_operational_kg_low),
        "co2e_gram_high": _gram(derived.co2e_operational_kg_high),
        "co2e_embodied_gram": _gram(derived.co2e_embodied_kg),
        "cost_usd": _short(derived.cost_usd_on_demand),
        "machine_second": _short(cost.second),
        "factors": list(derived.factor_ids),
        "notes": list(derived.notes),
    }


def cost_headers(billed: dict[str, Any]) -> dict[str, str]:
    """Return what an answer says of its cost in its headers; what is unknown is left out."""
    named = {
        "X-Energy-Joules": billed["energy_joule"],
        "X-Energy-Joules-Low": billed["energy_joule_low"],
        "X-Energy-Joules-High": billed["energy_joule_high"],
        "X-Energy-Basis": billed["energy_basis"],
        "X-Energy-Source": billed["energy_source"],
        "X-CO2e-Grams": billed["co2e_gram"],
    }
    return {name: str(value) for name, value in named.items() if value is not None}


def _gram(mass_kg: float | None) -> float | None:
    return None if mass_kg is None else _short(mass_kg * GRAM_PER_KG)


def _short(value: float | None) -> float | None:
    """Return a number to `NUM_DIGITS` significant digits."""
    return None if value is None else float(f"{value:.{NUM_DIGITS}g}")
