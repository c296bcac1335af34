"""Records leave in formats of other tools, and what left as emissions.csv reads back as it was."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kilowit import Store, export_records, import_runs
from kilowit.cli import main
from kilowit.errors import PartError, StoreError
from kilowit.exchange.write_codecarbon import COLUMNS
from kilowit.record import Record
from kilowit.report.runs import Run
from report_records import study_records

# What the schemas of BoAmps (commit 01f4c8e) require, by path.
REQUIRED = {
    "": {"task", "measures", "infrastructure"},
    "header": {"reportDatetime"},
    "task": {"taskStage", "taskFamily", "algorithms", "dataset"},
    "infrastructure": {"infraType", "components"},
    "system": {"os"},
    "software": {"language"},
}
# ... and the properties that they know, of the objects that we fill.
KNOWN = {
    "header": {"licensing", "formatVersion", "formatVersionSpecificationUri", "reportId", "reportDatetime",
               "reportStatus", "publisher"},
    "task": {"taskStage", "taskFamily", "nbRequest", "algorithms", "dataset", "measuredAccuracy", "estimatedAccuracy",
             "taskDescription"},
    "infrastructure": {"infraType", "cloudProvider", "cloudInstance", "cloudService", "components"},
    "environment": {"country", "latitude", "longitude", "location", "powerSupplierType", "powerSource",
                    "powerSourceCarbonIntensity"},
}  # fmt: skip


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Six runs one after another, as they were on one machine."""
    finished = [r for r in study_records() if r.status == "finished"][:6]
    return [replace(r, ended_at_utc=f"2026-11-{i:02}T10:00:00Z") for i, r in enumerate(finished, start=1)]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_emissions_csv_reads_back_with_the_energies_and_the_co2e_that_left(
    records: list[Record], tmp_path: Path
) -> None:
    exported = export_records(records, tmp_path / "out", "codecarbon")
    rows = read_csv(exported.files[0])
    assert tuple(rows[0]) == COLUMNS and len(rows) == exported.num_runs == len(records)
    back = [run.record for run in import_runs(exported.files, tmp_path / "runs", region="azure/westus2").runs]
    for record, row, again in zip(records, rows, back, strict=True):
        billed = Run(record).billed
        [phase] = again.phases
        for name in ("wall_second", "energy_gpu_joule", "energy_cpu_joule", "energy_dram_joule", "energy_total_joule"):
            assert getattr(phase, name) == pytest.approx(getattr(billed, name), rel=1e-12), name
        assert again.imported is not None and again.imported.tool_version == row["codecarbon_version"]
        assert again.imported.stated["co2e_kg"] == float(row["emissions"])
        assert row["codecarbon_version"].startswith("kilowit ")
        assert [c.kind for c in again.imported.contradictions] == []  # its parts, rates and grid agree


def test_emissions_csv_leaves_empty_what_is_unknown(records: list[Record], tmp_path: Path) -> None:
    bare = [replace(p, **dict.fromkeys([n for n in vars(p) if n.endswith(("_joule", "_low", "_high"))]))  # type: ignore[arg-type]
            for p in records[0].phases]  # fmt: skip
    exported = export_records([replace(records[0], phases=bare)], tmp_path / "out", "codecarbon")
    [row] = read_csv(exported.files[0])
    assert row["energy_consumed"] == row["emissions"] == row["gpu_power"] == "" and float(row["duration"]) > 0


def test_an_energy_that_one_phase_does_not_know_is_no_total_in_any_format(
    records: list[Record], tmp_path: Path
) -> None:
    record = next(r for r in records if r.phase("train"))
    blind = [replace(p, energy_total_joule=None) if p.phase == "train" else p for p in record.phases]
    run = replace(record, phases=blind)
    [row] = read_csv(export_records([run], tmp_path / "csv", "codecarbon").files[0])
    assert row["energy_consumed"] == row["emissions"] == "" and float(row["gpu_energy"]) > 0
    [report] = export_records([run], tmp_path / "boamps", "boamps").files
    assert report.name.endswith("_inference.json")
    [card] = export_records([run], tmp_path / "card", "model-card").files
    assert "co2_eq_emissions" not in card.read_text()


