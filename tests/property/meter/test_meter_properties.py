from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilowit.errors import StoreError
from kilowit.meter import read_ledger
from kilowit.record import Record
from meter_bench import bench

nested = bench("meter_nested")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_leaves_and_gaps_are_the_total_and_the_file_says_the_same(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = nested.run_program(seed, Path(folder))
        again = read_ledger(folder)
    assert nested.closure(program.result) <= 1e-9
    assert nested.closure_with_truth(program) <= 1e-9
    assert nested.closure_of_outermost(program.result, program.outermost) <= 1e-9
    assert nested.difference(program.result, again) <= 1e-12
    walls = sum(phase.wall_second for phase in program.result.phases)
    assert walls == pytest.approx(program.result.total.wall_second, rel=1e-9)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_every_interval_holds_its_value_and_every_share_is_one(seed: int) -> None:
    result = nested.run_program(seed, None).result
    for row in (*result.phases, result.total):
        for component in ("gpu", "cpu", "total"):
            low, value, high = (getattr(row, f"energy_{component}_joule{end}") for end in ("_low", "", "_high"))
            if value is not None:
                assert 0 <= low <= value <= high
        assert row.energy_measured_fraction in (None, 1.0)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("ledger")
    nested.run_program(7, folder)
    return (folder / "ledger.jsonl").read_bytes()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_ledger_cut_anywhere_parses_and_adds_up(data: st.DataObject, ledger: bytes) -> None:
    length = data.draw(st.integers(0, len(ledger)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(ledger[:length])
        try:
            result = read_ledger(path)
        except StoreError:
            assert length <= ledger.index(b"\n")  # the opening line itself is torn
            return
    total = sum(phase.wall_second for phase in result.phases)
    assert total == pytest.approx(result.total.wall_second, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(junk=st.binary(max_size=200), data=st.data())
def test_bytes_thrown_into_a_ledger_never_raise(junk: bytes, data: st.DataObject, ledger: bytes) -> None:
    place = data.draw(st.integers(ledger.index(b"\n") + 1, len(ledger)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(ledger[:place] + junk + ledger[place:])
        result = read_ledger(path)
    assert result.total.wall_second >= 0


def test_rows_fit_a_record() -> None:
    result = nested.run_program(3, None).result
    record = Record(
        run_id="r", cell_key="k", study_name="s", attempt=1, status="finished", started_at_utc=result.started_at_utc,
        ended_at_utc=result.ended_at_utc, cell={}, environment={}, phases=list(result.phases),
        warnings=list(result.warnings), measurement_signature=result.signature, idle_power_watt=result.idle_power_watt,
    )  # fmt: skip
    assert Record.from_json(record.to_json()) == record
