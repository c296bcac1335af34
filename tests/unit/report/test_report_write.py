from __future__ import annotations

import csv
import io
import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from kilowit.errors import PartError, StoreError
from kilowit.record import PhaseFigures, Record
from kilowit.report import contents_of, write_report
from kilowit.report.render_html import html_text
from kilowit.report.table import Table
from kilowit.study import Study
from report_records import baseline, failed, study_records, trained

WHEN = datetime(2026, 11, 23, tzinfo=UTC)


def table(name: str, records: list, **options: object) -> Table:  # type: ignore[type-arg]
    return next(t for t in contents_of(records, **options).tables if t.name == name)  # type: ignore[arg-type]


def column(found: Table, key: str) -> list[object]:
    index = [c.key for c in found.columns].index(key)
    return [row[index].value for row in found.rows]


def test_report_writes_page_twin_tables_and_figures(tmp_path: Path) -> None:
    files = write_report(study_records(), tmp_path / "report")
    assert files.html == tmp_path / "report" / "index.html"
    assert files.markdown.read_text().startswith("# samsum-green")
    assert {p.name for p in files.csv} >= {"bill.csv", "benchmark_quality.csv", "runs.csv", "factors.csv"}
    assert all(p.is_file() for p in (*files.csv, *files.figures))
    assert not list(tmp_path.rglob(".*"))  # no temporary file is left


def test_sections_stand_in_the_promised_order() -> None:
    titles = [s.title for s in contents_of(study_records()).sections]
    assert titles == [
        "Quality against energy", "The bill", "Environment", "Datasets", "Models", "Trade-offs of the methods",
        "Benchmark results", "Serving", "What did not fit or failed", "Factors used", "How to repeat",
    ]  # fmt: skip


def test_bill_counts_failed_and_repeated_runs() -> None:
    records = study_records()
    bill = table("bill", records)
    names, joules = column(bill, "phase"), column(bill, "energy_total_joule")
    total = joules[names.index("Total")]
    spent = sum(p.energy_total_joule or 0 for r in records for p in r.phases)
    assert total == pytest.approx(spent)
    parts = [joule for name, joule in zip(names, joules, strict=True) if str(name).startswith("of which")]
    assert sum(parts) == pytest.approx(total)  # type: ignore[arg-type]
    assert {"of which failed runs", "of which interrupted runs", "of which repeated runs"} <= set(names)


def test_unknown_figures_are_dashes_with_a_reason_and_never_zero() -> None:
    record = trained("bart-tiny", "full", 0, number=1)
    blind = replace(record, phases=[PhaseFigures(phase="train", wall_second=10.0)], cell=record.cell | {"factors": {}})
    page = html_text(contents_of([blind]))
    assert "no sensor read its energy" in page
    bill = table("bill", [blind])
    assert column(bill, "energy_total_joule")[0] is None
    assert column(bill, "cost_usd_on_demand")[0] is None


def test_a_sum_with_unknown_terms_is_a_lower_bound() -> None:
    known, blind = trained("bart-tiny", "full", 0, number=1), trained("bart-tiny", "full", 1, number=2)
    blind = replace(blind, phases=[PhaseFigures(phase="train", wall_second=10.0)])
    assert "| train | 2 |" in (text := _markdown([known, blind]))
    assert "≥ " in next(line for line in text.splitlines() if line.startswith("| train |"))


def test_another_region_reprices_old_runs() -> None:
    records = study_records()
    here, there = (table("bill", records, **o) for o in ({}, {"region": "azure/swedencentral"}))
    assert column(here, "energy_total_joule") == column(there, "energy_total_joule")
    assert column(here, "co2e_operational_kg")[0] != column(there, "co2e_operational_kg")[0]
    assert "azure/swedencentral" in contents_of(records, region="azure/swedencentral").signatures[0]


def test_unknown_region_and_machine_name_the_nearest() -> None:
    with pytest.raises(PartError, match="azure/westus22") as caught:
        contents_of(study_records(), region="azure/westus22")
    assert caught.value.hint
    with pytest.raises(PartError, match="no machine"):
        contents_of(study_records(), machine="Standard_NC24ads_A100_v5")


def test_direct_and_lifecycle_factors_never_share_a_table() -> None:
    one, two = trained("bart-tiny", "full", 0, number=1), trained("bart-tiny", "full", 1, number=2)
    two = replace(two, cell=two.cell | {"factors": {"region": "country/FR"}})
    bill = table("bill", [one, two])
    assert set(column(bill, "co2e_operational_kg")) == {None}
    assert any("different bases" in reason for reason in bill.reasons)
    assert column(table("bill", [one, two], region="country/FR"), "co2e_operational_kg")[0] is not None


