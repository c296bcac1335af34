"""Power of hosts that nobody measures."""

from __future__ import annotations

import pytest

from kilowit import factors
from kilowit.factors.cpu import microarchitecture
from kilowit.factors.factor import table


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD EPYC 7V12 64-Core Processor", "EPYC 2nd Gen"),
        ("AMD EPYC 7V73X 64-Core Processor", "EPYC 3rd Gen"),
        ("AMD EPYC 9V74 80-Core Processor", "EPYC 4th Gen"),
        ("AMD EPYC 9V33X 96-Core Processor", "EPYC 4th Gen"),
        ("AMD EPYC 9R45", "EPYC 5th Gen"),
        ("AMD EPYC-Milan Processor", "EPYC 3rd Gen"),
        ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "Broadwell"),
        ("Intel(R) Xeon(R) Platinum 8168 CPU @ 2.70GHz", "Skylake"),
        ("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", "Ice Lake"),
        ("INTEL(R) XEON(R) PLATINUM 8573C", "Emerald Rapids"),
        ("Intel Xeon Processor (Cascadelake)", "Cascade Lake"),
        ("AMD EPYC", None),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", None),
        ("13th Gen Intel(R) Core(TM) i7-1365U", None),
        ("", None),
    ],
)
def test_the_microarchitecture_is_read_from_the_name(name: str, expected: str | None) -> None:
    assert microarchitecture(name) == expected


def test_the_interval_holds_specpower_and_the_share_of_the_tdp() -> None:
    # Standard_NC6s_v3: 6 vCPUs of a 14-core E5-2690 v4 (135 W): TDP share 135 x 6 / 28; Azure's SPECpower 3.6853 W.
    power = factors.cpu_power("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", 6)
    assert power.tdp_share_watt == pytest.approx(135 * 6 / 28)
    assert power.full_watt_low <= 3.6853 * 6 <= power.full_watt_high
    assert power.full_watt_low <= 135 * 6 / 28 <= power.full_watt_high
    assert power.idle_watt_low <= 0.7128 * 6 <= power.idle_watt_high


CPUS = [row["cpu"] for row in table("cpu_tdp")] + ["AMD EPYC", "Intel Xeon Processor (Haswell)", "Neoverse-V1", ""]


def test_no_interval_is_wider_than_three_or_out_of_order() -> None:
    for name in CPUS:
        power = factors.cpu_power(name, 2)
        for kind in ("idle_watt", "full_watt"):
            low, likely, high = (getattr(power, f"{kind}_{end}") for end in ("low", "likely", "high"))
            assert 0 < low <= likely <= high <= 3.0001 * low, name
        assert power.idle_watt_likely < power.full_watt_likely
        if power.tdp_share_watt is not None:
            assert power.full_watt_low <= power.tdp_share_watt <= power.full_watt_high, name


def test_power_is_proportional_to_the_vcpus() -> None:
    one, eight = (factors.cpu_power("AMD EPYC 7763", n) for n in (1, 8))
    assert eight.full_watt_high == pytest.approx(8 * one.full_watt_high)


def test_an_unknown_cpu_gets_the_widest_interval() -> None:
    unknown, known = factors.cpu_power("AMD EPYC", 1), factors.cpu_power("AMD EPYC 7763", 1)
    assert unknown.microarchitecture == "average"
    assert unknown.full_watt_high / unknown.full_watt_low > known.full_watt_high / known.full_watt_low


def test_memory_draws_a_quarter_to_two_fifths_of_a_watt_per_gib() -> None:
    dram = factors.dram_watt_per_gib()
    assert (dram.low, dram.likely, dram.high) == (0.25, 0.375, 0.40)
