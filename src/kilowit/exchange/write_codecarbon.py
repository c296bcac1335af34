"""``emissions.csv`` with the columns of CodeCarbon 3.3.2, a row a run, for dashboards that read it.

As there, energies and powers hold the PUE of its column, CO2e is of operation alone, in kg, and times have no zone:
ours are UTC. What is unknown stays empty. The version column says kilowit: nobody shall take these for CodeCarbon's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kilowit import __version__, factors
from kilowit.exchange.foreign import JOULE_PER_KWH
from kilowit.exchange.priced import PricedRun, priced_run
from kilowit.record import Record
from kilowit.settings import FactorSettings

COLUMNS: Final = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude",
    "ram_total_size", "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent",
    "ram_utilization_percent", "ram_used_gb", "on_cloud", "pue", "wue",
)  # fmt: skip
FILE: Final = "emissions.csv"
_DEVICES: Final = {"cpu": "cpu", "gpu": "gpu", "dram": "ram"}
_CLOUDS: Final = ("azure", "aws", "gcp")


def codecarbon_files(records: Sequence[Record], asked: FactorSettings) -> Mapping[str, bytes]:
    """Return the one file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: value for name, value in _row(priced_run(record, asked)).items() if value is not None})
    return {FILE: text.getvalue().encode()}


def _row(run: PricedRun) -> dict[str, Any]:
    record, billed = run.record, run.billed
    pue = factors.pue(run.factors.region, run.factors.pue).value
    second = billed.wall_second
    co2e_kg = run.derived(billed).co2e_operational_kg
    row: dict[str, Any] = {
        "timestamp": record.ended_at_utc.removesuffix("Z"),
        "project_name": record.study_name,
        "run_id": record.run_id,
        "duration": second,
        "emissions": co2e_kg,
        "emissions_rate": co2e_kg / second if co2e_kg is not None and second else None,
        "codecarbon_version": f"kilowit {__version__}",
        "tracking_mode": "machine",
        "pue": pue,
        "energy_consumed": _kwh(billed.energy_total_joule, pue),
        "cpu_utilization_percent": _percent(billed.utilization_cpu_mean_fraction),
        "gpu_utilization_percent": _percent(billed.utilization_gpu_mean_fraction),
    }
    for ours, theirs in _DEVICES.items():
        joule = getattr(billed, f"energy_{ours}_joule")
        row[f"{theirs}_energy"] = _kwh(joule, pue)
        row[f"{theirs}_power"] = joule * pue / second if joule is not None and second else None
    return row | _where(run.factors.region) | _machine(record.environment)


def _where(region: str | None) -> dict[str, Any]:
    provider, _, name = (region or "").partition("/")
    if provider in _CLOUDS:
        return {"on_cloud": "Y", "cloud_provider": provider, "cloud_region": name}
    if provider == "country":
        return {"on_cloud": "N", "country_iso_code": name}
    return {"on_cloud": "N", "region": region}


def _machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    gpus, cpu = environment.get("gpus") or [], environment.get("cpu") or {}
    system, memory = environment.get("os") or {}, environment.get("memory_byte")
    return {
        "os": " ".join(str(system[name]) for name in ("system", "release") if system.get(name)) or None,
        "python_version": environment.get("python"),
        "cpu_count": cpu.get("num_logical_cores"),
        "cpu_model": cpu.get("model"),
        "gpu_count": len(gpus) or None,
        "gpu_model": f"{len(gpus)} x {gpus[0].get('name')}" if gpus else None,
        "ram_total_size": None if memory is None else memory / 1024**3,
    }


def _kwh(joule: float | None, pue: float) -> float | None:
    return None if joule is None else joule * pue / JOULE_PER_KWH


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction
