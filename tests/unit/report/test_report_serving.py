"""What the report says of serving: expected numbers are arithmetic shown here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kilowit.record import Record
from kilowit.report import contents_of
from kilowit.report.pricing import Pricing
from kilowit.report.runs import Run, choices_of
from kilowit.report.serving import break_even, quotient, served_rows
from kilowit.report.table import Table
from kilowit.served import ServedRuntime, ServedScenario
from kilowit.statistics.interval import Interval
from report_records import baseline, phase, trained


def scenario(**facts: Any) -> ServedScenario:
    defaults: dict[str, Any] = {
        "scenario": "offline", "num_examples": 10, "num_unserved": 0, "batch_size": 4, "wall_second": 5.0,
        "energy_total_joule": 20.0, "energy_total_joule_low": 16.0, "energy_total_joule_high": 25.0,
        "num_input_tokens": 100, "num_output_tokens": 50,
    }  # fmt: skip
    return ServedScenario(**(defaults | facts))


def served_record(*scenarios: ServedScenario, seed: int = 0, **facts: Any) -> Record:
    runtime = ServedRuntime(runtime="torch", precision="fp32", device="cpu", scenarios=list(scenarios), **facts)
    phases = [phase("idle", 10.0, 900.0), phase("train", 100.0, 4000.0), phase("predict", 9.0, 77.0)]
    return trained("bart-tiny", "full", seed, number=seed, phases=phases, serving=[runtime])


def table_of(records: list[Record], name: str) -> Table:
    return next(table for table in contents_of(records).tables if table.name == name)


def test_joules_a_summary_are_those_of_the_scenario_over_its_summaries() -> None:
    (row,) = served_rows(choices_of([served_record(scenario())]))
    joule = row.joule_per_summary()
    assert joule is not None
    assert (joule.value, joule.low, joule.high) == (2.0, 1.6, 2.5)
    assert row.second_per_summary() == 0.5


def test_break_even_sets_training_alone_against_a_summary() -> None:
    """4,000 J of training (the GPU's 2 %, the host's 40 %: 3,464 to 4,536) over 2 J (1.6 to 2.5); 100 s over 0.5 s."""
    records = [served_record(scenario())]
    (row,) = served_rows(choices_of(records))
    found = break_even(row, Pricing(records))
    assert found.by_energy is not None
    assert found.by_energy.value == pytest.approx(2000)
    assert found.by_energy.low == pytest.approx(3464 / 2.5)
    assert found.by_energy.high == pytest.approx(4536 / 1.6)
    assert found.by_cost == pytest.approx(200)


def test_carbon_breaks_even_with_energy_where_nothing_embodied_is_known() -> None:
    records = [served_record(scenario())]
    records = [replace(r, cell=r.cell | {"factors": {"region": "country/FR"}}) for r in records]
    (row,) = served_rows(choices_of(records))
    found = break_even(row, Pricing(records))
    assert found.by_energy is not None and found.by_carbon is not None
    assert found.by_carbon.value == pytest.approx(found.by_energy.value)
    assert found.by_carbon.high == pytest.approx(found.by_energy.high)


def test_seeds_of_a_choice_are_taken_together() -> None:
    records = [served_record(scenario(energy_total_joule=10.0 * (1 + seed)), seed=seed) for seed in range(3)]
    (row,) = served_rows(choices_of(records))
    joule = row.joule_per_summary()
    assert joule is not None
    assert (joule.value, joule.num_repeats) == (2.0, 3)  # 10, 20 and 30 J for 10 summaries each


def test_what_no_sensor_read_is_unknown_and_not_nothing() -> None:
    nothing = {f"energy_total_joule{end}": None for end in ("", "_low", "_high")}
    table = table_of([served_record(scenario(**nothing))], "break_even")
    column = [c.key for c in table.columns].index("break_even_energy_num_examples")
    assert table.rows[0][column].value is None
    assert "no sensor" in table.rows[0][column].reason


def test_a_quotient_of_nothing_is_unknown() -> None:
    assert quotient(Interval(5.0), Interval(0.0)) is None
    assert quotient(Interval(6.0), Interval(2.0)) == Interval(3.0)


def test_a_runtime_that_failed_is_shown_with_its_reason() -> None:
    record = served_record(error_message="error: no such kernel", disk_byte=5)
    table = table_of([record], "serving_setup")
    assert table.rows[0][-1].value == "error: no such kernel"
    assert "serving" not in {t.name for t in contents_of([record]).tables if t.rows}


def test_a_report_of_runs_that_served_nothing_has_no_such_section() -> None:
    assert "serving" not in {s.anchor for s in contents_of([baseline("lead", number=1)]).sections}


def test_the_trial_of_runtimes_is_billed_and_is_no_merit_of_the_choice() -> None:
    record = served_record(scenario())
    record = replace(record, phases=[*record.phases, phase("serve", 5.0, 20.0), phase("serve_load", 1.0, 7.0)])
    run = Run(record)
    assert run.merit.energy_total_joule == pytest.approx(4077)
    assert run.billed.energy_total_joule == pytest.approx(4077 + 900 + 27)


def test_records_of_the_schema_before_serving_still_load() -> None:
    import json

    value = json.loads(served_record(scenario()).to_json())
    del value["serving"]
    old = Record.from_json(json.dumps(value | {"schema_version": 1}))
    assert (old.serving, old.schema_version) == ([], 2)


def test_every_choice_has_a_sentence_on_its_most_frugal_runtime() -> None:
    record = served_record(scenario(), scenario(scenario="single_stream", energy_total_joule=90.0))
    section = next(s for s in contents_of([record]).sections if s.anchor == "serving")
    (sentence,) = section.paragraphs
    assert "takes least on torch fp32, offline: 2 J a summary" in sentence or "2.00 J a summary" in sentence
    assert "after 2,000 summaries" in sentence
