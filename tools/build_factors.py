"""Build src/kilowit/factors/tables/*.csv from a folder of facts; deterministic, standard library alone.

    python tools/build_factors.py ../shared/facts [OUTPUT_FOLDER]

A facts folder holds raw rows with their sources; a table holds one recommended row per name with the interval that
the other sources span. What is left out, and why, is said where it is left out. A test compares with a fresh build.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from factor_mappings import AWS_GRIDS, CPU_CORES, GCP_GRIDS, MODERN_MICROARCHITECTURES, REFERENCE_CPUS
from paper_training import paper_training_rows

Row = dict[str, str]
TABLES = Path(__file__).parent.parent / "src" / "kilowit" / "factors" / "tables"

EMBER = "Ember yearly electricity 2026 via Our World in Data (updated 2026-06-30)"
EGRID = "EPA eGRID2023 Summary Tables rev 2 (12 Jun 2025), Table 1, CO2e total output rate"
# Real-time-cloud carbon rows are not shipped: the terms of its data are unclear (it is copyright of its authors and
# of the grid-data vendors below them). Its PUE rows are disclosures of the cloud providers and are shipped.
SHIPPED_CARBON_METRICS = {
    "CCF factor": "Cloud Carbon Footprint",
    "grid average (Google region-carbon)": "Google region-carbon",
    "codecarbon impact.csv": "CodeCarbon impact.csv",
}
SNAPSHOTS = {
    "2022 H2": "2022H2",
    "2023-11 to 2024-03": "2023-24",
    "2024 H2": "2024H2",
    "2024-12 to 2025": "2024-25",
    "2026": "2026",
}  # oldest first


def main(arguments: list[str]) -> int:
    """Write all tables; print their sizes."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    output = Path(arguments[1]) if len(arguments) == 2 else TABLES
    build(Path(arguments[0]), output)
    for path in sorted(output.glob("*.csv")):
        print(f"{path.stat().st_size:>8}  {path.name}")
    return 0


