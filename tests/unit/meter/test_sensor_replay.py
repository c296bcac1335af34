from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.errors import SensorError
from kilowit.parts import load
from kilowit.parts.sensors.replay import Flaws, ReplaySensor, Trace, VirtualClock


def test_the_integral_of_a_trace_is_exact_between_and_beyond_its_knots() -> None:
    trace = Trace.from_power([0, 2, 2, 4], [0, 100, 50, 50])
    assert [trace.joule_at(t) for t in (-1, 0, 1, 2, 3, 4, 6)] == [0, 0, 25, 100, 150, 200, 300]
    assert [trace.watt_at(t) for t in (0, 1, 3, 9)] == [0, 50, 50, 50]


def test_a_trace_is_read_from_power_or_from_a_counter(tmp_path: Path) -> None:
    (tmp_path / "power.csv").write_text("t_second,watt\n0,100\n10,100\n")
    (tmp_path / "counter.jsonl").write_text('{"t_second": 0, "joule": 5}\n\n{"t_second": 10, "joule": 1005}\n')
    for name in ("power.csv", "counter.jsonl"):
        assert Trace.load(tmp_path / name).joule_at(4) == pytest.approx(400)


@pytest.mark.parametrize("text", ["", "t_second\n1\n", "t_second,watt\n0,much\n"])
def test_a_trace_that_is_none_is_refused_with_what_it_needs(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SensorError, match=r"cannot be read") as caught:
        Trace.load(tmp_path / "bad.csv")
    assert "t_second" in str(caught.value.hint)


def test_flaws_tick_wrap_reset_and_gap() -> None:
    clock = VirtualClock()
    flaws = Flaws(tick_second=0.1, wrap_joule=300, start_joule=250, resets_second=(5.0,), gaps_second=((7.0, 8.0),))
    sensor = ReplaySensor(Trace.from_power([0, 10], [100, 100]), clock, flaws=flaws)
    sensor.open()

    def joule_at(second: float) -> object:
        clock.second = second
        return sensor.read(cheap_only=True).values.get("replay:gpu:replay-0:energy")

    assert joule_at(0.05) == 250
    assert joule_at(0.3) == pytest.approx(270, abs=10.001)
    assert joule_at(1.0) == pytest.approx(50, abs=10.001)
    assert joule_at(6.0) == pytest.approx(100, abs=10.001)
    assert joule_at(7.5) is None


def test_a_trace_is_never_found_by_itself() -> None:
    assert load("sensors", "replay").default() is None
