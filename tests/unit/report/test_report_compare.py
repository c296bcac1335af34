from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kilowit.errors import StudyError
from kilowit.report import answer, compare
from kilowit.report.conditions import parse_condition
from kilowit.report.console import answer_panel, comparison_tables
from kilowit.store import Store
from report_records import failed, study_records, trained

RECORDS = study_records()


def row(comparison, figure: str):  # type: ignore[no-untyped-def]
    return next(r for r in comparison.rows if r.figure == figure)


def test_two_recipes_pair_by_model_and_seed() -> None:
    found = compare("recipe=full", "recipe=bf16", records=RECORDS)
    assert found.num_pairs == 6
    energy = row(found, "train.energy_total_joule")
    assert energy.effect.value == pytest.approx(0.63, abs=0.03)
    assert energy.verdict == "lower"
    assert row(found, "rouge2").verdict == "not distinguishable"
    assert found.exit_code == 0


def test_two_single_runs_pair_and_have_no_interval() -> None:
    ids = [
        r.run_id for r in RECORDS if "bart-tiny_samsum_full_s1" in r.run_id or "bart-tiny_samsum_bf16_s1" in r.run_id
    ]
    found = compare(ids[0], ids[1], records=RECORDS)
    assert {r.verdict for r in found.rows} == {"single run"}


def test_a_label_a_bare_recipe_and_a_tail_select() -> None:
    by_label = compare("bart-tiny_samsum_full", "bart-tiny_samsum_bf16", records=RECORDS)
    assert by_label.num_pairs == 3
    assert compare("full", "bf16", records=RECORDS).num_pairs == 6
    assert compare("model=bart-tiny,recipe=full", "model=bart-mini,recipe=full", records=RECORDS).num_pairs == 3


def test_two_stores_compare_by_cell(tmp_path: Path) -> None:
    for name, scale in (("a", 1.0), ("b", 1.1)):
        store = Store(tmp_path / name)
        for seed in range(3):
            record = trained("bart-tiny", "full", seed, number=seed)
            phases = [replace(p, energy_total_joule=(p.energy_total_joule or 0) * scale) for p in record.phases]
            folder = store.create(record.cell, label="x", cell_key=record.cell_key, attempt=1)
            folder.write_record(replace(record, run_id=folder.run_id, phases=phases))
    found = compare(tmp_path / "a", tmp_path / "b", fail_if=["train.energy_total_joule>+5%"])
    assert row(found, "train.energy_total_joule").effect.value == pytest.approx(1.1)
    assert found.exit_code == 1
    assert found.violations[0].condition.text == "train.energy_total_joule>+5%"
    one = next(f.path for f in Store(tmp_path / "a").folders())
    assert compare(one, one).num_pairs == 1


@pytest.mark.parametrize(
    ("text", "a", "b", "violated"),
    [
        ("train.wall_second>+5%", 100.0, 106.0, True),
        ("train.wall_second>5%", 100.0, 104.0, False),
        ("train.wall_second<-5%", 100.0, 94.0, True),
        ("rouge2<-0.005", 0.12, 0.114, True),
        ("rouge2<-0.005", 0.12, 0.116, False),
        ("rouge2<0.1", 0.12, 0.116, False),
        ("rouge2 < 0.12", 0.12, 0.116, True),
        ("train.wall_second>+1e-1", 1.0, 1.2, True),
        ("total.wall_second>+5%", 0.0, 1.0, True),
    ],
)
def test_conditions_judge_change_difference_and_value(text: str, a: float, b: float, violated: bool) -> None:
    assert parse_condition(text, ["rouge2"]).is_violated(a, b) is violated


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("train.energy_total_joul>+5%", "energy_total_joule"),
        ("trane.wall_second>+5%", "train"),
        ("rogue2<0.1", "rouge2"),
        ("train.wall_second=5", "Example"),
        ("", "Example"),
        ("train.wall_second>+5%%", "Example"),
    ],
)
def test_a_wrong_condition_names_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(StudyError) as caught:
        compare("full", "bf16", records=RECORDS, fail_if=[text])
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_a_condition_on_an_unknown_figure_is_an_error_not_a_pass() -> None:
    with pytest.raises(StudyError, match="cannot be judged"):
        compare("full", "bf16", records=RECORDS, fail_if=["serve.wall_second>+5%"])


@pytest.mark.parametrize(
    ("side", "hint"),
    [("recipe=bf61", "bf16"), ("recipee=bf16", "recipe"), ("frugall", "frugal"), ("", "Example"), ("seed=77", "Known")],
)
def test_a_wrong_selection_names_the_nearest(side: str, hint: str) -> None:
    with pytest.raises(StudyError) as caught:
        compare(side, "bf16", records=RECORDS)
    assert hint in str(caught.value.hint)


def test_sides_without_a_result_or_a_common_cell_are_refused(tmp_path: Path) -> None:
    dead = failed("bart-tiny", "full", 0, "killed", "signal 9", number=1)
    with pytest.raises(StudyError, match="no finished run"):
        compare([dead], "bf16", records=RECORDS)
    one, two = (trained("bart-tiny", "full", s, number=s) for s in (0, 1))
    other = [replace(r, cell=r.cell | {"dataset": {"name": "xsum"}}) for r in (one, two)]
    mixed = [one, replace(two, cell=two.cell | {"dataset": {"name": "tifu"}})]
    assert compare(mixed, other).num_pairs == 2  # the datasets lie apart, so runs pair by seed
    crossed = [replace(one, cell=one.cell | {"hardware": "x"}), replace(two, cell=two.cell | {"hardware": "y"})]
    uncrossed = [replace(one, cell=one.cell | {"hardware": "y"}), replace(two, cell=two.cell | {"hardware": "x"})]
    with pytest.raises(StudyError, match="no cell in common"):
        compare(crossed, uncrossed)
    with pytest.raises(StudyError, match="no run with a record"):
        compare(tmp_path, "bf16", records=RECORDS)


def test_runs_without_a_partner_are_counted() -> None:
    some = [r for r in RECORDS if r.cell["recipe"] == "bf16" and r.cell["seed"] > 0]
    assert compare("full", some, records=RECORDS).num_unpaired == 2


def test_terminal_tables_say_what_failed() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    found = compare("full", "bf16", records=RECORDS, fail_if=["rouge2<-50%", "train.wall_second>-90%"])
    console.print(comparison_tables(found))
    console.print(answer_panel(answer(RECORDS), Path("runs/report/index.html")))
    text = console.export_text()
    assert "FAIL  train.wall_second>-90%" in text
    assert "ok    rouge2<-50%" in text
    assert "▼ lower" in text
    assert "Report: runs/report/index.html" in text


def test_comparison_is_plain_json() -> None:
    import json

    value = json.loads(json.dumps(compare("full", "bf16", records=RECORDS).to_dict()))
    assert value["num_pairs"] == 6
    assert {"figure", "a", "b", "verdict"} <= value["figures"][0].keys()
