"""A ledger as version 1 writes it, of a process killed in `predict`: what it must mean for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.meter import read_ledger

LEDGER = Path(__file__).with_name("ledger_v1.jsonl")


def test_a_ledger_of_version_one_means_what_it_meant() -> None:
    result = read_ledger(LEDGER)
    rows = {phase.phase: phase for phase in result.phases}
    assert list(rows) == ["idle", "train", "validate", "predict", "gap"]
    # train: 100 J up to the wrap (920 -> 1000 -> 20) + 100 J, without validate's 60 J, + 100 J after it
    assert rows["train"].energy_cpu_joule == pytest.approx(100 + 100 + 100)
    assert rows["train"].wall_second == pytest.approx(3.0)
    assert rows["validate"].energy_cpu_joule == pytest.approx(60)
    # predict: 50 J in a second that was read, and half a second more at the same 50 W up to the last whole line
    assert rows["predict"].wall_second == pytest.approx(1.5)
    assert rows["predict"].energy_cpu_joule == pytest.approx(50 + 25)
    # the model's bounds are 1, 2 and 3 W
    bounds = (
        rows["train"].energy_dram_joule_low,
        rows["train"].energy_dram_joule,
        rows["train"].energy_dram_joule_high,
    )
    assert bounds == pytest.approx((3, 6, 9))
    assert result.total.energy_total_joule == pytest.approx(20 + 300 + 60 + 75 + 2 * 7.5)
    assert result.total.energy_measured_fraction == pytest.approx(455 / 470)
    # idle: (20 J + 4 J) / 2 s
    assert result.idle_power_watt == pytest.approx(12)
    assert rows["train"].energy_idle_joule == pytest.approx(36)
    # 3 + 4 + 4 busy seconds of 4 CPUs over 3 s; the peak of memory at its reading
    assert rows["train"].utilization_cpu_mean_fraction == pytest.approx(11 / 12)
    assert (rows["train"].memory_host_max_byte, rows["validate"].memory_host_max_byte) == (9000, 7000)
    assert (rows["train"].disk_written_byte, rows["train"].num_examples, rows["train"].loss_last) == (900, 300, 2.5)
    assert (rows["train"].energy_gpu_source, rows["train"].energy_total_source) == ("none:no_device", "rapl+model:host")
    assert result.warnings == (
        "package-0: counter wrapped, as it does after 1000 J",
        "1 ledger lines were unreadable and are left out",
    )
    assert result.signature == "energy|gpu:none|cpu:rapl|dram:model|idle:kept|period:1000ms|v:1"
    assert (result.started_at_utc, result.ended_at_utc) == ("2026-11-23T10:15:30Z", "2026-11-23T10:15:37Z")
    assert not result.clean
