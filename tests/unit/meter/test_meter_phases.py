from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from kilowit.errors import PartError
from kilowit.meter import Meter, read_ledger
from kilowit.meter.ledger import read_events
from kilowit.parts.sensors.replay import Flaws, ReplaySensor, Trace, VirtualClock

WATT = 100.0


def constant_meter(clock: VirtualClock, folder: Path | None = None, watt: float = WATT, **options: Any) -> Meter:
    trace = Trace.from_power([0.0, 1e6], [watt, watt])
    sensor = ReplaySensor(trace, clock, flaws=options.pop("flaws", None))
    return Meter(folder, sensors=[sensor], period_second=None, clock=clock, **options)


def test_nested_phase_is_taken_out_of_the_row_of_its_parent_and_kept_in_its_result() -> None:
    clock = VirtualClock()
    with constant_meter(clock) as meter:
        with meter.phase("train") as train:
            clock.advance(3)
            with meter.phase("validate") as validate:
                clock.advance(2)
            clock.advance(1)
        clock.advance(4)
    result = meter.result
    assert result is not None
    assert [(p.phase, p.wall_second, p.energy_gpu_joule) for p in result.phases] == [
        ("train", 4.0, 400.0),
        ("validate", 2.0, 200.0),
        ("gap", 4.0, 400.0),
    ]
    assert train.result is not None
    assert (train.result.wall_second, train.result.energy_gpu_joule) == (6.0, 600.0)
    assert validate.result is not None
    assert validate.result.energy_gpu_joule == 200.0
    assert (result.total.phase, result.total.energy_total_joule) == ("total", 1000.0)


def test_phases_of_one_name_add_up_in_one_row() -> None:
    clock = VirtualClock()
    with constant_meter(clock) as meter:
        for step in range(3):
            with meter.phase("train") as phase:
                clock.advance(1)
                phase.count(num_examples=8, num_input_tokens=100, num_output_tokens=20, num_steps=1, flop_total=1e9)
                phase.set(loss_first=3.0 - step, loss_last=2.5 - step, flop_source="formula")
    assert meter.result is not None
    row = meter.result.phases[0]
    assert (row.num_examples, row.num_steps, row.flop_total, row.wall_second) == (24, 3, 3e9, 3.0)
    assert (row.examples_per_second, row.tokens_per_second) == (8.0, 120.0)
    assert (row.loss_first, row.loss_last, row.flop_source) == (3.0, 0.5, "formula")
    assert meter.result.total.flop_total == 3e9


def test_a_phase_that_raises_is_booked_and_its_error_goes_on(tmp_path: Path) -> None:
    clock = VirtualClock()
    with pytest.raises(ZeroDivisionError), constant_meter(clock, tmp_path) as meter, meter.phase("train"):
        clock.advance(2)
        raise ZeroDivisionError
    assert meter.result is not None
    assert meter.result.phases[0].energy_gpu_joule == 200.0
    ends = [e for e in read_events(tmp_path / "ledger.jsonl") if e is not None and e["event"] == "end"]
    assert ends[0]["error"] == "ZeroDivisionError"


def test_current_phase_is_the_innermost() -> None:
    with constant_meter(VirtualClock()) as meter:
        assert meter.current_phase is None
        with meter.phase("train"):
            with meter.phase("validate"):
                assert meter.current_phase == "validate"
            assert meter.current_phase == "train"
        assert meter.current_phase is None


def test_synchronize_is_called_at_both_ends_unless_told_not_to() -> None:
    calls: list[int] = []
    with constant_meter(VirtualClock(), synchronize=lambda: calls.append(1)) as meter:
        with meter.phase("a"):
            assert len(calls) == 1
        assert len(calls) == 2
        with meter.phase("b", synchronize=False):
            pass
    assert len(calls) == 2


def test_a_phase_without_a_running_meter_still_tells_the_time() -> None:
    meter = constant_meter(VirtualClock())
    with meter.phase("before") as phase:
        pass
    assert phase.result is not None
    assert phase.result.wall_second >= 0
    assert phase.result.energy_total_joule is None
    meter.start()
    result = meter.stop()
    with meter.phase("after"):
        pass
    assert meter.stop() is result
    assert [p.phase for p in result.phases] == ["gap"]


def test_notes_are_lines_and_warnings_come_with_the_result(tmp_path: Path) -> None:
    with constant_meter(VirtualClock(), tmp_path) as meter:
        meter.note("progress", "step 3", phase="train", step=3, loss=math.nan, place=tmp_path)
        meter.note("warning", "hot")
    notes = [e for e in read_events(tmp_path / "ledger.jsonl") if e is not None and e["event"] == "note"]
    assert notes[0]["facts"] == {"phase": "train", "step": 3, "loss": "nan", "place": str(tmp_path)}
    assert meter.result is not None
    assert meter.result.warnings == ("hot",)
    assert read_ledger(tmp_path).warnings == ("hot",)