def test_boamps_reports_have_what_the_schema_requires_and_nothing_that_it_does_not_know(
    records: list[Record], tmp_path: Path
) -> None:
    exported = export_records(records, tmp_path / "out", "boamps", region="country/FR")
    stages = {path.stem.rpartition("_")[2] for path in exported.files}
    assert "inference" in stages and stages <= {"training", "finetuning", "inference"}
    for path in exported.files:
        report: dict[str, Any] = json.loads(path.read_text())
        for place, names in REQUIRED.items():
            assert names <= (report[place] if place else report).keys()
        for place, names in KNOWN.items():
            assert report[place].keys() <= names
        assert all({"dataUsage", "dataType"} <= text.keys() for text in report["task"]["dataset"])
        assert all({"componentType", "nbComponent"} <= part.keys() for part in report["infrastructure"]["components"])
        assert report["environment"] == {"country": "FR", "powerSourceCarbonIntensity": pytest.approx(41, abs=5)}
        assert "null" not in path.read_text()
    again = export_records(records, tmp_path / "again", "boamps", region="country/FR")
    assert [p.read_bytes() for p in again.files] == [p.read_bytes() for p in exported.files]


def test_boamps_energy_is_that_of_its_stage_in_kwh(records: list[Record], tmp_path: Path) -> None:
    record = next(r for r in records if r.phase("predict"))
    exported = export_records([record], tmp_path / "out", "boamps")
    report = json.loads(next(p for p in exported.files if p.name.endswith("inference.json")).read_text())
    predict = record.phase("predict")
    assert predict is not None and predict.energy_total_joule is not None
    assert report["measures"][0]["powerConsumption"] == pytest.approx(predict.energy_total_joule / 3.6e6)


def test_model_cards_state_emissions_in_grams(records: list[Record], tmp_path: Path) -> None:
    exported = export_records(records, tmp_path / "out", "model-card")
    for path in exported.files:
        front = yaml.safe_load(path.read_text().split("---")[1])
        assert front["co2_eq_emissions"]["emissions"] > 0
        assert front["co2_eq_emissions"]["training_type"] in ("pre-training", "fine-tuning")
        assert front["co2_eq_emissions"]["geographical_location"] == "azure/westus2"
    other = export_records(records, tmp_path / "other", "model-card", region="country/PL")
    dirty = yaml.safe_load(other.files[0].read_text().split("---")[1])["co2_eq_emissions"]
    clean = yaml.safe_load(exported.files[0].read_text().split("---")[1])["co2_eq_emissions"]
    assert dirty["emissions"] > clean["emissions"]


def test_csv_and_parquet_hold_the_tables_of_a_query(records: list[Record], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    as_csv = export_records(records, tmp_path / "csv", "csv")
    as_parquet = export_records(records, tmp_path / "parquet", "parquet")
    assert [p.stem for p in as_csv.files] == [p.stem for p in as_parquet.files] == ["run", "phase", "score", "serving"]
    rows, table = read_csv(tmp_path / "csv" / "phase.csv"), parquet.read_table(tmp_path / "parquet" / "phase.parquet")
    assert len(rows) == table.num_rows == sum(len(r.phases) for r in records)
    seconds = [p.wall_second for r in records for p in r.phases]
    assert table["wall_second"].to_pylist() == [float(row["wall_second"]) for row in rows] == seconds


def test_imported_runs_are_left_out_where_a_format_cannot_mark_them(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emissions = export_records(records, tmp_path / "out", "codecarbon").files
    runs = tmp_path / "runs"
    import_runs(emissions, runs)
    with pytest.raises(StoreError, match="no run of kilowit to write as codecarbon"):
        export_records(Store(runs).records(), tmp_path / "second", "codecarbon")
    assert main(["export-records", str(runs), str(tmp_path / "tables"), "--format", "csv"]) == 0
    assert "run.csv" in capsys.readouterr().out
    assert all(row["imported"] for row in read_csv(tmp_path / "tables" / "run.csv"))
    both = [*records, *Store(runs).records()]
    assert export_records(both, tmp_path / "third", "codecarbon").num_left_out == len(records)


def test_an_unknown_format_and_a_folder_that_is_there_are_refused(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(PartError, match='Did you mean "parquet"'):
        export_records(records, tmp_path / "out", "parket")
    with pytest.raises(StoreError, match="is there already"):
        export_records(records, tmp_path, "csv")
