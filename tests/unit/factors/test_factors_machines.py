"""Prices and embodied carbon of machines, and the catalogue that lists all factors."""

from __future__ import annotations

import pytest

from kilowit import factors
from kilowit.errors import PartError

A100 = "Standard_NC24ads_A100_v4"


def test_the_newest_snapshot_is_the_price_and_the_others_its_interval() -> None:
    spot = factors.price("Standard_NC6s_v3", "azure/eastus", "spot")
    assert spot is not None
    assert (spot.low, spot.value, spot.high) == (0.3978, 0.4284, 1.34946)  # four snapshots, 2022 H2 to 2025
    assert spot.id == "price:azure/eastus/Standard_NC6s_v3/spot@2024-25"


def test_a_spot_price_equal_to_on_demand_is_no_spot_price() -> None:
    assert factors.price("Standard_NC40ads_H100_v5", "azure/eastus", "on_demand") is not None
    assert factors.price("Standard_NC40ads_H100_v5", "azure/eastus", "spot") is None


def test_no_price_is_borrowed_from_another_region() -> None:
    assert factors.price(A100, "azure/francecentral", "on_demand") is None
    assert factors.price(A100, None, "on_demand") is None
    assert "azure/eastus" in factors.price_regions(A100)


def test_a_machine_carries_its_share_of_the_host() -> None:
    # The host of NC6s_v3 is NC24s_v3: four GPUs, 2349.62 kg.
    share = factors.embodied("Standard_NC6s_v3")
    assert share is not None
    assert share.value == pytest.approx(2349.62 / 4)
    assert (share.low, share.high) == (share.value / 2, share.value * 2)


def test_a_host_that_the_table_lacks_is_built_from_its_formula() -> None:
    # NC96ads_A100_v4: 1000 + 100 CPU + 100 SSD + 4 x 150 GPU + (880 - 16) x 533/384 DRAM, a quarter of it.
    share = factors.embodied(A100)
    assert share is not None
    assert share.value == pytest.approx((1000 + 100 + 100 + 600 + 864 * 533 / 384) / 4)


def test_every_machine_names_a_known_gpu_and_cpu() -> None:
    for name in factors.machines():
        found = factors.machine(name)
        assert found is not None
        assert factors.device(found.gpu) is not None
        assert factors.cpu_power(found.host_cpu, 1).microarchitecture != "average"


def test_every_listed_name_can_be_described() -> None:
    for name in factors.names():
        assert "source" in factors.describe(name)


def test_a_description_says_value_basis_year_and_source() -> None:
    text = factors.describe("azure/westus2")
    for part in ("288.2 g CO2e/kWh", "direct", "2023", "EPA eGRID2023", "1.15"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Standard_NC24ads_A100_v5", A100),
        ("country/XX", "country/"),
        ("gpu/RTX 4091 24GB", "gpu/RTX 4090 24GB"),
        ("nonsense", "look like"),
    ],
)
def test_an_unknown_factor_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(PartError) as caught:
        factors.find(name)
    assert hint in (caught.value.hint or "")


def test_reported_names_of_cpus_and_gpus_are_found_too() -> None:
    assert factors.find("gpu/NVIDIA H100 80GB HBM3")[0].value == 700
    assert factors.find("cpu/Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz")[0].name == "cpu/Ice Lake/idle"


def test_published_counts_of_datasets_are_known() -> None:
    samsum = factors.dataset("samsum")
    assert samsum is not None
    assert (samsum.num_train_examples, samsum.source_tokens_mean, samsum.target_tokens_mean) == (14732, 147, 26)
    assert factors.dataset("nobody") is None
