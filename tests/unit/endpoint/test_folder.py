"""The folder of a server reports like one of a run: by hour, model and client, idling apart, equal to the meter."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kilowit.endpoint.books import BOOKS_NAME
from kilowit.endpoint.folder import read_serving_folder
from kilowit.errors import StoreError, StudyError
from kilowit.statistics.quantile_sketch import ERROR_FRACTION, QuantileSketch

TEXT = "return the value of the list"
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def served(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sessions; the first answered 6 documents of two clients and refused one request."""
    from starlette.testclient import TestClient

    from endpoint_bench import running_engine
    from kilowit.endpoint.app import create_app
    from kilowit.settings import FactorSettings

    folder = tmp_path_factory.mktemp("served")
    placed = FactorSettings(region="azure/westus2", machine="Standard_NC24ads_A100_v4")
    with running_engine(exported, folder, max_waiting=4, factors=placed) as engine:
        client = TestClient(create_app(engine, engine.settings))
        assert client.post("/v1/summarize", json={"text": [TEXT] * 4, "client": "news"}).status_code == 200
        assert client.post("/v1/summarize", json={"text": TEXT, "client": "=cmd"}).status_code == 422
        assert client.post("/v1/summarize", json={"text": TEXT, "model": "twin"}).status_code == 200
        assert client.post("/v1/summarize", json={"text": [TEXT] * 5, "client": "news"}).status_code == 429
    with running_engine(exported, folder, factors=placed) as engine:
        client = TestClient(create_app(engine, engine.settings))
        assert client.post("/v1/summarize", json={"text": TEXT}).status_code == 200
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_rows_add_up_to_what_the_meter_saw(served: Path) -> None:
    folder = read_serving_folder(served)
    total = folder.metered.total
    booked = sum(row.amount.joule for row in folder.accounts.values())
    assert booked + folder.unbooked.joule == pytest.approx(total.energy_total_joule)
    assert folder.unbooked.joule == pytest.approx(0, abs=1e-3)
    by_client = folder.sums(lambda account: account.client)
    assert (by_client["news"].amount.num_documents, by_client["news"].amount.num_refused) == (4, 1)
    by_model = folder.sums(lambda account: account.model)
    assert (by_model["tiny"].amount.num_documents, by_model["twin"].amount.num_documents) == (5, 1)
    assert len(folder.sessions) == 2 and folder.sessions[0].factors["region"] == "azure/westus2"
    assert "onnxruntime" in folder.models["twin"]["runtime"]


def test_the_report_has_the_bill_by_hour_model_and_client(served: Path, tmp_path: Path) -> None:
    import kilowit

    files = kilowit.write_serving_report(served, tmp_path, generated_at=NOW)
    total = read_serving_folder(served).metered.total.energy_total_joule
    bill = rows_of(tmp_path / "tables" / "bill.csv")
    assert [row["what"] for row in bill] == [
        "requests: tiny", "requests: twin", "load tiny", "load twin", "idle", "not booked", "Total, as metered",
    ]  # fmt: skip
    assert sum(float(row["energy_joule"]) for row in bill[:-1]) == pytest.approx(float(bill[-1]["energy_joule"]))
    assert float(bill[-1]["energy_joule"]) == pytest.approx(total)
    assert float(bill[0]["cost_usd_on_demand"]) > 0
    hours = rows_of(tmp_path / "tables" / "hours.csv")
    assert sum(float(row["energy_joule"]) for row in hours) == pytest.approx(total, abs=1e-3)
    assert sum(float(row["num_documents"]) for row in hours) == 6
    clients = rows_of(tmp_path / "tables" / "clients.csv")
    assert {row["client"]: float(row["num_documents"]) for row in clients} == {"news": 4, "(no tag)": 2}
    assert sum(float(row["energy_with_rest_joule"]) for row in clients) == pytest.approx(total)
    assert all(0 < float(row["latency_p50_second"]) <= float(row["latency_p99_second"]) for row in clients)
    page = files.html.read_text(encoding="utf-8")
    assert "By client" in page and "news" in page and "<svg" in page and "idle" in page
    assert files.answer.sentences[0].startswith("6 summaries took")
    assert "1 request refused or given up." in files.answer.sentences


def test_another_region_and_machine_price_it_anew(served: Path, tmp_path: Path) -> None:
    import kilowit

    def carbon(name: str, **place: Any) -> float:
        kilowit.write_serving_report(served, tmp_path / name, **place)
        return float(rows_of(tmp_path / name / "tables" / "bill.csv")[-1]["co2e_operational_kg"])

    assert carbon("poland", region="country/PL") > 3 * carbon("france", region="country/FR")


def test_the_command_line_reports_a_serving_folder_and_says_its_status(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kilowit.cli import main

    def said(arguments: Sequence[str]) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    out = tmp_path / "report"
    told = json.loads(said(["report", str(served), "--out", str(out), "--json"]))
    assert told["html"] == str(out / "index.html") and told["answer"][0].startswith("6 summaries took")
    rows = json.loads(said(["status", "--store", str(served), "--json"]))
    assert [(row["what"], row["num_documents"]) for row in rows[:2]] == [("tiny", 5), ("twin", 1)]
    assert "not booked" in said(["status", "--store", str(served)])
    assert main(["report", str(served), "--study", "x"]) == StudyError.exit_code


def test_what_a_kill_took_from_the_books_stands_on_a_row_of_its_own(served: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(served, folder)
    path = folder / BOOKS_NAME
    lines = path.read_text().splitlines()
    batch = next(i for i, line in enumerate(lines) if '"batch"' in line)
    lost = json.loads(lines[batch])["joule"][0]
    path.write_text("\n".join([*lines[:batch], lines[batch][:40], *lines[batch + 1 :]]) + "\n")
    read = read_serving_folder(folder)
    assert read.num_unreadable_lines == 1
    assert read.unbooked.joule == pytest.approx(lost, abs=1e-3)


def test_books_of_before_waits_were_kept_are_read(served: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(served, folder)
    events = [json.loads(line) for line in (folder / BOOKS_NAME).read_text().splitlines() if line]
    for event in events:
        event["shares"] = [share[:5] for share in event.get("shares", [])]
    kept = [event for event in events if event["event"] in ("batch", "other")]
    (folder / BOOKS_NAME).write_text("".join(json.dumps(event) + "\n" for event in kept))
    import kilowit

    files = kilowit.write_serving_report(folder)
    assert files.answer.sentences[0].startswith("6 summaries took")
    assert rows_of(folder / "report" / "tables" / "models.csv")[0]["latency_p50_second"] == ""


def test_a_folder_without_books_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"requests\.jsonl is missing"):
        read_serving_folder(tmp_path)


@pytest.mark.parametrize("fraction", [0.5, 0.95, 0.99])
def test_the_sketch_tells_percentiles_to_its_error(fraction: float) -> None:
    values = [0.001 * 1.01**i for i in range(1000)]
    sketch, second = QuantileSketch(), QuantileSketch()
    for i, value in enumerate(values):
        (sketch if i % 2 else second).add(value)
    sketch.merge(second)
    assert sketch.quantile(fraction) == pytest.approx(values[int(fraction * 1000) - 1], rel=ERROR_FRACTION)
    assert QuantileSketch().quantile(fraction) is None