def test_tradeoffs_set_the_card_beside_the_measured_ratio() -> None:
    found = table("tradeoffs", study_records())
    rows = [dict(zip([c.key for c in found.columns], [e.value for e in row], strict=True)) for row in found.rows]
    energy = next(r for r in rows if r["method"] == "bf16" and r["figure"] == "train.energy_total_joule")
    assert energy["without"] == "bart-mini · full"
    assert str(energy["measured"]).startswith("×0.6")
    assert energy["num_pairs"] == 3
    assert energy["verdict"] in {"inside", "outside", "not distinguishable", "no expectation"}
    together = next(r for r in rows if r["method"] == "bf16 + sortish")
    assert together["without"] == "bart-mini · full"
    assert next(r for r in rows if r["method"] == "sortish")["without"] == "bart-mini · bf16"


def test_two_seeds_give_single_run_verdicts() -> None:
    records = [r for r in study_records() if r.cell["seed"] < 2]
    assert set(column(table("tradeoffs", records), "verdict")) == {"single run"}


def test_an_unknown_method_has_no_expectation_and_says_why() -> None:
    plain, with_it = ([trained("bart-tiny", "full", s, number=s + n) for s in range(3)] for n in (0, 10))
    with_it = [
        replace(r, cell=r.cell | {"recipe": "odd", "methods": [{"name": "gone", "options": {}}]}, run_id=f"{r.run_id}x")
        for r in with_it
    ]
    assert any("card of gone cannot be read here" in r for r in table("tradeoffs", [*plain, *with_it]).reasons)


def test_failures_show_kind_phase_message_and_bill() -> None:
    found = table("failures", study_records())
    first = next(row for row in found.rows if "out_of_memory_gpu" in str(row[3].value))
    assert first[4].value == "train"
    assert "CUDA out of memory" in str(first[5].value)
    assert isinstance(first[7].value, float)


def test_dataset_table_prefers_what_a_tokenizer_counted() -> None:
    found = table("datasets", study_records())
    assert column(found, "split") == ["train", "validation", "test"]
    assert None not in column(found, "source_tokens_mean")


def test_dataset_tables_say_what_each_maximum_cuts_and_mark_the_study_s_own() -> None:
    found = table("dataset_source_cut", study_records())
    row = dict(zip([c.key for c in found.columns], found.rows[0], strict=True))
    assert (row["unit"].value, row["num_texts"].value, row["maximum"].value) == ("tokens", 2000, 512)
    assert row["truncated_512_fraction"].note.strip() == "◂" and not row["truncated_256_fraction"].note
    assert row["truncated_512_fraction"].value == row["truncated_fraction"].value
    targets = table("dataset_target_cut", study_records())
    assert [c.key for c in targets.columns][-1] == "truncated_512_fraction"


def test_dataset_figures_show_lengths_with_the_maximum_and_are_left_out_where_none_was_counted() -> None:
    section = next(s for s in contents_of(study_records()).sections if s.anchor == "datasets")
    [figure] = section.figures
    assert "512: 0.25 % cut" in figure.wide and "median" in figure.wide
    assert figure.wide.count('class="length-bar"') == figure.narrow.count('class="length-bar"') > 20
    uncounted = [_without_lengths(record) for record in study_records(num_seeds=1)]
    section = next(s for s in contents_of(uncounted).sections if s.anchor == "datasets")
    assert not section.figures
    assert [t.name for t in section.tables if t.rows] == ["datasets"]


def test_baselines_alone_have_lengths_in_words() -> None:
    found = table("dataset_source_cut", [baseline("lead", number=1)])
    assert column(found, "unit") == ["words"] * 3
    assert "no length limit applies" in found.reasons


def _without_lengths(record: Record) -> Record:
    """As records of schema 1 are read: neither lengths nor coverage."""
    assert record.dataset is not None
    bare = [replace(s, source_length=None, target_length=None, coverage_mean=None) for s in record.dataset.splits]
    return replace(record, dataset=replace(record.dataset, splits=bare))


def test_equal_labels_are_told_apart_by_what_differs() -> None:
    one = trained("bart-tiny", "full", 0, number=1)
    settings = {**one.cell["settings"], "train": {**one.cell["settings"]["train"], "num_epochs": 1.0}}
    two = replace(one, cell=one.cell | {"settings": settings}, run_id="20261102T000000Z_two_0002")
    labels = column(table("benchmark_quality", [one, two]), "choice")
    assert sorted(labels) == ["bart-tiny · full (train.num_epochs=1.0)", "bart-tiny · full (train.num_epochs=3.0)"]  # type: ignore[type-var]