def test_idle_energy_is_the_power_of_the_idle_phase_times_time_and_within_the_total() -> None:
    clock = VirtualClock()
    trace = Trace.from_power([0, 10, 10, 20], [60, 60, 300, 300])
    sensor = ReplaySensor(trace, clock)
    with Meter(sensors=[sensor], period_second=None, clock=clock) as meter:
        with meter.phase("idle"):
            clock.advance(10)
        with meter.phase("train"):
            clock.advance(10)
    result = meter.result
    assert result is not None
    assert result.idle_power_watt == 60.0
    assert [p.energy_idle_joule for p in result.phases] == [600.0, 600.0, 0.0]
    assert result.total.energy_idle_joule == 1200.0


def test_idle_power_can_be_given() -> None:
    clock = VirtualClock()
    with constant_meter(clock, idle_power_watt=30.0) as meter, meter.phase("train"):
        clock.advance(2)
    assert meter.result is not None
    assert meter.result.phases[0].energy_idle_joule == 60.0


def test_interval_of_a_counter_is_its_gain_error_and_a_tick_at_each_end() -> None:
    clock = VirtualClock()
    with constant_meter(clock, flaws=Flaws(tick_second=0.1)) as meter, meter.phase("train"):
        clock.advance(10)
    assert meter.result is not None
    row = meter.result.phases[0]
    assert row.energy_gpu_joule == pytest.approx(1000)
    assert row.energy_gpu_joule_low == pytest.approx(1000 * 0.95 - 2 * 0.1 * WATT)
    assert row.energy_gpu_joule_high == pytest.approx(1000 * 1.05 + 2 * 0.1 * WATT)


def test_a_window_without_a_tick_is_booked_with_an_interval_that_holds_the_truth() -> None:
    clock = VirtualClock(0.01)
    with constant_meter(clock, flaws=Flaws(tick_second=0.1)) as meter:
        clock.advance(5)
        with meter.phase("blink") as phase:
            clock.advance(0.05)
    row = phase.result
    assert row is not None
    assert row.energy_gpu_joule is not None
    assert row.energy_gpu_joule_low == 0.0
    assert row.energy_gpu_joule_high is not None
    assert row.energy_gpu_joule_high >= 0.05 * WATT


def test_nothing_is_zero_where_nothing_is_known() -> None:
    with Meter(sensors=[], period_second=None) as meter, meter.phase("train"):
        pass
    assert meter.result is not None
    row = meter.result.phases[0]
    assert row.energy_total_joule is None
    assert row.energy_total_source == "none:not_read"
    assert row.energy_gpu_source == "none:no_sensor"
    assert row.memory_host_max_byte is None
    assert meter.result.signature == "energy|gpu:none|cpu:none|dram:none|idle:kept|period:edges|v:1"


def test_total_joins_sources_and_says_which_share_was_measured() -> None:
    clock = VirtualClock()
    level = Trace.from_power([0, 100], [100, 100])
    gpu = ReplaySensor(level, clock)
    model = ReplaySensor(level, clock, component="cpu", device="host", has_power=False, source="model:host")
    with Meter(sensors=[gpu, model], period_second=None, clock=clock) as meter, meter.phase("train"):
        clock.advance(1)
    assert meter.result is not None
    row = meter.result.phases[0]
    assert row.energy_total_source == "nvml_counter+model:host"
    assert row.energy_total_joule == 200.0
    assert "gpu:nvml_counter|cpu:model" in meter.result.signature


def test_a_period_that_is_not_positive_is_refused() -> None:
    with pytest.raises(PartError, match="period_second"):
        Meter(period_second=0)


def test_the_sampler_writes_samples_and_power(tmp_path: Path) -> None:
    import time

    with Meter(tmp_path, period_second=0.05) as meter, meter.phase("train"):
        time.sleep(0.4)
    assert meter.result is not None
    assert meter.result.total.energy_cpu_source in ("model:host", "rapl")
    events = [e for e in read_events(tmp_path / "ledger.jsonl") if e is not None]
    assert sum(e["event"] == "sample" for e in events) >= 4
    header, *lines = (tmp_path / "power.csv").read_text().splitlines()
    assert header.startswith("t_second,")
    assert len(lines) >= 4
    assert all(line.count(",") == header.count(",") for line in lines)
