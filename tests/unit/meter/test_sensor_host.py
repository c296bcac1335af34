from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kilowit.meter import Meter, survey
from kilowit.parts.sensors import _procfs, _psutil
from kilowit.parts.sensors.host import HostSensor
from kilowit.parts.sensors.host_model import HostModelSensor, HostPower, cpu_model_name, host_power
from kilowit.parts.sensors.replay import VirtualClock

POWER = HostPower((1.0, 0.5, 2.0), (5.0, 4.0, 8.0), (3.0, 2.0, 4.0), "test")


def test_procfs_and_psutil_agree_on_this_machine() -> None:
    ours, theirs = _procfs.ProcessTree(os.getpid()).use(), _psutil.ProcessTree(os.getpid()).use()
    assert ours.resident_byte == pytest.approx(theirs.resident_byte, rel=0.05)
    assert abs(ours.written_byte - theirs.written_byte) < 1e6
    assert _procfs.read_busy_cpu_second() == pytest.approx(_psutil.read_busy_cpu_second(), abs=0.2)
    for mine, other in zip(_procfs.read_network_byte(), _psutil.read_network_byte(), strict=True):
        assert mine == pytest.approx(other, abs=1e5)


def test_children_are_found_and_what_they_held_goes_with_them() -> None:
    tree = _procfs.ProcessTree(os.getpid())
    alone_byte = tree.use().resident_byte
    child = subprocess.Popen([sys.executable, "-c", "x = b'1' * 50_000_000; print(flush=True); input()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    assert child.pid in _procfs.descendants(os.getpid())
    assert tree.use().resident_byte > alone_byte + 40e6
    child.communicate(b"\n")
    assert tree.use().resident_byte < alone_byte + 40e6


@pytest.mark.parametrize("system", [_procfs, _psutil])
def test_the_host_sensor_reads_every_quantity_with_either_backend(system: object) -> None:
    sensor = HostSensor(system=system)  # type: ignore[arg-type]
    channels = {channel.id for channel in sensor.open().channels}
    sweep = sensor.read(cheap_only=False)
    assert set(sweep.values) == channels
    assert not sweep.faults
    assert not [name for name in sensor.read(cheap_only=True).values if "network" in name]


def test_a_root_process_that_is_gone_is_a_fault_not_an_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    sensor = HostSensor(child.pid)
    sensor.open()
    child.communicate(b"\n")
    assert "host:memory_host_byte" in sensor.read(cheap_only=True).faults


def test_disk_bytes_written_in_a_phase_are_booked(tmp_path: Path) -> None:
    with (
        Meter(sensors=[HostSensor()], period_second=None) as meter,
        meter.phase("save"),
        (tmp_path / "x").open("wb") as file,
    ):
        file.write(os.urandom(3_000_000))
        file.flush()
        os.fsync(file.fileno())
    assert meter.result is not None
    row = meter.result.phases[0]
    if psutil.Process().io_counters().write_bytes:  # a memory file system writes nothing
        assert row.disk_written_byte is not None
        assert row.disk_written_byte >= 3_000_000
    assert row.memory_host_max_byte is not None
    assert row.memory_host_max_byte > 5e6


def test_model_energy_is_linear_between_idle_and_full() -> None:
    clock, busy = VirtualClock(), VirtualClock()
    sensor = HostModelSensor(POWER, clock=clock, busy_cpu_second=busy, num_vcpus=2)
    with Meter(sensors=[sensor], period_second=None, clock=clock) as meter:
        with meter.phase("idle"):
            clock.advance(10)
        with meter.phase("train"):
            clock.advance(10)
            busy.advance(10)  # half of two CPUs
        with meter.phase("predict"):
            clock.advance(10)
            busy.advance(20)
    assert meter.result is not None
    rows = [(p.energy_cpu_joule, p.energy_cpu_joule_low, p.energy_cpu_joule_high) for p in meter.result.phases[:3]]
    assert rows == [(10.0, 5.0, 20.0), (30.0, 22.5, 50.0), (50.0, 40.0, 80.0)]
    assert meter.result.phases[0].energy_dram_joule == 30.0
    assert meter.result.phases[0].energy_measured_fraction == 0.0
    assert meter.result.idle_power_watt == 4.0


def test_a_measured_component_needs_no_model() -> None:
    from kilowit.parts.sensors.replay import ReplaySensor, Trace

    clock = VirtualClock()
    rapl = ReplaySensor(Trace.from_power([0, 9], [50, 50]), clock, component="cpu", has_power=False, source="rapl")
    model = HostModelSensor(POWER, clock=clock, busy_cpu_second=VirtualClock(), num_vcpus=2)
    with Meter(sensors=[rapl, model], period_second=None, clock=clock) as meter, meter.phase("train"):
        clock.advance(2)
    assert meter.result is not None
    row = meter.result.phases[0]
    assert (row.energy_cpu_joule, row.energy_cpu_source) == (100.0, "rapl")
    assert (row.energy_dram_joule, row.energy_dram_source) == (6.0, "model:host")
    assert row.energy_measured_fraction == pytest.approx(100 / 106)


def test_coefficients_of_this_machine_are_ordered_and_come_from_the_tables() -> None:
    power = host_power()
    for likely, low, high in (power.cpu_idle_watt, power.cpu_full_watt, power.dram_watt):
        assert 0 < low <= likely <= high
    assert cpu_model_name() in power.basis


def test_the_survey_has_a_row_for_every_sensor_and_says_why_not() -> None:
    rows = survey()
    assert {row["sensor"] for row in rows} == {"nvml", "rapl", "host_model", "host"}
    assert all(set(row) == {"sensor", "device", "works", "source", "why_not", "remedy"} for row in rows)
    assert all(row["works"] or (row["why_not"] and row["source"].startswith("none:")) for row in rows)


def test_importing_the_meter_is_quick_and_needs_no_heavy_package() -> None:
    code = "from kilowit import Meter; m = Meter().start(); m.stop(); import sys; print(*sorted(sys.modules))"
    started_second = time.monotonic()
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert time.monotonic() - started_second < 5  # a smoke test; benchmarks/meter_overhead.py holds the bars
    assert not {"psutil", "pydantic", "numpy", "torch", "hashlib", "asyncio", "subprocess"} & set(seen)