def test_csv_has_si_units_full_precision_and_intervals(tmp_path: Path) -> None:
    files = write_report(study_records(), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "bill.csv").read_text())))
    first = rows[0]
    assert float(first["energy_total_kwh"]) == pytest.approx(float(first["energy_total_joule"]) / 3.6e6)
    assert float(first["co2e_operational_lb"]) == pytest.approx(float(first["co2e_operational_kg"]) / 0.45359237)
    quality = next(p for p in files.csv if p.name == "benchmark_quality.csv").read_text()
    assert "rouge2_low,rouge2_high" in quality


def test_how_to_repeat_rebuilds_a_study_that_means_the_same_cells() -> None:
    records = study_records()
    (repeat,) = next(s for s in contents_of(records).sections if s.anchor == "repeat").repeats
    study = yaml.safe_load(repeat.yaml)
    assert study["models"][-2:] == ["lead", "textrank"]
    assert [m["scratch"] for m in study["models"][:-2]] == ["bart-mini", "bart-tiny"]
    assert study["recipes"]["frugal"] == ["bf16", "sortish"]
    assert study["datasets"] == [{"name": "samsum", "max_train_examples": 2000}]
    assert study["factors"]["region"] == "azure/westus2"
    assert "kilowit run samsum-green.yaml" in repeat.commands
    assert any("every seed" in note for note in repeat.notes)  # seeds 3 and 4 were run, and failed, in two choices


def test_the_rebuilt_study_is_one_that_kilowit_reads() -> None:
    records = [r for r in study_records() if r.status == "finished"]
    (repeat,) = next(s for s in contents_of(records).sections if s.anchor == "repeat").repeats
    cells = Study.parse(repeat.yaml).cells
    labels = {r.run_id.split("_", 1)[1].rsplit("_", 1)[0] for r in records}
    assert {cell.label for cell in cells} == labels
    assert not repeat.notes


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>|`\x00\u202e[x](javascript:alert(2))\"'\n=HYPERLINK(1)"
    bad = failed("bart-tiny", "full", 0, "error", attack, number=1)
    bad = replace(bad, study_name=attack, warnings=[attack], environment={attack: attack}, measurement_signature=attack)
    files = write_report([bad, trained("bart-tiny", "bf16", 1, number=2)], tmp_path)
    page = files.html.read_text()
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "\x00" not in page
    markdown = files.markdown.read_text()
    shown = re.sub(r"```.*?```|(?<!\\)`[^`]*`", "", markdown, flags=re.S)  # within code nothing is interpreted
    assert "<script>" not in shown
    assert "[x](javascript" not in shown
    table_lines = [line for line in markdown.splitlines() if line.startswith("|") and "HYPERLINK" in line]
    assert table_lines
    for path in files.csv:
        for row in csv.reader(io.StringIO(path.read_text())):
            assert not any(cell.startswith("=") for cell in row)


def test_big_tables_are_cut_and_stay_whole_in_the_csv_file(tmp_path: Path) -> None:
    records = [trained("bart-tiny", "full", s, number=s) for s in range(450)]
    files = write_report(records, tmp_path)
    assert "250 more rows" in files.markdown.read_text()
    assert len((tmp_path / "tables" / "runs.csv").read_text().splitlines()) == 451
    assert files.html.stat().st_size < 2_000_000


def test_an_unwritable_folder_is_a_store_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError) as caught:
        write_report([baseline("lead", number=1)], tmp_path / "file" / "report")
    assert caught.value.place and caught.value.hint


def test_an_empty_store_gives_a_report_that_says_so(tmp_path: Path) -> None:
    files = write_report([], tmp_path)
    assert "No run yet" in files.html.read_text()


def test_same_records_give_the_same_files(tmp_path: Path) -> None:
    one, two = (write_report(study_records(), tmp_path / n, generated_at=WHEN) for n in ("a", "b"))
    assert one.html.read_bytes() == two.html.read_bytes()
    assert one.markdown.read_bytes() == two.markdown.read_bytes()


def test_every_numeric_phase_field_has_a_rule_for_sums() -> None:
    from kilowit.report.runs import _MAXIMA, _SUMS, _TIME_MEANS  # the rules are data

    ruled = {*_SUMS, *_MAXIMA, *_TIME_MEANS, "energy_measured_fraction", "phase"}
    unruled = {f.name for f in fields(PhaseFigures)} - ruled
    assert {n for n in unruled if not n.endswith("_source")} == {
        "examples_per_second", "tokens_per_second", "latency_p50_second", "latency_p95_second", "latency_p99_second",
        "loss_first", "loss_last",
    }  # fmt: skip


def _markdown(records: list) -> str:  # type: ignore[type-arg]
    from kilowit.report.render_markdown import markdown_text

    return markdown_text(contents_of(records))
