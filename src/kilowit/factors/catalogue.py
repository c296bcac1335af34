"""Every factor by name: what `kilowit parts factors NAME` lists and prints."""

from __future__ import annotations

from dataclasses import dataclass

from kilowit.errors import PartError, near_name_hint
from kilowit.factors.carbon import carbon, pue, regions
from kilowit.factors.cpu import cpu_power, dram_watt_per_gib
from kilowit.factors.device import Device, device, devices
from kilowit.factors.factor import Factor, Row, index, table
from kilowit.factors.machines import embodied, machine, machines, price_factor


@dataclass(frozen=True)
class Dataset:
    """Published counts and mean lengths of a dataset; None where nobody published them."""

    num_train_examples: int | None
    num_validation_examples: int | None
    num_test_examples: int | None
    source_tokens_mean: float | None
    target_tokens_mean: float | None
    source: str


def smartphone_charge() -> Factor:
    """Return what charging a smartphone once takes, kWh from the socket: an everyday measure for what is small."""
    (factor,) = find("constant/smartphone_charge_kwh")
    return factor


def names() -> tuple[str, ...]:
    """Return every name that `find` knows: regions, machines, GPUs, CPUs, constants."""
    gpus = [f"gpu/{name}" for name in devices()]
    cpus = [f"cpu/{row['microarchitecture']}" for row in table("cpu_power")]
    constants = sorted({f"constant/{row['name']}" for row in table("constants")})
    return ("unknown", *regions(), *machines(), *gpus, *cpus, "dram", *constants)


def find(name: str) -> list[Factor]:
    """Return the factors of a name: a region's carbon and PUE, a machine's prices, a device's power.

    Args:
        name: "azure/westus2", "country/FR", "us/CAMX", "Standard_NC24ads_A100_v4", "gpu/H100 SXM5 80GB",
            "cpu/Ice Lake", "dram", "constant/..."; "cpu/" and "gpu/" also take what the system reports.

    Raises:
        PartError: unknown, with the nearest name.
    """
    kind, _, rest = name.partition("/")
    if name.lower() in index("carbon", "name") or name == "unknown":
        return [carbon(name), pue(name)]
    if machine(name):
        prices = [price_factor(row) for row in table("prices") if row["machine"].lower() == name.lower()]
        share = embodied(name)
        return [*prices, *([share] if share else [])]
    if kind == "gpu" and (found := device(rest)):
        return _device_factors(found)
    if kind == "cpu" and rest:
        return _cpu_factors(rest)
    if name == "dram":
        watt = dram_watt_per_gib()
        return [_factor("dram", watt.likely, watt.low, watt.high, "W/GiB", watt.source)]
    if kind == "constant" and (rows := [row for row in table("constants") if row["name"] == rest]):
        return [_constant_factor(row) for row in rows]
    raise PartError(f'no factor "{name}"', hint=_hint(name))


def describe(name: str) -> str:
    """Return value, interval, basis, year and source of every factor of a name, as lines of text.

    Raises:
        PartError: unknown, with the nearest name.
    """
    return "\n\n".join(_describe_one(factor) for factor in find(name))


def checkpoint(hub_id: str) -> Row | None:
    """Return the published sizes of a checkpoint (columns of checkpoints.csv), or None."""
    return index("checkpoints", "hub_id").get(hub_id.lower())


def paper_training(family: str, dataset_name: str) -> Row | None:
    """Return published training settings (columns of paper_training.csv), or None."""
    rows = (row for row in table("paper_training") if row["family"] == family)
    return next((row for row in rows if row["dataset"] == dataset_name), None)


def paper_datasets(family: str) -> tuple[str, ...]:
    """Return the datasets that a family has published training settings for."""
    return tuple(row["dataset"] for row in table("paper_training") if row["family"] == family)


