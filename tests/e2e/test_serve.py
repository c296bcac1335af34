"""A cell is trained, served by two runtimes, summarized from and exported, all through the real worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import worker_cells
from kilowit.cli import main
from kilowit.record import Record
from kilowit.report import contents_of

SERVE = "{runtimes: [torch_fast, {name: torch, precision: bf16}], num_documents: 6, batch_size: 4, rate_per_second: 50}"
SCENARIOS = ["single_stream", "fixed_batch", "random_arrivals", "offline"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """The folder of a run that was served and kept its model, and its record."""
    folder = tmp_path_factory.mktemp("served")
    overrides = [f"serve={SERVE}", "measure.keep_model=true", "predict.runtime=torch_fast", "factors.region=country/FR"]
    record = worker_cells.run(folder, overrides=overrides)
    assert record.status == "finished", record.error_message
    return folder / "runs" / record.run_id, record


def test_every_runtime_is_served_in_every_scenario(served: tuple[Path, Record]) -> None:
    _, record = served
    assert [s.label for s in record.serving] == ["torch_fast fp32", "torch bf16"]
    for runtime in record.serving:
        assert runtime.error_message is None
        assert runtime.disk_byte and runtime.export_second and runtime.load_joule
        assert [s.scenario for s in runtime.scenarios] == SCENARIOS
        for row in runtime.scenarios:
            assert (row.num_examples, row.num_unserved) == (6, 0)
            assert row.energy_total_joule_low <= row.energy_total_joule <= row.energy_total_joule_high  # type: ignore[operator]
            assert row.num_output_tokens > 0 and row.warmup_second > 0
            assert (row.latency_p50_second is None) == (row.scenario == "offline")


def test_the_bill_of_serving_stands_apart_and_adds_up(served: tuple[Path, Record]) -> None:
    _, record = served
    rows = [row for runtime in record.serving for row in runtime.scenarios]
    phase = record.phase("serve")
    assert phase is not None
    assert phase.num_examples == 2 * 4 * 6
    assert phase.wall_second == pytest.approx(sum(row.wall_second for row in rows), rel=1e-3)
    assert phase.energy_total_joule == pytest.approx(sum(row.energy_total_joule or 0 for row in rows), rel=0.02)
    for name in ("serve_export", "serve_load", "serve_warmup", "serve_reference"):
        assert record.phase(name) is not None


def test_what_the_runtimes_wrote_is_set_beside_pytorch_in_fp32(served: tuple[Path, Record]) -> None:
    _, record = served
    fast, half = (runtime.agreement for runtime in record.serving)
    assert fast is not None and half is not None
    assert (fast.num_examples, fast.identical_fraction, fast.token_match_fraction) == (6, 1.0, 1.0)
    assert {d.metric for d in half.differences} == {"rouge1", "rouge2", "rougeL", "rougeLsum"}


def test_nothing_is_left_in_the_run_folder_but_the_model(served: tuple[Path, Record]) -> None:
    folder, _ = served
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["model"]


def test_the_record_comes_back_as_it_was_written(served: tuple[Path, Record]) -> None:
    _, record = served
    assert Record.from_json(record.to_json()) == record


def test_the_report_shows_runtimes_agreement_and_break_even(served: tuple[Path, Record]) -> None:
    _, record = served
    tables = {table.name: table for table in contents_of([record]).tables}
    assert len(tables["serving"].rows) == len(tables["break_even"].rows) == 8
    assert len(tables["serving_agreement"].rows) == len(tables["serving_setup"].rows) == 2


def test_a_runtime_that_fails_is_a_result_and_the_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kilowit.parts.runtimes import torch_fast

    def no_memory(*_: object) -> None:
        raise MemoryError("no room for the graphs")

    monkeypatch.setattr(torch_fast, "load", no_memory)
    serve = "{runtimes: [torch_fast, torch], scenarios: [offline], num_documents: 2, batch_size: 2}"
    record = worker_cells.run(tmp_path, overrides=[f"serve={serve}"])
    assert (record.status, record.error_phase) == ("finished", None)
    broken, whole = record.serving
    assert "out_of_memory_host" in str(broken.error_message)
    assert whole.error_message is None and len(whole.scenarios) == 1
    assert any("torch_fast failed" in warning for warning in record.warnings)


def test_summaries_of_a_run_go_to_stdout_and_its_bill_to_stderr(
    served: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = served
    rows = [json.dumps({"text": f"return the value {i}"}) for i in range(3)]
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8")
    command = ["summarize", str(tmp_path / "in.jsonl"), "--model", str(folder), "--column", "text"]
    assert main([*command, "--num-beams", "1", "--region", "country/FR"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert all(word in err for word in ("3 summaries", "load ", "serve ", "each ", "CO2e ", "energy|"))
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["summaries"]) == found["num_summaries"] == 3
    assert found["metered"]["total"]["energy_total_joule"] > 0


def test_a_run_is_shown_and_queried_with_what_it_served(
    served: tuple[Path, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = served
    store = ["--store", str(folder.parent)]
    assert main(["show", record.run_id, *store]) == 0
    assert "torch_fast fp32\toffline\t" in capsys.readouterr().out
    sql = "select runtime, scenario, energy_total_joule / num_examples as joule from serving where joule > 0"
    assert main(["query", sql, *store]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 8


def test_an_export_of_a_run_tells_its_data_bills_quality_and_signature(
    served: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = served
    out = tmp_path / "out"
    assert main(["export", str(folder), str(tmp_path / "fast"), "--runtime", "torch_fast"]) == 0
    scored = yaml.safe_load((tmp_path / "fast" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert scored["model-index"][0]["results"][0]["metrics"][0]["type"] == "rouge1"
    capsys.readouterr()
    assert main(["export", str(folder), str(out), "--runtime", "torch", "--precision", "bf16"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    card = (out / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["co2_eq_emissions"]["emissions"] > 0
    assert front["co2_eq_emissions"]["geographical_location"] == "country/FR"
    assert "model-index" not in front  # the run was scored on torch_fast in fp32
    for text in ("## Data", "| training |", "| this export |", "| offline |", "are identical", "## Licence"):
        assert text in card
    assert record.measurement_signature in card
    assert main(["export", str(folder), str(out)]) == 4
    assert "is there already" in capsys.readouterr().err


def test_a_server_of_a_run_says_what_its_training_took_and_when_serving_passes_it(served: tuple[Path, Record]) -> None:
    for package in ("fastapi", "prometheus_client", "httpx2"):
        pytest.importorskip(package)
    from starlette.testclient import TestClient

    from endpoint_bench import SteadySensor
    from kilowit.endpoint import EndpointSettings, Engine, models_to_serve
    from kilowit.endpoint.app import create_app
    from kilowit.meter import Meter
    from kilowit.serving.making import making_figures

    folder, record = served
    (model,) = models_to_serve([str(folder)], [])
    assert model.making is not None
    settings = EndpointSettings()
    engine = Engine({model.name: model.load}, settings, meter=Meter(sensors=[SteadySensor()]))  # type: ignore[list-item]
    engine.making = {model.name: model.making}
    engine.start()
    try:
        client = TestClient(create_app(engine, settings))
        answers = [client.post("/v1/summarize", json={"text": "return the value"}).json() for _ in range(3)]
        told = client.get("/v1/totals").json()["models"][model.name]
    finally:
        engine.close()
    made_joule = making_figures(record).energy_total_joule
    assert made_joule and told["making"]["energy_joule"] == pytest.approx(made_joule, rel=1e-5)
    assert told["making"]["co2e_gram"] > 0
    each_joule = sum(answer["bill"]["energy_joule"] for answer in answers) / len(answers)
    assert told["break_even_summaries"] == pytest.approx(made_joule / each_joule, rel=0.01, abs=1)
