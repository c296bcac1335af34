"""Runs reach an MLflow database whole, with their own times, once; a place is named without its secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import search_bench
from kilowit import Meter, Store, Study, mirror_runs
from kilowit.cli import main
from kilowit.errors import StoreError, StudyError
from kilowit.imported import ImportFacts
from kilowit.mirror import destination_of
from kilowit.mirror.facts import RUN_ID, params_of
from kilowit.mirror.groups import group_of, needs_parent
from kilowit.mirror.history import History
from kilowit.mirror.run_mirror import CONTENT, RunMirror
from kilowit.mirror.tracking import PARENT, Tracking
from kilowit.parts.sensor import default_sensors
from kilowit.record import Record
from kilowit.settings import MirrorSettings
from kilowit.store import RunFolder
from kilowit.store.mirrored import MirrorState, mirror_state, write_mirror_state
from report_records import study_records

mlflow = pytest.importorskip("mlflow", reason="needs MLflow: pip install 'kilowit[mlflow]'")


def write_runs(folder: Path, records: list[Record]) -> Store:
    """Leave records as a store, the first of them with a ledger of its own."""
    store = Store(folder / "runs")
    for number, record in enumerate(records):
        run = RunFolder(store.path / record.run_id)
        run.path.mkdir(parents=True)
        run.write_cell(record.cell, cell_key=record.cell_key, attempt=record.attempt)
        if number == 0:
            write_ledger(run.path)
        run.write_record(record)
    return store


def write_ledger(folder: Path) -> None:
    """Twenty-five seconds of training in no time: the clock is moved by hand."""
    now = [100.0]
    with Meter(folder, sensors=default_sensors(), period_second=None, clock=lambda: now[0]) as meter:
        with meter.phase("train"):
            for step in range(1, 6):
                now[0] += 5.0
                meter.sample()
                meter.note("progress", "", phase="train", step=step, num_steps=5, loss=3.0 / step)
        with meter.phase("predict"):
            now[0] += 1.0
            meter.note("progress", "", phase="predict", step=4, num_steps=4)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Two seeds of a recipe and a run that failed."""
    all_records = study_records()
    recipe = [r for r in all_records if r.status == "finished" and r.cell["recipe"] == "bf16"][:2]
    failed = next(r for r in all_records if r.status == "failed")
    return [*recipe, failed]


@pytest.fixture(scope="module")
def mirrored(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str, Any]]:
    """A store, the database that it was mirrored to, and a client of it."""
    folder = tmp_path_factory.mktemp("mirror")
    store, uri = write_runs(folder, records), f"sqlite:///{folder / 'mlflow.db'}"
    outcome = mirror_runs(store, uri)
    assert (outcome.num_runs, outcome.num_new, outcome.num_left_out) == (3, 3, 0)
    yield store, uri, mlflow.MlflowClient(tracking_uri=uri)


def runs_of(client: Any, study: str) -> dict[str, Any]:
    experiment = client.get_experiment_by_name(study)
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get(RUN_ID, run.info.run_name): run for run in found}


def num_points(client: Any, run: Any) -> int:
    return sum(len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics)


def test_a_run_has_its_figures_bill_params_times_and_files(
    mirrored: tuple[Store, str, Any], records: list[Record]
) -> None:
    store, _, client = mirrored
    runs = runs_of(client, records[0].study_name)
    for record in records:
        run = runs[record.run_id]
        assert run.info.status == {"finished": "FINISHED", "failed": "FAILED"}[record.status]
        assert run.info.end_time - run.info.start_time >= 0
        for phase in record.phases:
            joule = run.data.metrics.get(f"{phase.phase}/energy_total_joule")
            assert joule == phase.energy_total_joule
        known = [p.energy_total_joule for p in record.phases]
        if None not in known:
            assert run.data.metrics["bill/energy_total_joule"] == pytest.approx(sum(joule or 0 for joule in known))
            assert run.data.metrics["bill/co2e_operational_kg"] > 0
        assert {s.metric: s.value for s in record.scores}.items() <= run.data.metrics.items()
        assert run.data.params["recipe"] == record.cell["recipe"] and run.data.params["train.num_epochs"]
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"record.json", "cell.json", "bill.json"} <= files
        bill = json.loads(Path(client.download_artifacts(run.info.run_id, "bill.json")).read_text())
        assert bill["factor_ids"] and bill["wall_second"] == pytest.approx(run.data.metrics["bill/wall_second"])
    state = mirror_state(store.find(records[0].run_id))
    assert state is not None and state.problem is None and state.mlflow_run_id == runs[records[0].run_id].info.run_id


