from __future__ import annotations

from pathlib import Path

from kilowit.meter import Meter
from kilowit.meter.election import Claims, job_of, local_rank_of
from kilowit.parts.sensors.replay import ReplaySensor, Trace, VirtualClock

LEVEL = Trace.from_power([0, 100], [100, 100])


def test_a_device_is_claimed_once_per_job_until_released(tmp_path: Path) -> None:
    first, second, other_job = Claims("a", tmp_path), Claims("a", tmp_path), Claims("b", tmp_path)
    assert first.claim("gpu:0")
    assert first.claim("gpu:0")
    assert not second.claim("gpu:0")
    assert second.claim("gpu:1")
    assert other_job.claim("gpu:0")
    first.release()
    assert second.claim("gpu:0")
    for claims in (second, other_job):
        claims.release()
    assert list(tmp_path.iterdir()) == []


def test_a_job_is_what_the_launcher_tells_its_ranks() -> None:
    assert job_of({}) is None
    assert job_of({"MASTER_ADDR": "h", "MASTER_PORT": "1"}) is None
    torchrun = {"LOCAL_RANK": "3", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    assert job_of(torchrun) == "MASTER_ADDR=h MASTER_PORT=1"
    assert local_rank_of(torchrun) == 3
    assert job_of({"SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}) == "SLURM_JOB_ID=7"


def test_the_second_rank_times_phases_and_books_no_energy(tmp_path: Path) -> None:
    clock = VirtualClock()
    meters = [
        Meter(
            sensors=[ReplaySensor(LEVEL, clock)], period_second=None, clock=clock, job="j", lock_folder=tmp_path
        ).start()
        for _ in range(2)
    ]
    for meter in meters:
        meter.phase("train").__enter__()
    clock.advance(3)
    first, second = (meter.stop() for meter in meters)
    assert first.total.energy_gpu_joule == 300.0
    assert second.total.energy_gpu_joule is None
    assert second.total.energy_gpu_source == "none:other_rank"
    assert second.total.wall_second == 3.0


def test_ranks_that_see_different_gpus_book_each_its_own(tmp_path: Path) -> None:
    clock = VirtualClock()
    meters = [
        Meter(
            sensors=[ReplaySensor(LEVEL, clock, device=f"GPU-{i}"), ReplaySensor(LEVEL, clock, component="cpu")],
            period_second=None, clock=clock, job="j", lock_folder=tmp_path,
        ).start()
        for i in range(2)
    ]  # fmt: skip
    clock.advance(1)
    first, second = (meter.stop().total for meter in meters)
    assert (first.energy_gpu_joule, second.energy_gpu_joule) == (100.0, 100.0)
    assert (first.energy_cpu_joule, second.energy_cpu_joule) == (100.0, None)
