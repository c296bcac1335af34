"""CO2e and dollars from joules and seconds; expected values by the arithmetic in each test."""

from __future__ import annotations

import pytest

from kilowit.factors.derive import derive
from kilowit.record import PhaseFigures

A100 = "Standard_NC24ads_A100_v4"


def one_hour(joule: float | None = 3.6e6, low: float | None = 3.24e6, high: float | None = 4.32e6) -> PhaseFigures:
    return PhaseFigures(
        phase="train",
        wall_second=3600,
        energy_total_joule=joule,
        energy_total_joule_low=low,
        energy_total_joule_high=high,
    )


def test_co2e_is_energy_times_pue_times_grid() -> None:
    derived = derive(one_hour(), region="azure/westus2")
    assert derived.co2e_operational_kg == pytest.approx(1.0 * 1.15 * 288.2 / 1000)
    assert derived.co2e_operational_kg_low == pytest.approx(0.9 * 1.15 * 257.363 / 1000)
    assert derived.co2e_operational_kg_high == pytest.approx(1.2 * 1.15 * 322.17 / 1000)
    assert derived.energy_kwh == 1.0  # PUE is in the CO2e, not in the energy
    assert derived.basis == "direct"


def test_cost_is_the_hour_of_the_whole_machine() -> None:
    derived = derive(one_hour(), region="azure/westus2", machine=A100)
    assert derived.cost_usd_on_demand == 3.673
    assert derived.cost_usd_spot == 0.59723
    assert derived.cost_usd_spot_high == 1.3175
    assert any(i.startswith("price:azure/westus2/") for i in derived.factor_ids)


def test_embodied_share_is_time_over_four_years() -> None:
    derived = derive(one_hour(), region="azure/westus2", machine=A100)
    assert derived.co2e_embodied_kg == pytest.approx(749.8125 * 3600 / (4 * 365.25 * 86400))


def test_an_unknown_region_gives_the_world_and_no_price() -> None:
    derived = derive(one_hour(), machine=A100)
    assert derived.co2e_operational_kg_low == pytest.approx(0.9 * 1.0 * 20.83 / 1000)
    assert derived.co2e_operational_kg_high == pytest.approx(1.2 * 1.56 * 1306.27 / 1000)
    assert derived.cost_usd_on_demand is None
    assert "grid:unknown" in derived.factor_ids
    assert any("known in" in note and "azure/eastus" in note for note in derived.notes)


def test_without_a_machine_there_is_no_cost_and_no_embodied_share() -> None:
    derived = derive(one_hour(), region="country/FR")
    assert (derived.cost_usd_on_demand, derived.cost_usd_spot, derived.co2e_embodied_kg) == (None, None, None)
    assert derived.notes == ("no machine given: no cost, no embodied CO2e",)


def test_without_energy_there_is_no_operational_co2e_but_a_cost() -> None:
    derived = derive(one_hour(None, None, None), region="azure/westus2", machine=A100)
    assert derived.co2e_operational_kg is None
    assert derived.energy_kwh is None
    assert derived.cost_usd_on_demand == 3.673


def test_missing_ends_are_the_likely_value() -> None:
    derived = derive(one_hour(3.6e6, None, None), region="azure/westus2")
    assert derived.energy_kwh_low == derived.energy_kwh == derived.energy_kwh_high
