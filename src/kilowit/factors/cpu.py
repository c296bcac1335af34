"""Power of a host whose CPU and memory nobody measures: watts per vCPU by microarchitecture, watts per GiB of DRAM.

The interval holds two readings of the same machine that public tools disagree on: the SPECpower coefficients per vCPU
(Cloud Carbon Footprint) and the share of the package's TDP (Green Algorithms, CodeCarbon). It is never narrower than
the widest known disagreement of the two, for neither has been checked at the wall, and never wider than a factor of 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from kilowit.factors.factor import Row, index

MAX_RATIO: Final = 3.0  # widest high / low; a wider interval would say nothing
# Narrowest: on Broadwell hosts the TDP share (4.82 W) and SPECpower (3.59 W) differ by this factor, the most among the
# generations of cpu_power.csv that today's clouds run.
MIN_FACTOR: Final = 1.34
IDLE_TDP_FRACTION: Final = 0.1  # CodeCarbon 3, hardware.py: power = TDP (0.1 + 0.9 u^3)

_INTEL_SCALABLE: Final = {
    "1": "Skylake", "2": "Cascade Lake", "3": "Ice Lake", "4": "Sapphire Rapids", "5": "Emerald Rapids",
    "6": "Granite Rapids",
}  # fmt: skip
_INTEL_E5: Final = {"": "Sandy Bridge", "2": "Ivy Bridge", "3": "Haswell", "4": "Broadwell"}
_EPYC: Final = {"1": "EPYC 1st Gen", "2": "EPYC 2nd Gen", "3": "EPYC 3rd Gen", "4": "EPYC 4th Gen", "5": "EPYC 5th Gen"}
# Names that hypervisors and clouds use in place of a part number, without spaces; longest first.
_CODE_NAMES: Final = {
    "emeraldrapids": "Emerald Rapids", "graniterapids": "Granite Rapids", "sapphirerapids": "Sapphire Rapids",
    "cascadelake": "Cascade Lake", "sandybridge": "Sandy Bridge", "coffeelake": "Coffee Lake",
    "ivybridge": "Ivy Bridge", "broadwell": "Broadwell", "haswell": "Haswell", "icelake": "Ice Lake",
    "skylake": "Skylake",
    "epyc-naples": "EPYC 1st Gen", "epyc-rome": "EPYC 2nd Gen", "epyc-milan": "EPYC 3rd Gen",
    "epyc-genoa": "EPYC 4th Gen", "epyc-turin": "EPYC 5th Gen", "neoverse-n1": "Graviton2",
    "neoverse-v1": "Graviton3", "neoverse-v2": "Graviton4", "graviton2": "Graviton2", "graviton3": "Graviton3",
    "graviton4": "Graviton4",
}  # fmt: skip


@dataclass(frozen=True)
class CpuPower:
    """Watts of a number of vCPUs at idle and at full load; between them the model is linear in utilisation."""

    microarchitecture: str  # "average" when the name says nothing
    num_vcpus: int
    idle_watt_low: float
    idle_watt_likely: float
    idle_watt_high: float
    full_watt_low: float
    full_watt_likely: float
    full_watt_high: float
    tdp_share_watt: float | None  # these vCPUs' share of the package's TDP, where one is known
    basis: str  # how the microarchitecture and the TDP were found
    source: str


@dataclass(frozen=True)
class DramPower:
    """Watts per GiB of installed memory, busy or not."""

    low: float
    likely: float
    high: float
    source: str


def microarchitecture(model_name: str) -> str | None:
    """Guess a server CPU's microarchitecture from the name that the system reports; None if it does not say.

    >>> microarchitecture("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz"), microarchitecture("AMD EPYC")
    ('Ice Lake', None)
    """
    if match := re.search(r"EPYC(?:\(TM\))?\s+([789])[0-9A-Z]{2}([1-5])", model_name, re.IGNORECASE):
        # The last digit is the generation; the 9000 series began with the 4th ("9V33X" is a 4th).
        return _EPYC[max(match[2], "4") if match[1] == "9" else match[2]]
    if match := re.search(r"\bE[57]-\d{4}\w?\s*(?:v([234]))?", model_name, re.IGNORECASE):
        return _INTEL_E5[match[1] or ""]
    if match := re.search(r"(?:Platinum|Gold|Silver|Bronze)\s+[3-9]([1-5])\d\d", model_name, re.IGNORECASE):
        return _INTEL_SCALABLE[match[1]]
    if re.search(r"Xeon\S*\s+6[79]\d\dP", model_name, re.IGNORECASE):
        return _INTEL_SCALABLE["6"]
    compact = model_name.lower().replace(" ", "")
    return next((name for code, name in _CODE_NAMES.items() if code in compact), None)


@cache
def cpu_power(model_name: str, num_vcpus: int) -> CpuPower:
    """Estimate the watts of `num_vcpus` hardware threads of a host.

    Full load spans the SPECpower coefficients of all providers and the TDP share; idle spans the coefficients and
    a tenth of the TDP share; without a TDP both reach to the ends of the average host. Where that is wider than
    `MAX_RATIO`, the low end is raised: a part with few fast cores lies above the mean of its generation.

    Source: cloud-carbon-footprint/ccf-coefficients (SPECpower_ssj2008); CodeCarbon cpu_power.csv; see cpu_power.csv.
    """
    assert num_vcpus >= 1
    found = microarchitecture(model_name)
    row = index("cpu_power", "microarchitecture")[(found or "average").lower()]
    share, tdp_basis = _tdp_share(model_name, row)
    idle = _interval(row, "idle_watt", None if share is None else share * IDLE_TDP_FRACTION)
    full = _interval(row, "full_watt", share)
    basis = f"{found} by its name" if found else "unknown CPU: average of today's cloud hosts"
    return CpuPower(
        microarchitecture=row["microarchitecture"],
        num_vcpus=num_vcpus,
        idle_watt_low=idle[0] * num_vcpus,
        idle_watt_likely=idle[1] * num_vcpus,
        idle_watt_high=idle[2] * num_vcpus,
        full_watt_low=full[0] * num_vcpus,
        full_watt_likely=full[1] * num_vcpus,
        full_watt_high=full[2] * num_vcpus,
        tdp_share_watt=None if share is None else share * num_vcpus,
        basis=basis + tdp_basis,
        source=row["source"],
    )


def dram_watt_per_gib() -> DramPower:
    """Return the watts of one GiB of memory: 0.25 / 0.375 / 0.40.

    Source: likely 3 W per 8-GiB module (eco2AI, CodeCarbon 1 and 2; Green Algorithms 0.3725); high is Cloud Carbon
    Footprint's 0.392 rounded up; low is what SPECpower leaves for memory (research of 2026-11).
    """
    return DramPower(0.25, 0.375, 0.40, "eco2AI and CodeCarbon 0.375; Green Algorithms 0.3725; CCF 0.392 W/GB")


def _tdp_share(model_name: str, row: Row) -> tuple[float | None, str]:
    """Return TDP watts per vCPU and how it was found: the part itself, or a typical part of its generation."""
    for name, part in index("cpu_tdp", "cpu").items():
        if part["num_cores"] and name in _plain(model_name):
            return float(part["tdp_watt"]) / (2 * int(part["num_cores"])), f", TDP of {part['cpu']}"
    if row["tdp_watt_per_vcpu"]:
        return float(row["tdp_watt_per_vcpu"]), f", TDP of a typical part ({row['tdp_part']})"
    return None, ", no TDP"


def _plain(model_name: str) -> str:
    return re.sub(r"\s+", " ", model_name.lower().replace("(r)", "").replace("(tm)", "").replace(" cpu", ""))


def _interval(row: Row, name: str, share: float | None) -> tuple[float, float, float]:
    low, likely, high = (float(row[f"{name}_{end}"]) for end in ("low", "likely", "high"))
    average = index("cpu_power", "microarchitecture")["average"]
    others = [float(average[f"{name}_{end}"]) for end in ("low", "high")] if share is None else [share]
    low, high = min(low, likely / MIN_FACTOR, *others), max(high, likely * MIN_FACTOR, *others)
    low = max(low, high / MAX_RATIO)
    return low, max(likely, low), high
