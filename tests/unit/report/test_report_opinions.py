"""The report sets other meters beside ours: like with like, with the reason, and a silent one said."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from kilowit import Record, write_report
from kilowit.cli import main
from kilowit.factors import country
from kilowit.opinion import SecondOpinion
from kilowit.report.runs import Run
from kilowit.report.tables.opinions import beside, opinion_sentences, opinion_table
from kilowit.store import RunFolder
from kilowit.store.mirrored import MirrorState, write_mirror_state
from report_records import study_records


@pytest.fixture
def record() -> Record:
    """A run with two opinions: one on CPU and GPU, one silent."""
    found = next(r for r in study_records() if r.status == "finished" and r.phase("train"))
    billed = Run(found).billed
    assert billed.energy_gpu_joule is not None and billed.energy_cpu_joule is not None
    theirs = SecondOpinion(
        tool="codecarbon", version="3.3.2", basis="GPU(), CPU(Cpu Load)", energy_gpu_joule=billed.energy_gpu_joule,
        energy_cpu_joule=3 * billed.energy_cpu_joule, cpu_second=1.5,
    )  # fmt: skip
    silent = SecondOpinion(tool="zeus", why_not="none:nothing_to_read: no counter")
    return replace(found, second_opinions=[theirs, silent])


def test_devices_are_compared_one_by_one_and_their_sum_holds_only_what_both_know(record: Record) -> None:
    billed = Run(record).billed
    by_device = {item.device: item for item in beside(record, record.second_opinions[0])}
    assert list(by_device) == ["gpu", "cpu", "both"]  # no memory: it has no figure for it
    assert by_device["gpu"].ratio == 1 and by_device["gpu"].is_inside
    assert by_device["cpu"].ratio == pytest.approx(3) and not by_device["cpu"].is_inside
    gpu, cpu = billed.energy_gpu_joule or 0, billed.energy_cpu_joule or 0
    assert by_device["both"].ratio == pytest.approx((gpu + 3 * cpu) / (gpu + cpu))


def test_the_report_has_the_difference_and_the_bill_is_as_without(record: Record, tmp_path: Path) -> None:
    others = [r for r in study_records() if r.run_id != record.run_id]
    with_it = write_report([record, *others], tmp_path / "with")
    without = write_report([replace(record, second_opinions=[]), *others], tmp_path / "without")
    tables = sorted((tmp_path / "without").rglob("*.csv"))
    assert any(path.stem == "bill" for path in tables)
    for path in tables:
        assert (tmp_path / "with" / path.relative_to(tmp_path / "without")).read_bytes() == path.read_bytes(), path.stem
    text = with_it.markdown.read_text(encoding="utf-8")
    assert "Second opinions" in text and "Second opinions" not in without.markdown.read_text(encoding="utf-8")
    assert "zeus could not measure 1 of 1 runs: none:nothing_to_read: no counter." in text
    (table,) = (tmp_path / "with").rglob("second_opinions.csv")
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["tool"] for row in rows] == ["codecarbon"] * 3 + ["zeus"]


def test_a_sentence_says_the_ratio_and_how_many_lie_inside(record: Record) -> None:
    said, silent = opinion_sentences([record])
    (whole,) = [item for item in beside(record, record.second_opinions[0]) if item.device == "both"]
    assert f"codecarbon counts {whole.ratio:.2f} times our joules" in said and "(n = 1 run)" in said
    assert silent.startswith("zeus could not measure")
    assert not opinion_table([replace(record, second_opinions=[])]).rows


def test_an_energy_that_a_phase_of_ours_does_not_know_is_not_compared(record: Record) -> None:
    blind = [replace(p, energy_cpu_joule=None) if p.phase == "train" else p for p in record.phases]
    found = {item.device for item in beside(replace(record, phases=blind), record.second_opinions[0])}
    assert found == {"gpu", "both"}


def test_a_record_keeps_its_opinions(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("region", "name"),
    [("country/FR", "France"), ("azure/francecentral", "France"), ("us/CAMX", "United States"),
     ("azure/westus2", "United States"), ("azure/koreacentral", "Korea, Republic of"), (None, ""), ("local", "")],
)  # fmt: skip
def test_a_region_lies_in_a_country(region: str | None, name: str) -> None:
    assert country(region) == name


def test_show_tells_a_run_s_opinions_and_where_it_is_mirrored(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / record.run_id)
    folder.path.mkdir()
    folder.write_cell(record.cell, cell_key=record.cell_key, attempt=1)
    folder.write_record(record)
    write_mirror_state(folder, MirrorState("http://h:5000", None, "Connection refused", "2026-11-23T10:00:00Z"))
    assert main(["show", record.run_id, "--store", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "opinion   codecarbon, CPU: " in shown.out and ", 3.00 times ours" in shown.out
    assert "opinion   zeus says nothing: none:nothing_to_read: no counter" in shown.out
    assert "warning: mirror: not all of this run is at http://h:5000 (Connection refused)" in shown.err
    write_mirror_state(folder, MirrorState("http://h:5000", "4f", None, "2026-11-23T10:00:00Z"))
    assert main(["show", record.run_id, "--store", str(tmp_path)]) == 0
    assert "mirror: whole at http://h:5000 as 4f" in capsys.readouterr().err