def test_the_ledger_becomes_points_at_its_own_times(mirrored: tuple[Store, str, Any], records: list[Record]) -> None:
    store, _, client = mirrored
    run = runs_of(client, records[0].study_name)[records[0].run_id]
    losses = sorted(client.get_metric_history(run.info.run_id, "train/loss"), key=lambda m: m.step)
    assert [(m.step, m.value) for m in losses] == [(step, 3.0 / step) for step in range(1, 6)]
    assert [b.timestamp - a.timestamp for a, b in pairwise(losses)] == [5000] * 4
    energy = client.get_metric_history(run.info.run_id, "so_far/energy_total_joule")
    assert sorted(m.step for m in energy) == [10, 20, 26]
    assert [p.step for p in History(store.find(records[0].run_id).ledger_path).new_points() if "progress" in p.key]


def test_seeds_have_a_parent_that_holds_their_bill_and_mean(
    mirrored: tuple[Store, str, Any], records: list[Record]
) -> None:
    _, _, client = mirrored
    runs = runs_of(client, records[0].study_name)
    seeds = [runs[r.run_id] for r in records[:2]]
    (parent_id,) = {run.data.tags[PARENT] for run in seeds}
    assert PARENT not in runs[records[2].run_id].data.tags
    parent = client.get_run(parent_id)
    for name in ("bill/energy_total_joule", "bill/wall_second"):
        assert parent.data.metrics[name] == pytest.approx(sum(run.data.metrics[name] for run in seeds))
    assert parent.data.metrics["num_runs"] == 2
    assert parent.data.metrics["rouge2_mean"] == pytest.approx(sum(r.data.metrics["rouge2"] for r in seeds) / 2)
    assert parent.data.params["recipe"] == "bf16" and "seed" not in parent.data.params


