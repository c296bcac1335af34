"""GPUs by the names that NVML reports: rated power, dense peak rates, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from kilowit.factors.factor import Row, table

_RATES = {
    "fp32": "fp32_tflops",
    "tf32": "tf32_tensor_tflops",
    "fp16": "fp16_tensor_tflops",
    "bf16": "bf16_tensor_tflops",
    "fp8": "fp8_tensor_tflops",
    "int8": "int8_tops",
}
_FORMS = ("sxm2", "sxm4", "sxm5", "sxm", "pcie", "nvl")
# "A100", "V100S", "RTX 4090": the chip's name, which has to agree in full ("A10" is not "A100").
_CHIP = re.compile(r"\b(rtx \d{4}|[a-z]{1,2}\d{1,3}s?)\b")


@dataclass(frozen=True)
class Device:
    """One GPU's data sheet. Rates are dense (no sparsity); a dtype that the GPU cannot do is absent."""

    name: str  # as in gpus.csv, e.g. "H100 SXM5 80GB"
    architecture: str
    tdp_watt: float
    idle_watt: float | None
    peak_flop_per_second: dict[str, float]  # by dtype: fp32 tf32 fp16 bf16 fp8 int8 (operations)
    memory_byte: int  # nominal, binary gigabytes
    bandwidth_byte_per_second: float
    has_energy_counter: bool
    source: str
    checked: str


def devices() -> tuple[str, ...]:
    """Return the names of all GPUs in the table."""
    return tuple(row["gpu"] for row in table("gpus"))


@cache
def device(gpu_name: str, memory_byte: int | None = None) -> Device | None:
    """Find a GPU by its table name or the name that NVML gives it; None if unknown.

    Args:
        gpu_name: "H100 SXM5 80GB", "NVIDIA H100 80GB HBM3", "Tesla T4", "NVIDIA GeForce RTX 4090".
        memory_byte: total memory where known; tells apart variants whose names do not.

    >>> device("NVIDIA A100-SXM4-80GB").tdp_watt
    400.0
    """
    words = _words(gpu_name)
    chip = _chip(words)
    rows = [row for row in table("gpus") if chip is not None and _chip(_words(row["gpu"])) == chip]
    return _device(max(rows, key=lambda row: _agreement(row, words, memory_byte))) if rows else None


def _words(name: str) -> str:
    name = re.sub(r"\b(nvidia|tesla|geforce|graphics|device)\b", " ", name.lower())
    name = re.sub(r"(?<=\d)\s*g(i?b)\b", "gb", name)
    return " ".join(re.sub(r"[-_/()]", " ", name).split())


def _chip(words: str) -> str | None:
    match = _CHIP.search(words)
    return match[1] if match else None


def _agreement(row: Row, words: str, memory_byte: int | None) -> tuple[float, ...]:
    """Rank a variant: form factor said and equal, then memory, then the default form (what NVML leaves unsaid).

    NVML calls the H100 SXM5 "NVIDIA H100 80GB HBM3" and the PCIe board "NVIDIA H100 PCIe": memory type tells.
    """
    own = _words(row["gpu"])
    form = float(_form(words) == _form(own)) if _form(words) else 0.0
    memory_type = float(row["memory_type"].lower() in words.split())
    size = re.search(r"(\d+)gb", words)
    gigabytes = float(size[1]) if size else None if memory_byte is None else memory_byte / 2**30
    distance = 0.0 if gigabytes is None else abs(gigabytes - float(row["memory_gb"]))
    return form, memory_type, -distance


def _form(words: str) -> str | None:
    found = next((form for form in _FORMS if form in words), None)
    return "sxm" if found and found.startswith("sxm") else found


def _device(row: Row) -> Device:
    return Device(
        name=row["gpu"],
        architecture=row["architecture"],
        tdp_watt=float(row["tdp_w"]),
        idle_watt=float(row["idle_w_ccf"]) if row["idle_w_ccf"] else None,
        peak_flop_per_second={dtype: float(row[column]) * 1e12 for dtype, column in _RATES.items() if row[column]},
        memory_byte=int(float(row["memory_gb"]) * 2**30),
        bandwidth_byte_per_second=float(row["bandwidth_gb_s"]) * 1e9,
        has_energy_counter=row["nvml_energy_counter"] == "yes",
        source=row["source"],
        checked=row["checked"],
    )
