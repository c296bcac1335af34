"""Files of other tools become records: what is known, nothing for what is not, and a finding for each contradiction."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kilowit import Store, import_runs
from kilowit.cli import main
from kilowit.errors import DataError, KilowitError, PartError, StoreError
from kilowit.record import Record

KWH = 3_600_000.0


def emissions_row(**changes: Any) -> dict[str, Any]:
    """A row as CodeCarbon 3.3 writes it, every figure of it consistent: 100 s at 720 W in France."""
    kwh = {"cpu_energy": 0.002, "gpu_energy": 0.017, "ram_energy": 0.001}
    row = {
        "timestamp": "2026-11-23T10:01:40", "project_name": "train", "run_id": "r0", "duration": 100.0,
        "emissions": 0.02 * 0.041, "emissions_rate": 0.02 * 0.041 / 100, "cpu_power": 72.0, "gpu_power": 612.0,
        "ram_power": 36.0, **kwh, "energy_consumed": 0.02, "country_name": "France", "gpu_count": 2,
        "gpu_model": "2 x NVIDIA A100-SXM4-80GB", "cpu_model": "AMD EPYC", "codecarbon_version": "3.3.2",
        "tracking_mode": "machine", "gpu_utilization_percent": 80.0, "python_version": "3.11.9", "os": "Linux",
    }  # fmt: skip
    return row | changes


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def imported(tmp_path: Path, *files: Path, **options: Any) -> list[Record]:
    return [run.record for run in import_runs(files, tmp_path / "runs", **options).runs]


def kinds(record: Record) -> set[str]:
    assert record.imported is not None
    return {contradiction.kind for contradiction in record.imported.contradictions}


def test_a_consistent_row_of_codecarbon_becomes_a_record_without_contradictions(tmp_path: Path) -> None:
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions.csv", [emissions_row()]), region="country/FR")
    [phase] = record.phases
    assert kinds(record) <= {"grid_intensity"}
    assert (phase.phase, phase.wall_second, phase.energy_total_joule) == ("unsplit", 100.0, 0.02 * KWH)
    assert phase.energy_gpu_joule == pytest.approx(0.017 * KWH) and phase.energy_dram_joule == 0.001 * KWH
    assert (phase.energy_other_joule, phase.energy_other_source) == (None, "none:not_in_file")
    assert record.started_at_utc == "2026-11-23T10:00:00" and record.run_id.startswith("20261123T100000Z_imported-")
    assert record.imported is not None and record.imported.stated["co2e_kg"] == pytest.approx(0.02 * 0.041)
    assert record.cell["factors"]["region"] == "country/FR"


def test_rows_of_ranks_on_one_node_are_one_run_and_never_their_sum(tmp_path: Path) -> None:
    rows = [emissions_row(run_id=f"rank{i}", energy_consumed=0.02 + i * 1e-5, timestamp=f"2026-11-23T10:01:4{i}")
            for i in range(8)]  # fmt: skip
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions.csv", rows))
    assert "rank_rows" in kinds(record)
    [phase] = record.phases
    assert 0.02 * KWH <= (phase.energy_total_joule or 0) <= 0.02007 * KWH
    assert phase.energy_total_joule_low == 0.02 * KWH and phase.energy_total_joule_high == pytest.approx(0.02007 * KWH)
    assert record.imported is not None and record.imported.stated["num_rows"] == 8


def test_rows_one_after_another_or_on_other_machines_are_runs_of_their_own(tmp_path: Path) -> None:
    rows = [
        emissions_row(), emissions_row(run_id="r1", timestamp="2026-11-23T10:03:20"),
        emissions_row(run_id="r2", gpu_model="2 x NVIDIA H100 80GB HBM3"),
    ]  # fmt: skip
    records = imported(tmp_path, write_csv(tmp_path / "emissions.csv", rows))
    assert len(records) == 3 and not any("rank_rows" in kinds(record) for record in records)


def test_rows_of_process_mode_stay_apart_and_their_gpu_energy_is_doubted(tmp_path: Path) -> None:
    rows = [emissions_row(run_id=f"r{i}", tracking_mode="process") for i in range(2)]
    records = imported(tmp_path, write_csv(tmp_path / "emissions.csv", rows))
    assert len(records) == 2 and all("rank_rows" in kinds(record) for record in records)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"energy_consumed": 0.03, "emissions": 0.03 * 0.041, "emissions_rate": 0.03 * 0.041 / 100}, "components"),
        ({"emissions_rate": 0.02 * 0.041}, "rate"),
        ({"cpu_power": 720.0}, "power_time"),
        ({"gpu_count": 1, "gpu_model": "Tesla T4"}, "device_limit"),
        ({"emissions": 0.02 * 0.0039, "emissions_rate": 0.02 * 0.0039 / 100}, "grid_intensity"),
    ],
)
def test_a_row_that_contradicts_itself_is_flagged_by_kind(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions.csv", [emissions_row(**changes)]))
    assert kind in kinds(record)
    assert any(warning.startswith(f"{kind}: ") for warning in record.warnings)


def test_zero_energy_of_no_gpu_is_unknown_rather_than_zero(tmp_path: Path) -> None:
    row = emissions_row(gpu_count="", gpu_model="", gpu_power=0.0, gpu_energy=0.0, energy_consumed=0.003)
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions.csv", [row]))
    [phase] = record.phases
    assert (phase.energy_gpu_joule, phase.energy_gpu_source) == (None, "none:no_gpu")
    assert "components" not in kinds(record)


def test_the_pue_in_a_file_is_taken_out_of_its_energies_and_left_in_its_co2e(tmp_path: Path) -> None:
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions.csv", [emissions_row(pue=1.25)]), region="country/FR")
    assert record.phases[0].energy_total_joule == pytest.approx(0.02 / 1.25 * KWH)
    assert record.imported is not None and record.imported.stated["pue"] == 1.25
    assert "grid_intensity" not in kinds(record)  # 41 g/kWh of the grid, each kWh of the devices 1.25 times


def test_rows_that_flush_wrote_of_one_run_count_once(tmp_path: Path) -> None:
    early = emissions_row(duration=50.0, energy_consumed=0.01, timestamp="2026-11-23T10:00:50")
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions.csv", [early, emissions_row()]))
    assert kinds(record) == {"repeated_rows"} and record.phases[0].wall_second == 100.0


def test_columns_of_the_first_releases_suffice(tmp_path: Path) -> None:
    row = {"timestamp": "2021-06-04T11:00:00", "experiment_id": "e", "project_name": "p", "duration": 4.0,
           "emissions": 0.0002976, "energy_consumed": 0.001, "country_name": "USA"}  # fmt: skip
    [record] = imported(tmp_path, write_csv(tmp_path / "emissions-scoped.csv", [row]))
    assert record.phases[0].energy_gpu_joule is None and record.phases[0].energy_total_joule == 3600.0
    assert record.phases[0].energy_gpu_source == "none:not_in_file"
    assert record.imported is not None and record.imported.tool_version is None


def test_hugging_face_results_become_phases_and_scores_in_unit_interval(tmp_path: Path) -> None:
    results = {
        "epoch": 3.0, "train_runtime": 10.0, "train_samples": 100, "train_samples_per_second": 30.0, "train_loss": 1.2,
        "total_flos": 1e12, "predict_runtime": 4.0, "predict_samples": 20, "predict_samples_per_second": 5.0,
        "predict_rouge1": 53.5, "predict_gen_len": 30.1,
    }  # fmt: skip
    [record] = imported(tmp_path, write_json(tmp_path / "out" / "all_results.json", results))
    train, predict = record.phases
    assert (train.phase, train.wall_second, train.flop_total, train.loss_last) == ("train", 10.0, 1e12, 1.2)
    assert train.energy_total_joule is None and train.energy_total_source == "none:not_in_file"
    assert record.scores[0].value == 0.535 and record.scores[0].num_examples == predict.num_examples == 20
    assert record.imported is not None and record.imported.stated["predict_gen_len"] == 30.1
    assert not kinds(record) and record.started_at_utc == "" and record.run_id.startswith("00000000T000000Z")


def test_a_rate_that_its_time_belies_is_flagged(tmp_path: Path) -> None:
    results = {"predict_runtime": 4.0, "predict_samples": 20, "predict_samples_per_second": 50.0}
    [record] = imported(tmp_path, write_json(tmp_path / "out" / "all_results.json", results))
    assert kinds(record) == {"rate"}


def test_a_trainer_state_gives_first_and_last_loss_and_is_doubted_where_its_log_goes_further(tmp_path: Path) -> None:
    state = {"global_step": 2, "log_history": [
        {"step": 1, "loss": 3.0, "epoch": 0.5}, {"step": 4, "loss": 2.0, "epoch": 1.0},
        {"step": 4, "train_runtime": 8.0, "train_loss": 2.5, "total_flos": 5.0},
    ]}  # fmt: skip
    [record] = imported(tmp_path, write_json(tmp_path / "out" / "trainer_state.json", state))
    assert (record.phases[0].loss_first, record.phases[0].loss_last) == (3.0, 2.0)
    assert kinds(record) == {"two_values"}


def test_an_energy_beside_a_training_of_another_length_is_flagged(tmp_path: Path) -> None:
    csv_path = write_csv(tmp_path / "emissions.csv", [emissions_row()])
    results = write_json(tmp_path / "all_results.json", {"train_runtime": 900.0})
    energy, _ = imported(tmp_path, csv_path, results)
    assert "another_run" in kinds(energy)


def test_impact_tracker_powers_are_integrated_over_the_machine(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 1e9 + t, "rapl_power_draw_absolute": 50.0, "rapl_estimated_attributable_power_draw": 40.0,
         "nvidia_draw_absolute": 200.0, "nvidia_estimated_attributable_power_draw": 150.0}
        for t in (0, 2, 4, 10)
    ]  # fmt: skip
    path = tmp_path / "exp" / "impacttracker" / "data.json"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(json.dumps(line) for line in lines))
    [record] = imported(tmp_path, path)
    [phase] = record.phases
    assert (phase.wall_second, phase.energy_cpu_joule, phase.energy_gpu_joule) == (10.0, 500.0, 2000.0)
    assert phase.energy_total_joule == 2500.0 and not kinds(record)
    assert record.imported is not None and record.imported.stated["energy_gpu_attributed_joule"] == 1500.0
    lines[0]["rapl_estimated_attributable_power_draw"] = 60.0
    lines.append({**lines[1], "timestamp": 1e9 + 500})
    path.write_text("\n".join(json.dumps(line) for line in lines))
    assert kinds(imported(tmp_path, path)[0]) == {"components", "sampling_gap"}


def monitor_answer(minutes: dict[str, float], interval: str = "PT1M", run: str = "b8ad") -> dict[str, Any]:
    labels = [{"name": {"value": "runid"}, "value": run}, {"name": {"value": "deviceid"}, "value": "0"}]
    energy = [{"timeStamp": at, "total": joule} for at, joule in minutes.items()]
    used = [{"timeStamp": at, "average": 60.0} for at in minutes]
    return {"interval": interval, "timespan": "a/b", "value": [
        {"name": {"value": "GpuEnergyJoules"}, "timeseries": [{"metadatavalues": labels, "data": energy}]},
        {"name": {"value": "GpuUtilization"}, "timeseries": [{"metadatavalues": labels, "data": used}]},
    ]}  # fmt: skip


def test_azure_monitor_minutes_become_gpu_energy_and_no_total(tmp_path: Path) -> None:
    minutes = {f"2026-11-23T10:0{i}:00Z": 1000.0 * (i + 1) for i in range(4)}
    [record] = imported(tmp_path, write_json(tmp_path / "metrics.json", monitor_answer(minutes)))
    [phase] = record.phases
    assert (phase.wall_second, phase.energy_gpu_joule, phase.energy_total_joule) == (240.0, 10_000.0, None)
    assert (phase.energy_gpu_joule_low, phase.energy_gpu_joule_high) == (5000.0, 10_000.0)
    assert phase.utilization_gpu_mean_fraction == pytest.approx(0.6) and not kinds(record)


def test_azure_monitor_contradictions_are_flagged(tmp_path: Path) -> None:
    minutes = {"2026-11-23T10:00:00Z": 0.0, "2026-11-23T10:01:00Z": 5000.0, "2026-11-23T10:03:00Z": 6000.0}
    day = monitor_answer({"2026-11-23T00:00:00Z": 5000.0}, interval="P1D")
    path = write_json(tmp_path / "metrics.json", [monitor_answer(minutes), day])
    assert kinds(imported(tmp_path, path)[0]) == {"zero_energy", "sampling_gap", "window_cut"}


def test_an_average_of_energy_is_refused_with_the_query_to_make(tmp_path: Path) -> None:
    answer = monitor_answer({"2026-11-23T10:00:00Z": 1.0})
    answer["value"][0]["timeseries"][0]["data"] = [{"timeStamp": "2026-11-23T10:00:00Z", "average": 5.0}]
    with pytest.raises(DataError, match="--aggregation Total"):
        imported(tmp_path, write_json(tmp_path / "metrics.json", answer))


def mlflow_database(path: Path) -> Path:
    """The tables of mlflow 3.17 that are read, with one run of 100 s."""
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE runs (run_uuid, name, status, start_time, end_time, lifecycle_stage);"
            "CREATE TABLE latest_metrics (key, value, timestamp, step, is_nan, run_uuid);"
            "CREATE TABLE params (key, value, run_uuid); CREATE TABLE tags (key, value, run_uuid);"
            "INSERT INTO runs VALUES ('abc', 'bart', 'FINISHED', 1700000000000, 1700000100000, 'active');"
            "INSERT INTO runs VALUES ('gone', 'x', 'FINISHED', 1, 2, 'deleted');"
            "INSERT INTO latest_metrics VALUES ('train_runtime', 80.0, 0, 0, 0, 'abc'), ('odd', 0, 0, 0, 1, 'abc');"
            "INSERT INTO params VALUES ('model_name_or_path', 'facebook/bart-large', 'abc');"
        )
    database.close()
    return path


def test_mlflow_runs_are_read_from_the_database_without_the_package(tmp_path: Path) -> None:
    [record] = imported(tmp_path, mlflow_database(tmp_path / "mlflow.db"))
    assert [(p.phase, p.wall_second) for p in record.phases] == [("train", 80.0), ("unsplit", 20.0)]
    assert record.model is not None and record.model.name == "bart-large"
    assert record.started_at_utc == "2023-11-14T22:13:20Z" and not kinds(record)


def test_an_mlflow_run_shorter_than_its_phases_is_flagged(tmp_path: Path) -> None:
    run = {"info": {"run_id": "abc", "start_time": 0, "end_time": 50_000, "status": "FAILED"},
           "data": {"metrics": {"train_runtime": 80.0}}}  # fmt: skip
    [record] = imported(tmp_path, write_json(tmp_path / "runs.json", [run]))
    assert kinds(record) == {"two_values"} and record.status == "failed"


def test_a_second_import_changes_nothing_and_another_region_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "emissions.csv", [emissions_row()])
    first = import_runs([path], tmp_path / "runs")
    again = import_runs([path], tmp_path / "runs")
    assert [run.is_new for run in (*first.runs, *again.runs)] == [True, False]
    assert first.runs[0].record == again.runs[0].record == Store(tmp_path / "runs").records()[0]
    with pytest.raises(StoreError, match="imported before"):
        import_runs([path], tmp_path / "runs", region="country/FR")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("emissions.csv", "timestamp,duration,emissions,energy_consumed\n", "no row"),
        ("emissions.csv", "timestamp,duration,emissions,energy_consumed\n2026,x,1,1\n", "duration is no number"),
        ("emissions.csv", "timestamp,duration,emissions,energy_consumed\nnoon,1,1,1\n", "timestamp is no time"),
        ("notes.txt", "hello", "no format that is known"),
        ("all_results.json", '{"train_runtime": ', "not JSON"),
        ("mlflow.db", "SQLite format 3\0garbage", "no database of MLflow"),
        ("data.json", '{"timestamp": 1, "nvidia_draw_absolute": 3}\n', "a time needs two"),
        ("m.json", '{"value": [{"timeseries": 3, "name": {"value": "GpuEnergyJoules"}}], "interval": "PT1M"}', "Azure"),
    ],
)
def test_a_file_that_cannot_be_read_gives_one_error_with_its_place(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(KilowitError, match=message) as raised:
        imported(tmp_path, path)
    assert name in str(raised.value.place) and not (tmp_path / "runs").exists()


def test_an_unknown_format_or_machine_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "emissions.csv", [emissions_row()])
    with pytest.raises(PartError, match='Did you mean "codecarbon"'):
        imported(tmp_path, path, format="code_carbon")
    with pytest.raises(PartError, match="no machine"):
        imported(tmp_path, path, machine="Standard_NC24")


def test_imported_runs_show_in_report_show_and_query_and_in_no_table_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = write_csv(tmp_path / "emissions.csv", [emissions_row(cpu_power=720.0)]), str(tmp_path / "runs")
    assert main(["import", str(path), "--store", runs]) == 0
    out, err = capsys.readouterr()
    run_id = out.splitlines()[1].split("\t")[0]
    assert "contradiction: power_time: cpu" in err
    assert main(["show", run_id, "--store", runs]) == 0
    assert "none of its figures was measured by kilowit" in capsys.readouterr().out
    assert main(["query", "select json_extract(imported, '$.format') from run", "--store", runs]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "codecarbon"
    assert main(["report", runs]) == 0
    page = (tmp_path / "runs" / "report" / "index.md").read_text()
    before, _, own = page.partition("## Imported runs")
    assert run_id in own and run_id not in before and "power_time" in own
