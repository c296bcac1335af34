"""Grid carbon and PUE by region: values, intervals, and what is said of a region that nobody knows."""

from __future__ import annotations

import pytest

from kilowit import factors
from kilowit.errors import PartError


def test_an_american_region_stands_on_its_egrid_subregion() -> None:
    region, grid = factors.carbon("azure/westus2"), factors.carbon("us/NWPP")
    assert (region.value, region.basis, region.year) == (grid.value, "direct", "2023")
    assert region.id == "carbon:azure/westus2@eGRID2023"


def test_a_region_elsewhere_stands_on_its_country() -> None:
    region = factors.carbon("azure/francecentral")
    assert (region.value, region.basis) == (factors.carbon("country/FR").value, "lifecycle")


def test_other_sources_widen_the_interval_of_a_region() -> None:
    region = factors.carbon("azure/westus2")
    assert region.high == 322.17  # Cloud Carbon Footprint's WECC average
    assert region.low == pytest.approx(288.2 * (1 - 0.107), rel=1e-5)  # the least interval, below


@pytest.mark.parametrize("name", ["us/CAMX", "country/SE", "gcp/us-west1", "aws/eu-west-1"])
def test_no_grid_factor_is_narrower_than_sources_usually_differ(name: str) -> None:
    factor = factors.carbon(name)
    assert factor.low <= factor.value * (1 - 0.1069)
    assert factor.high >= factor.value * (1 + 0.1069)


@pytest.mark.parametrize("region", [None, "unknown", "local"])
def test_an_unknown_region_is_the_whole_world_and_no_country(region: str | None) -> None:
    world = factors.carbon(region)
    assert world.id == "grid:unknown"
    assert (world.low, world.high) == (20.83, 1306.27)  # Lesotho, Turkmenistan
    assert 445 <= world.value <= 475


def test_a_misspelt_region_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(PartError) as caught:
        factors.carbon("azure/westus22")
    assert caught.value.hint == 'Did you mean "azure/westus2"?'


def test_region_names_do_not_depend_on_case() -> None:
    assert factors.carbon("Azure/WestUS2") == factors.carbon("azure/westus2")


def test_direct_and_lifecycle_factors_do_not_share_a_basis() -> None:
    washington, france, texas = (factors.carbon(name) for name in ("azure/westus2", "country/FR", "us/ERCT"))
    assert factors.same_basis(washington, texas)
    assert not factors.same_basis(washington, france)


def test_pue_is_the_disclosure_of_the_region_or_the_mean_of_its_provider() -> None:
    assert factors.pue("azure/westus2").value == 1.15
    mean = factors.pue("azure/francecentral")
    assert mean.id == "pue:azure@mean"
    assert mean.low <= 1.12 <= mean.value <= 1.2 <= mean.high


def test_pue_outside_a_cloud_is_one_and_may_be_that_of_a_server_room() -> None:
    factor = factors.pue("country/FR")
    assert (factor.value, factor.low, factor.high) == (1.0, 1.0, 1.56)


def test_a_given_pue_overrides_and_below_one_is_refused() -> None:
    assert factors.pue("azure/westus2", 1.4).value == 1.4
    with pytest.raises(PartError, match="below 1"):
        factors.pue(None, 0.9)