def build(facts: Path, output: Path) -> None:
    """Write every table of the package from the facts folder."""
    output.mkdir(parents=True, exist_ok=True)

    def read(name: str) -> list[Row]:
        with (facts / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    tables: dict[str, Callable[[Callable[[str], list[Row]]], Iterable[Row]]] = {
        "carbon": carbon_rows,
        "pue": pue_rows,
        "prices": price_rows,
        "machines": machine_rows,
        "gpus": gpu_rows,
        "cpu_power": cpu_power_rows,
        "cpu_tdp": cpu_tdp_rows,
        "embodied": embodied_rows,
        "constants": constant_rows,
        "checkpoints": checkpoint_rows,
        "datasets": dataset_rows,
        "paper_training": paper_training_rows,
    }
    for name, rows in tables.items():
        _write(output / f"{name}.csv", list(rows(read)))


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _number(value: float) -> str:
    return f"{value:.6g}"


def minimum_spread(countries: list[Row]) -> float:
    """Return the median relative distance of another tool's country value from Ember's, a fraction.

    It is the least interval given to any grid factor: about half of all countries move by more than this when
    the source changes, so no single source deserves a narrower one.
    """
    distances = [
        abs(float(row[column]) / float(row["g_co2e_per_kwh"]) - 1)
        for row in countries
        for column in ("codecarbon_g_per_kwh", "eco2ai_g_per_kwh")
        if row[column]
    ]
    return round(statistics.median(distances), 3)


def _carbon(name: str, location: str, base: Row, others: list[tuple[str, float]], spread: float, note: str = "") -> Row:
    value = float(base["value"])
    values = [value * (1 - spread), value * (1 + spread), *(number for _, number in others)]
    return {
        "name": name,
        "location": location,
        "value": base["value"],
        "low": _number(min(values)),
        "high": _number(max(values)),
        "basis": base["basis"],
        "year": base["year"],
        "source_key": base["source_key"],
        "source": base["source"],
        "licence": base["licence"],
        "alternatives": "; ".join(f"{label}: {_number(number)}" for label, number in others),
        "note": note,
    }


def carbon_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield one row per country, eGRID subregion and cloud region; g CO2e per kWh."""
    countries = read("carbon_intensity_countries")
    spread = minimum_spread(countries)
    bases: dict[str, Row] = {}
    country_others: dict[str, list[tuple[str, float]]] = {}
    names: dict[str, str] = {}
    for row in countries:
        name = f"country/{row['iso2']}"
        bases[name] = {
            "value": row["g_co2e_per_kwh"],
            "basis": "lifecycle",
            "year": row["year"],
            "source_key": f"Ember{row['year']}",
            "source": EMBER,
            "licence": "CC BY 4.0",
        }
        country_others[name] = [
            (label, float(row[column]))
            for label, column in (
                (f"CodeCarbon {row['codecarbon_year']} (MIT)", "codecarbon_g_per_kwh"),
                ("eco2AI (Apache-2.0)", "eco2ai_g_per_kwh"),
            )
            if row[column]
        ]
        names[name] = row["country"]
    for row in read("carbon_intensity_us_egrid2023"):
        name = f"us/{row['egrid_subregion']}"
        bases[name] = {
            "value": row["g_co2e_per_kwh"],
            "basis": "direct",
            "year": row["year"],
            "source_key": "eGRID2023",
            "source": EGRID,
            "licence": "US federal, public domain",
        }
        names[name] = row["name"]
    for name, base in sorted(bases.items()):
        yield _carbon(name, names[name], base, country_others.get(name, []), spread)
    yield from _cloud_carbon_rows(read, bases, country_others, spread)


def _cloud_carbon_rows(
    read: Callable[[str], list[Row]],
    bases: dict[str, Row],
    country_others: dict[str, list[tuple[str, float]]],
    spread: float,
) -> Iterable[Row]:
    others: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in read("cloud_regions"):
        if row["metric"] in SHIPPED_CARBON_METRICS and float(row["g_co2e_per_kwh"]) > 0:
            licence = row["licence"].split(" (")[0]
            label = f"{SHIPPED_CARBON_METRICS[row['metric']]} {row['year']} ({licence})"
            others[f"{row['provider']}/{row['region']}"].append((label, float(row["g_co2e_per_kwh"])))
    grids = {f"aws/{region}": value for region, value in AWS_GRIDS.items()}
    grids |= {f"gcp/{region}": value for region, value in GCP_GRIDS.items()}
    for row in read("azure_regions"):
        grid = f"us/{row['egrid_subregion']}" if row["egrid_subregion"] else f"country/{row['country_iso2']}"
        grids[f"azure/{row['region']}"] = (grid, row["location"])
    for name, (grid, location) in sorted(grids.items()):
        seen = dict([*country_others.get(grid, []), *others.get(name, [])])
        yield _carbon(name, location, bases[grid], list(seen.items()), spread, note=f"the grid of {grid}")


# -- PUE --------------------------------------------------------------------------------------------------------------


def pue_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield one row per region (newest disclosure), per provider (mean of its regions) and for the industry.

    Rows of kind "trend estimate" are not shipped: they are somebody's extrapolation, not a disclosure. For Azure the
    region table decides which disclosure belongs to which region: the raw rows give two sites a wrong name.
    """
    reported: dict[str, list[Row]] = defaultdict(list)
    rows = read("pue")
    for row in rows:
        wrong_site = "do not use" in row["note"] or "mislabelled" in row["note"]
        if row["kind"] == "reported" and row["pue"] and not wrong_site:
            reported[f"{row['provider']}/{row['region']}"].append(row)
    for row in read("azure_regions"):
        if row["pue_reported"]:
            reported[f"azure/{row['region']}"].append({"pue": row["pue_reported"], "year": row["pue_year"]})
    newest: dict[str, list[float]] = defaultdict(list)
    for name, disclosures in sorted(reported.items()):
        disclosures.sort(key=lambda row: row["year"])
        values = [float(row["pue"]) for row in disclosures]
        newest[name.split("/")[0]].append(values[-1])
        yield _pue(name, values[-1], values, disclosures[-1]["year"], "disclosed by the provider, via real-time-cloud")
    for provider, values in sorted(newest.items()):
        mean = statistics.mean(values)
        yield _pue(provider, mean, values, "", f"mean of the newest disclosures of {len(values)} {provider} regions")
    industry = [row for row in rows if row["provider"] == "industry average" and row["kind"].startswith("default")]
    industry.sort(key=lambda row: row["year"])
    values = [float(row["pue"]) for row in industry]
    yield _pue("industry", values[-1], values, industry[-1]["year"], "Uptime Institute survey, as used by public tools")


def _pue(name: str, value: float, values: list[float], year: str, source: str) -> Row:
    low, high = _number(min(values)), _number(max(values))
    return {"name": name, "value": _number(value), "low": low, "high": high, "year": year, "source": source}


# -- machines ---------------------------------------------------------------------------------------------------------


def price_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield the newest price per size, region and market in USD per hour; older snapshots span low..high.

    A spot price equal to the on-demand price is the catalogue's way of saying that there is none. A row whose currency
    is unclear is left out.
    """
    snapshots: dict[tuple[str, str, str], list[tuple[str, float, Row]]] = defaultdict(list)
    for row in read("azure_vm_prices"):
        if "currency unclear" in row["source"] or "currency unclear" in row["note"]:
            continue
        for market, column in (("on_demand", "on_demand_usd_per_h"), ("spot", "spot_usd_per_h")):
            absent = not row[column] or (market == "spot" and row[column] == row["on_demand_usd_per_h"])
            if not absent:
                key = (row["vm_size"], f"azure/{row['region']}", market)
                snapshots[key].append((row["date"], float(row[column]), row))
    order = list(SNAPSHOTS)
    for (size, region, market), rows in sorted(snapshots.items()):
        rows.sort(key=lambda item: order.index(item[0]))
        date, value, row = rows[-1]
        values = [number for _, number, _ in rows]
        yield {
            "machine": size,
            "region": region,
            "market": market,
            "value": _number(value),
            "low": _number(min(values)),
            "high": _number(max(values)),
            "date": SNAPSHOTS[date],
            "source": row["source"].split(" (built")[0],
            "note": f"date {row['date_basis'].split(' from')[0]}; {len(values)} snapshot(s)",
        }


def machine_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield the GPU machines: what is in them, and how many GPUs their whole host has.

    The host is taken to be the largest size of the same series: sizes of one series are slices of one host.
    """
    rows = read("azure_gpu_vms")
    hosts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        key = (row["gpu"], row["host_cpu"])
        hosts[key] = max(hosts[key], int(row["gpus"]))
    for row in rows:
        yield {
            "machine": row["vm_size"],
            "num_gpus": row["gpus"],
            "gpu": row["gpu"],
            "num_vcpus": row["vcpus"],
            "memory_gib": row["memory_gib"],
            "host_cpu": row["host_cpu"],
            "host_num_gpus": str(hosts[(row["gpu"], row["host_cpu"])]),
            "note": row["note"],
            "source": "Azure size documentation and skypilot-org/skypilot-catalog (Apache-2.0, recalled)",
            "checked": row["checked"],
        }


def embodied_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield the embodied kg CO2e of whole hosts, by VM size."""
    for row in read("azure_gpu_vm_embodied"):
        yield {
            "machine": "Standard_" + row["vm"].replace(" ", "_"),
            "host_kg_co2e": row["total_kg_co2e"],
            "note": row["note"],
            "source": row["source"],
        }


def gpu_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield the GPU table with short sources; dense rates."""
    for row in read("gpu_specs"):
        yield {**{k: v for k, v in row.items() if k != "source"}, "source": row["source"].split(";")[0]}


# -- CPUs -------------------------------------------------------------------------------------------------------------


def cpu_power_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield idle and full watt per vCPU by microarchitecture: least, mean and most over the cloud providers.

    `tdp_watt_per_vcpu` is the share of a typical part of the generation (two vCPUs a core), from `REFERENCE_CPUS`.
    Rows marked implausible by the facts are dropped; the 5th-generation EPYC borrows the 4th's coefficients.
    """
    tdp_watt = {row["cpu"]: float(row["tdp_w"]) for row in read("cpu_tdp")}
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in read("cpu_vcpu_power_coefficients"):
        if "do not use" not in row["note"]:
            groups[row["microarchitecture"]].append(row)
    source = "cloud-carbon-footprint/ccf-coefficients output/coefficients-*-use.csv @b0032d9 2026-04-24"

    def figures(rows: list[Row], column: str, name: str) -> Row:
        values = [float(row[column]) for row in rows]
        low, likely, high = min(values), statistics.mean(values), max(values)
        return {f"{name}_low": _number(low), f"{name}_likely": _number(likely), f"{name}_high": _number(high)}

    def row_of(name: str, rows: list[Row], note: str) -> Row:
        cpu = REFERENCE_CPUS.get(name)
        share = tdp_watt[cpu] / (2 * CPU_CORES[cpu]) if cpu else None
        return {
            "microarchitecture": name,
            **figures(rows, "min_w_per_vcpu", "idle_watt"),
            **figures(rows, "max_w_per_vcpu", "full_watt"),
            "tdp_watt_per_vcpu": _number(share) if share else "",
            "tdp_part": cpu or "",
            "source": source,
            "licence": "Apache-2.0 (SPECpower results: SPEC fair use)",
            "note": note,
        }

    for name, rows in sorted(groups.items()):
        yield row_of(name, rows, rows[0]["note"])
    yield row_of("EPYC 5th Gen", groups["EPYC 4th Gen"], "the 4th's coefficients: the published 5th are implausible")
    modern = [row for name in MODERN_MICROARCHITECTURES for row in groups[name]]
    yield row_of("average", modern, "mean over the hosts of today's clouds: " + ", ".join(MODERN_MICROARCHITECTURES))


def cpu_tdp_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield TDP by CPU name, with the number of cores where we know it."""
    rows = read("cpu_tdp")
    if unknown := sorted(set(CPU_CORES) - {row["cpu"] for row in rows}):
        raise SystemExit(f"CPU_CORES names parts that the facts lack: {unknown}")
    for row in rows:
        cores = CPU_CORES.get(row["cpu"], "")
        yield {"cpu": row["cpu"], "tdp_watt": _number(float(row["tdp_w"])), "num_cores": str(cores)}


# -- the rest ---------------------------------------------------------------------------------------------------------


def constant_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield the constants of the host model, and the least interval of a grid factor."""
    yield from read("model_coefficients")
    yield {
        "name": "grid_minimum_relative_spread",
        "value": str(minimum_spread(read("carbon_intensity_countries"))),
        "source": "computed: median distance of CodeCarbon's and eco2AI's country values from Ember's",
        "note": "least interval of a grid factor, as a fraction of it",
    }
    yield {
        "name": "tdp_source",
        "value": "630 server CPUs",
        "source": "codecarbon/data/hardware/cpu_power.csv @b05965e4 2026-08-08; MIT",
        "note": "cores: vendor product pages, from memory; check before release",
    }
    yield {
        "name": "smartphone_charge_kwh",
        "value": "0.012",
        "source": "US EPA, Greenhouse Gas Equivalencies Calculator, Calculations and References: number of smartphones "
        "charged; 24 h measured by the US DOE",
        "note": "14.46 Wh a day less 22 h x 0.13 W of keeping it full: 11.6 Wh, which EPA rounds",
    }


def checkpoint_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield the published checkpoints that have a hub id and a size."""
    columns = (
        "family", "hub_id", "params_million", "encoder_layers", "decoder_layers", "d_model", "vocab", "max_positions",
        "licence", "source", "verified", "notes",
    )  # fmt: skip
    for row in read("checkpoints"):
        if "/" in row["hub_id"] and row["params_million"] and not row["hub_id"].startswith("("):
            yield {column: row[column] for column in columns}


def dataset_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield counts and mean lengths of the public datasets, for planning before anything is downloaded."""
    columns = (
        "dataset", "hub_id", "licence", "train", "validation", "test", "avg_source_words", "avg_source_tokens",
        "avg_target_words", "avg_target_tokens", "source",
    )  # fmt: skip
    for row in read("datasets"):
        yield {column: row[column] for column in columns}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