def test_a_second_export_adds_nothing_and_an_edit_is_sent(
    mirrored: tuple[Store, str, Any], records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    store, uri, client = mirrored
    before = {run_id: num_points(client, run) for run_id, run in runs_of(client, records[0].study_name).items()}
    assert mirror_runs(store, uri).num_new == 0
    state = mirror_state(store.find(records[1].run_id))
    assert state is not None
    write_mirror_state(store.find(records[1].run_id), replace(state, problem="connection refused"))
    warned = next(r for r in store.records() if r.run_id == records[1].run_id)
    assert [w for w in warned.warnings if w.startswith("mirror: not all of this run is at sqlite:///")]
    store.invalidate(records[1].run_id, "another job used the machine", "me")
    assert main(["export-records", str(store.path), uri, "--format", "mlflow"]) == 0
    out = capsys.readouterr()
    assert out.out.strip() == uri and "3 runs, 1 of them new or completed" in out.err
    runs = runs_of(client, records[0].study_name)
    ours = [record.run_id for record in records]  # the mean of their parent is another now
    assert {run_id: num_points(client, runs[run_id]) for run_id in ours} == {i: before[i] for i in ours}
    assert runs[records[1].run_id].info.status == "FAILED"
    assert not [w for r in store.records() for w in r.warnings if w.startswith("mirror:")]


def test_a_run_cut_off_on_its_way_is_completed_without_a_point_twice(
    mirrored: tuple[Store, str, Any], records: list[Record], tmp_path: Path
) -> None:
    _, uri, client = mirrored
    record = replace(records[0], study_name="cut", run_id="20261123T101530Z_cut_0000")
    store = write_runs(tmp_path, [record])
    folder = store.find(record.run_id)
    whole = folder.ledger_path.read_bytes()
    folder.ledger_path.write_bytes(whole[: whole.index(b'"step":3') + 1])  # in the midst of a line
    mirror = RunMirror(folder, Tracking(destination_of(MirrorSettings(mlflow=uri), store.path), "cut"))
    run_id = mirror.begin(None)
    mirror.follow()
    cut = client.get_run(run_id)
    assert 0 < len(client.get_metric_history(run_id, "train/loss")) < 5 and cut.info.status == "RUNNING"
    assert CONTENT not in cut.data.tags
    folder.ledger_path.write_bytes(whole)
    assert mirror_runs(store, uri).num_new == 1
    assert client.get_run(run_id).info.status == "FINISHED"
    assert sorted(m.step for m in client.get_metric_history(run_id, "train/loss")) == [1, 2, 3, 4, 5]
    assert list(runs_of(client, "cut")) == [record.run_id]


def test_imported_runs_are_left_out_and_an_empty_store_is_refused(records: list[Record], tmp_path: Path) -> None:
    facts = ImportFacts(format="codecarbon", file="emissions.csv", place="row 1", sha256="0")
    store = write_runs(tmp_path, [replace(records[0], imported=facts)])
    with pytest.raises(StoreError, match="no run of kilowit to mirror"):
        mirror_runs(store, f"sqlite:///{tmp_path / 'x.db'}")


def test_the_destination_is_the_study_s_else_the_environment_s_else_beside_the_runs(tmp_path: Path) -> None:
    job = {"MLFLOW_TRACKING_URI": "azureml://eastus.api.azureml.ms/mlflow", "MLFLOW_EXPERIMENT_ID": "7",
           "MLFLOW_RUN_ID": "job", "MLFLOW_EXPERIMENT_NAME": "team"}  # fmt: skip
    of_job = destination_of(MirrorSettings(), tmp_path, job)
    assert (of_job.tracking_uri, of_job.experiment_id, of_job.parent_run_id) == (job["MLFLOW_TRACKING_URI"], "7", "job")
    assert destination_of(MirrorSettings(experiment="mine"), tmp_path, job).experiment_id is None
    other = destination_of(MirrorSettings(mlflow="http://127.0.0.1:5000"), tmp_path, job)
    assert (other.tracking_uri, other.experiment_id, other.parent_run_id) == ("http://127.0.0.1:5000", None, None)
    beside = destination_of(MirrorSettings(), tmp_path, {})
    assert beside.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert beside.artifact_location == (tmp_path / "mlflow-artifacts").as_uri()
    secret = destination_of(MirrorSettings(mlflow="https://me:secret@host/mlflow"), tmp_path, {})
    assert secret.shown == "https://host/mlflow"
    for uri, said in (
        ("mlruns", "plain folders"),
        ("file:///tmp/mlruns", "plain folders"),
        ("htp://x", "does not track"),
    ):
        with pytest.raises(StudyError, match=said):
            mirror_runs(tmp_path, uri)
        with pytest.raises(StudyError, match=said):
            destination_of(MirrorSettings(), tmp_path, {"MLFLOW_TRACKING_URI": uri})
        with pytest.raises(StudyError, match=said):
            Study.parse(f"{{name: a, models: [lead], datasets: [docstrings], mirror: {{mlflow: '{uri}'}}}}")


def test_a_study_says_where_to_and_its_cells_stay_the_same() -> None:
    text = "{name: a, models: [lead], datasets: [docstrings]"
    plain, asked = Study.parse(text + "}"), Study.parse(text + ", mirror: {mlflow: 'sqlite:///m.db'}}")
    assert plain.mirror is None and asked.mirror == MirrorSettings(mlflow="sqlite:///m.db")
    assert Study.parse(text + "}", overrides=["mirror.mlflow=http://h:1"]).mirror == MirrorSettings(mlflow="http://h:1")
    assert plain.cells[0].key == asked.cells[0].key and plain.cells[0].to_dict() == asked.cells[0].to_dict()
    with pytest.raises(StudyError, match=r"mirror: no key"):
        Study.parse(text + ", mirror: {mlfow: x}}")


def test_trials_of_a_search_belong_together_whatever_their_settings(records: list[Record]) -> None:
    cell = records[0].cell
    template = {"model": cell["model"], "settings": cell["settings"]}
    search = {"search_key": "k", "algorithm": "random", "seed": 0, "name": "random-t000", "template": template}
    trials = [{**cell, "seed": s, "search": {**search, "trial": s}} for s in (0, 1000)]
    assert {group_of(trial).key for trial in trials} == {"k"}
    (parent,) = needs_parent(trials).values()
    assert parent.is_search and parent.name.endswith("_random_s0")
    assert needs_parent([cell]) == {}
    assert params_of(trials[1])["search.trial"] == "1000"


def test_a_mirror_state_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert mirror_state(folder) is None
    write_mirror_state(folder, MirrorState("http://h", None, "refused", ""))
    assert mirror_state(folder) == MirrorState("http://h", None, "refused", "")
    folder.mirror_path.write_text("{")
    assert mirror_state(folder) is None


def test_prices_are_refused_where_they_would_be_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-records", "runs", "sqlite:///x.db", "--format", "mlflow", "--region", "country/FR"]) == 2
    assert "mlflow takes no --region" in capsys.readouterr().err


def test_a_search_is_mirrored_as_it_runs_with_its_trials_below_it_and_the_tuning_bill_above(tmp_path: Path) -> None:
    store, uri = Store(tmp_path / "runs"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    _, said = search_bench.run(search_bench.study("random", f"mirror.mlflow={uri}", num_trials=3), store)
    assert f"mirror: {uri}" in said and "not whole" not in said
    records = store.records()
    assert len(records) == 4 and not [w for r in records for w in r.warnings if w.startswith("mirror:")]  # and a winner
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = runs_of(client, records[0].study_name)
    (parent_id,) = {runs[record.run_id].data.tags[PARENT] for record in records}
    parent = client.get_run(parent_id)
    assert parent.data.tags["kilowit.kind"] == "search" and parent.data.metrics["num_runs"] == 4
    billed = sum(phase.wall_second for record in records for phase in record.phases)
    assert parent.data.metrics["bill/wall_second"] == pytest.approx(billed)
    assert mirror_runs(store, uri).num_new == 0
