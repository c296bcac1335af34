"""The report sets a working life beside each choice, from what its runs took."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import kilowit
from kilowit.errors import StudyError
from kilowit.plan.life_cycle import PARTS
from kilowit.record import Record
from kilowit.report import contents_of
from kilowit.report.life_cycles import draw_life_cycles, life_cycles
from kilowit.report.render_html import html_text
from report_records import study_records

LIFE: dict[str, Any] = {"summaries_per_day": 2000.0, "endpoint_hour_per_day": 12.0}


def kept(records: list[Record]) -> list[Record]:
    return [replace(record, cell={**record.cell, "maintenance": LIFE}) for record in records]


def test_a_report_of_studies_without_maintenance_has_no_such_section() -> None:
    assert all(section.anchor != "life-cycle" for section in contents_of(study_records()).sections)


def test_the_section_has_one_figure_and_a_table_whose_parts_add_up() -> None:
    contents = contents_of(kept(study_records()))
    (section,) = (section for section in contents.sections if section.anchor == "life-cycle")
    assert [figure.name for figure in section.figures] == ["life_cycle"]
    (table,) = section.tables
    energy = [row[4].value for row in table.rows[:6]]
    assert all(isinstance(value, float) for value in energy)
    assert sum(energy[:5]) == pytest.approx(energy[5])  # type: ignore[arg-type]
    assert [str(row[1].value) for row in table.rows[:6]] == [*PARTS, "Total"]
    page = html_text(contents)
    assert 'id="life-cycle"' in page
    assert "drift check" in page


def test_the_runtime_of_least_energy_serves_unless_another_is_named() -> None:
    records = kept(study_records())
    cheapest = next(c for c in life_cycles(records) if "full" in c.label)
    named = next(c for c in life_cycles(records, {"runtime": {"name": "torch"}}) if "full" in c.label)
    assert not cheapest.served_by.startswith("torch ")
    assert named.served_by.startswith("torch ")
    assert cheapest.part("serve").energy_total_joule.likely < named.part("serve").energy_total_joule.likely  # type: ignore[union-attr]


def test_single_keys_can_be_changed_after_the_runs() -> None:
    records = kept(study_records())
    one, other = life_cycles(records), life_cycles(records, {"summaries_per_day": 4000.0})
    assert other[0].maintenance.endpoint_hour_per_day == 12.0
    serve = [cycles[0].part("serve").energy_total_joule for cycles in (one, other)]
    assert serve[1].likely == pytest.approx(2 * serve[0].likely)  # type: ignore[union-attr]
    assert life_cycles(study_records()) == []
    assert life_cycles(study_records(), {})[0].maintenance.summaries_per_day == 1000.0


def test_another_machine_and_region_price_the_same_life_anew() -> None:
    records = kept(study_records())
    dear, cheap = (
        life_cycles(records, machine=name, region="azure/westus2")[0].total.cost_usd
        for name in ("Standard_NC24ads_A100_v4", "Standard_NC4as_T4_v3")
    )
    assert dear is not None
    assert cheap is not None
    assert dear.likely > cheap.likely


@pytest.mark.parametrize("changes", [{"summaries_per_dy": 1.0}, {"summaries_per_day": -1.0}, {"runtime": 3}])
def test_a_change_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(changes))):
        life_cycles(kept(study_records()), changes)


def test_a_drawing_is_an_svg_of_its_own(tmp_path: Any) -> None:
    drawing = kilowit.draw_life_cycles(kilowit.life_cycles(kept(study_records())))
    path = drawing.save(tmp_path / "life.svg")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "<style>" in text
    assert drawing._repr_svg_() == text
    assert draw_life_cycles(life_cycles(kept(study_records()))) == drawing


def test_imported_runs_alone_have_no_bill_and_no_empty_section() -> None:
    from kilowit.imported import ImportFacts

    facts = ImportFacts(format="codecarbon", file="emissions.csv", sha256="0" * 64, place="row 2")
    foreign = [replace(record, imported=facts) for record in study_records()[:2]]
    said = contents_of(foreign)
    assert [section.anchor for section in said.sections] == ["imported"]
    assert "no answer and no bill" in said.answers[0].text
    assert contents_of([]).sections == ()
