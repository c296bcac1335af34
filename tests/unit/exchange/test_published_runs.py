"""The published runs of the facts beside the checkout: every contradiction that they list is flagged."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from kilowit import import_runs
from kilowit.exchange import ImportOutcome
from kilowit.record import Record

# What can be seen in the values alone, by run and kind, and a word of the message.
WORKED_OUT = {
    ("b8ad2ad7", "several_runs"): "total_flops",
    ("b8ad2ad7", "spread"): "1.96",
    ("2021-08-29 01:46", "several_runs"): "354.2 kJ",  # the energy printed is another run's
    ("2021-08-29 01:46", "window_cut"): "25%",
    ("2021-08-29 01:46", "two_values"): "325.874 kJ",
    ("2021-06-04", "another_run"): "4.73 s",
    ("2021-06-04", "rank_rows"): "CodeCarbon finetune",
    ("2021-06-04", "several_runs"): "CodeCarbon energy",
    ("about 2021-08-29", "part_of_run"): "83%",
    ("about 2021-08-29", "grid_intensity"): "297.6 gCO2e/kWh",
}
# What needs a label or a duration that the table quotes in its remarks.
WITH_QUOTES = {
    ("2021-08-29 01:46", "swapped_prices"): "508 s of ND40rs_v2 cost 3.11 in full and 0.62 discounted",
    ("2021-06-04", "rank_rows"): "CodeCarbon predict: 8 rows of",
}


@pytest.fixture
def table(shared_dir: Path) -> Path:
    path = shared_dir / "facts" / "earlier_published_runs.csv"
    if not path.is_file():
        pytest.skip("needs facts/earlier_published_runs.csv, which is not ours to pass on")
    return path


def messages(records: list[Record], run: str, kind: str) -> str:
    found = [r for r in records if r.imported is not None and r.imported.place.startswith(f"run {run}")]
    assert len(found) == 1, run
    assert found[0].imported is not None
    return "\n".join(c.message for c in found[0].imported.contradictions if c.kind == kind)


def imported(path: Path, store: Path) -> tuple[ImportOutcome, list[Record]]:
    outcome = import_runs([path], store, region="azure/westus2")
    return outcome, [run.record for run in outcome.runs]


def test_every_remark_of_the_table_is_carried_to_its_run_or_said(table: Path, tmp_path: Path) -> None:
    outcome, records = imported(table, tmp_path)
    said = "\n".join([*outcome.remarks, *(warning for record in records for warning in record.warnings)])
    with table.open(newline="", encoding="utf-8") as file:
        remarks = [row["flaw_or_check"] for row in csv.DictReader(file) if row["flaw_or_check"]]
    assert len(remarks) > 50 and [remark for remark in remarks if remark not in said] == []


def test_contradictions_are_worked_out_from_the_values_alone(table: Path, tmp_path: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row | {"flaw_or_check": ""} for row in csv.DictReader(file)]
    bare = tmp_path / "bare.csv"
    with bare.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _, records = imported(bare, tmp_path / "runs")
    for (run, kind), word in WORKED_OUT.items():
        assert word in messages(records, run, kind), (run, kind)
    assert not any(messages(records, run, "noted") for run in ("b8ad2ad7", "2021-06-04"))


def test_quoted_labels_and_durations_reveal_swapped_prices_and_rows_of_ranks(table: Path, tmp_path: Path) -> None:
    _, records = imported(table, tmp_path)
    for (run, kind), word in (WORKED_OUT | WITH_QUOTES).items():
        assert word in messages(records, run, kind), (run, kind)
    assert "more than one V100 can draw (300 W rated)" in messages(records, "2021-06-04", "rank_rows")


def test_no_figure_is_invented(table: Path, tmp_path: Path) -> None:
    _, records = imported(table, tmp_path)
    by_place = {r.imported.place: r for r in records if r.imported is not None}
    bare_energy = by_place["run 5904f817"]
    assert bare_energy.phases == [] and bare_energy.started_at_utc == ""
    assert bare_energy.imported is not None and 358_965.0 in bare_energy.imported.stated.values()
    card = by_place["run b8ad2ad7"]
    assert [p.energy_total_joule for p in card.phases] == [None, None, None]
    assert {s.metric: s.value for s in card.scores}["rouge1"] == pytest.approx(0.535615)
    assert {s.num_examples for s in card.scores} == {819}  # 30.628 a second for 26.7401 s
    node = next(r for place, r in by_place.items() if place.startswith("run 2021-08-29 01:46"))
    assert (node.phases[0].wall_second, node.phases[0].energy_gpu_joule) == (508.0, 433_905.0)
    assert node.phases[0].energy_total_joule is None  # GPUs alone were metered
