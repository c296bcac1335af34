"""The tables of the package hold the published numbers, and are what the build script makes of the facts."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from kilowit import factors
from kilowit.factors.factor import TABLES


def test_tables_equal_a_fresh_build(shared_dir: Path, repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "tools/build_factors.py", str(shared_dir / "facts"), str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    fresh = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert fresh == {path.name: path.read_bytes() for path in TABLES.glob("*.csv")}


@pytest.mark.parametrize(
    ("region", "gram"),
    [
        ("us/SRVC", 270.5), ("us/MROW", 420.3), ("us/RFCW", 415.5), ("us/ERCT", 334.1), ("us/CAMX", 195.0),
        ("us/NWPP", 288.2), ("us/AZNM", 320.3), ("us/RMPA", 472.9), ("us/US", 349.7), ("azure/eastus", 270.5),
        ("aws/us-east-1", 270.5), ("gcp/us-central1", 420.3),
        ("country/US", 384), ("country/DE", 330), ("country/FR", 41), ("country/GB", 217), ("country/SE", 35),
        ("country/NO", 28), ("country/PL", 589), ("country/IN", 670), ("country/CN", 525), ("country/ZA", 699),
    ],
)  # fmt: skip
def test_grid_factors_are_the_published_ones(region: str, gram: float) -> None:
    """EPA eGRID2023 rev 2, table 1; Ember 2025 rounded to grams."""
    assert factors.carbon(region).value == pytest.approx(gram, abs=0.5)


def test_egrid_grams_follow_from_pounds(shared_dir: Path) -> None:
    with (shared_dir / "facts" / "carbon_intensity_us_egrid2023.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            gram = float(row["lb_co2e_per_mwh"]) * factors.KG_PER_LB
            assert factors.carbon(f"us/{row['egrid_subregion']}").value == pytest.approx(gram, abs=0.06)


@pytest.mark.parametrize(
    ("machine", "region", "on_demand", "spot"),
    [
        ("Standard_NC4as_T4_v3", "azure/eastus", 0.526, 0.068959),
        ("Standard_NC24ads_A100_v4", "azure/eastus", 3.673, 0.488876),
        ("Standard_ND40rs_v2", "azure/eastus", 22.032, 2.665872),
    ],
)
def test_prices_are_the_catalogues(machine: str, region: str, on_demand: float, spot: float) -> None:
    prices = [factors.price(machine, region, market) for market in ("on_demand", "spot")]  # type: ignore[arg-type]
    assert [p.value for p in prices if p] == [pytest.approx(on_demand), pytest.approx(spot, rel=1e-5)]


def test_no_table_ships_carbon_data_of_unclear_licence() -> None:
    with (TABLES / "carbon.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert row["licence"] in ("CC BY 4.0", "US federal, public domain")
            assert "real-time-cloud" not in row["source"] + row["alternatives"]


def test_package_data_stays_slim() -> None:
    assert sum(path.stat().st_size for path in TABLES.iterdir()) < 600_000


def test_every_row_names_its_source() -> None:
    for path in TABLES.glob("*.csv"):
        if path.stem == "cpu_tdp":  # one source for all, in constants.csv
            continue
        with path.open(encoding="utf-8") as file:
            assert all(row["source"] for row in csv.DictReader(file)), path.name


def test_datasheet_rates_are_dense() -> None:
    rates = {name: factors.device(name) for name in ("H100 SXM5 80GB", "A100 SXM4 80GB", "V100 SXM2 16GB", "T4 16GB")}
    half = [d.peak_flop_per_second["fp16"] / 1e12 for d in rates.values() if d]
    assert half == [989, 312, 125, 65]