def dataset(name: str) -> Dataset | None:
    """Return published counts of a dataset by the name that a study gives it, or None."""
    wanted = name.lower()
    first_word = {row["dataset"].split()[0]: row for row in reversed(table("datasets"))}
    row = index("datasets", "dataset").get(wanted) or first_word.get(wanted)
    if row is None:
        return None

    def number(column: str) -> float | None:
        try:
            return float(row[column])
        except ValueError:
            return None

    def count(column: str) -> int | None:
        value = number(column)
        return None if value is None else int(value)

    return Dataset(
        count("train"), count("validation"), count("test"), number("avg_source_tokens"), number("avg_target_tokens"),
        row["source"],
    )  # fmt: skip


def _hint(name: str) -> str:
    lower = {known.lower(): known for known in names()}
    hint = near_name_hint(name.lower(), lower)
    if not hint.startswith("Did you"):
        return "Names look like azure/westus2, country/FR, us/CAMX, Standard_NC24ads_A100_v4, gpu/T4 16GB, cpu/Skylake."
    return f'Did you mean "{lower[hint.split(chr(34))[1]]}"?'


def _describe_one(factor: Factor) -> str:
    basis = ", ".join(part for part in (factor.basis, factor.year) if part)
    lines = [
        factor.id,
        f"  value   {factor.value:.6g} {factor.unit}  ({factor.low:.6g} .. {factor.high:.6g})",
        f"  basis   {basis}" if basis else "",
        f"  source  {factor.source}",
        f"  licence {factor.licence}" if factor.licence else "",
        f"  note    {factor.note}" if factor.note else "",
    ]
    return "\n".join(line for line in lines if line)


def _factor(name: str, value: float, low: float, high: float, unit: str, source: str, note: str = "") -> Factor:
    return Factor(id=name, name=name, value=value, low=low, high=high, unit=unit, source=source, note=note)


def _device_factors(found: Device) -> list[Factor]:
    name = f"gpu/{found.name}"
    sizes = [("tdp", found.tdp_watt, "W"), ("memory", found.memory_byte / 2**30, "GiB")]
    sizes += [("bandwidth", found.bandwidth_byte_per_second / 1e9, "GB/s")]
    if found.idle_watt is not None:
        sizes.insert(1, ("idle", found.idle_watt, "W"))
    sizes += [(dtype, rate / 1e12, "TFLOP/s dense") for dtype, rate in found.peak_flop_per_second.items()]
    return [_factor(f"{name}/{what}", v, v, v, unit, found.source, found.checked) for what, v, unit in sizes]


def _cpu_factors(model_name: str) -> list[Factor]:
    known = index("cpu_power", "microarchitecture").get(model_name.lower())
    watt = cpu_power(_as_cpu_name(known["microarchitecture"]) if known else model_name, 1)
    if known is None and watt.microarchitecture == "average" and model_name.lower() != "average":
        raise PartError(f'no factor "cpu/{model_name}"', hint=_hint(f"cpu/{model_name}"))
    idle = (watt.idle_watt_likely, watt.idle_watt_low, watt.idle_watt_high)
    full = (watt.full_watt_likely, watt.full_watt_low, watt.full_watt_high)
    name = f"cpu/{watt.microarchitecture}"
    return [
        _factor(f"{name}/idle", *idle, "W/vCPU", watt.source, watt.basis),
        _factor(f"{name}/full", *full, "W/vCPU", watt.source, watt.basis),
    ]


def _as_cpu_name(microarchitecture: str) -> str:
    """Spell a row of cpu_power.csv as a name that `cpu_power` recognises: EPYC generations have code names."""
    code_names = {"1st": "Naples", "2nd": "Rome", "3rd": "Milan", "4th": "Genoa", "5th": "Turin"}
    if microarchitecture.startswith("EPYC"):
        return f"EPYC-{code_names[microarchitecture.split()[1]]}"
    return microarchitecture


def _constant_factor(row: Row) -> Factor:
    try:
        value = float(row["value"])
    except ValueError:
        value = float("nan")
    if value != value:
        note = f"{row['value']}; {row['note']}".strip("; ")
        return _factor(f"constant/{row['name']}", 0.0, 0.0, 0.0, "formula", row["source"], note)
    return _factor(f"constant/{row['name']}", value, value, value, "", row["source"], row["note"])
