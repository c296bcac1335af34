"""Faults of devices and their drivers."""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kilowit.meter import Meter
from kilowit.meter.reader import SensorReader
from kilowit.parts.sensors.nvml import NvmlSensor
from kilowit.parts.sensors.rapl import RaplSensor
from kilowit.parts.sensors.replay import VirtualClock
from meter_fake_nvml import FakeNvml
from meter_fault import ANSWER, ENVIRONMENT, Broken, Outcome, fail, fault, gpu_sensor, hang, run_job, told

# NVML ----------------------------------------------------------------------------------------------------------


def _nvml_init(folder: Path, code: int) -> Outcome:
    return run_job(folder, NvmlSensor(FakeNvml([], init_error=code), ENVIRONMENT))


@fault("NVML: no driver", "none:no_driver")
def no_driver(folder: Path) -> Outcome:
    """NVML_ERROR_DRIVER_NOT_LOADED."""
    return _nvml_init(folder, 9)


@fault("NVML: driver updated under the kernel", "none:driver_mismatch")
def driver_mismatch(folder: Path) -> Outcome:
    """NVML_ERROR_LIB_RM_VERSION_MISMATCH."""
    return _nvml_init(folder, 18)


@fault("NVML: no permission (EPERM)", "none:no_permission")
def no_permission(folder: Path) -> Outcome:
    """NVML_ERROR_NO_PERMISSION."""
    return _nvml_init(folder, 4)


@fault("NVML: no visible GPU", "none:no_device")
def no_visible_gpu(folder: Path) -> Outcome:
    """CUDA_VISIBLE_DEVICES is empty."""
    return run_job(folder, NvmlSensor(FakeNvml([]), {"CUDA_VISIBLE_DEVICES": ""}))


@fault("NVML: no energy counter", "has no energy counter: none:not_supported")
def no_counter(folder: Path) -> Outcome:
    """An older GPU, or a virtual one: power is sampled."""
    clock = VirtualClock()
    sensor, gpu = gpu_sensor(clock)
    gpu.joule = None
    return run_job(folder, sensor, clock)


@fault("NVML: neither counter nor power", "none:not_supported")
def no_energy_at_all(folder: Path) -> Outcome:
    """Nothing to meter with."""
    clock = VirtualClock()
    sensor, gpu = gpu_sensor(clock)
    gpu.joule = gpu.watt = None
    return run_job(folder, sensor, clock)


@fault("NVML: GPU falls off the bus", "none:device_lost")
def gpu_lost(folder: Path) -> Outcome:
    """NVML_ERROR_GPU_IS_LOST from the middle of the job on."""
    clock = VirtualClock()
    sensor, gpu = gpu_sensor(clock)
    names = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetMemoryInfo")
    return run_job(folder, sensor, clock, lambda: gpu.errors.update(dict.fromkeys(names, 15)))


@fault("NVML: unknown error (EIO) for a while", "none:error")
def unknown_error(folder: Path) -> Outcome:
    """NVML_ERROR_UNKNOWN while a gap lasts."""
    clock = VirtualClock()
    sensor, _ = gpu_sensor(clock, gaps_second=((2.5, 3.5),))
    return run_job(folder, sensor, clock)


@fault("counter is reset", "was reset")
def counter_reset(folder: Path) -> Outcome:
    """The counter starts again at 0."""
    clock = VirtualClock()
    return run_job(folder, gpu_sensor(clock, start_joule=5e4, resets_second=(2.4,))[0], clock)


@fault("counter leaps", "leapt")
def counter_leap(folder: Path) -> Outcome:
    """The counter gains a million joules at once."""
    clock = VirtualClock()
    sensor, gpu = gpu_sensor(clock)
    honest = gpu.joule
    return run_job(folder, sensor, clock, lambda: setattr(gpu, "joule", lambda: honest() + 1e6))


@fault("counter stands still", "stood still")
def counter_stuck(folder: Path) -> Outcome:
    """The counter stops while power is drawn."""
    clock = VirtualClock()
    sensor, gpu = gpu_sensor(clock)
    return run_job(folder, sensor, clock, lambda: setattr(gpu, "joule", lambda: 100.0))


@fault("counter disagrees with power", "off the energy counter")
def counter_disagrees(folder: Path) -> Outcome:
    """The counter shows half of what power adds up to."""
    clock = VirtualClock()
    sensor, gpu = gpu_sensor(clock)
    honest = gpu.joule
    gpu.joule = lambda: honest() / 2
    with Meter(folder, sensors=[sensor], period_second=None, clock=clock) as meter, meter.phase("long"):
        for _ in range(12):
            clock.advance(1.0)
            meter.sample()
    return Outcome(ANSWER, told(folder, meter))


# RAPL ----------------------------------------------------------------------------------------------------------


def powercap(folder: Path, microjoule: str = "1000", wrap: str = "262143328850") -> Path:
    """Make a tree of one package and return its counter."""
    zone = folder / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text(wrap)
    (zone / "energy_uj").write_text(microjoule)
    return zone / "energy_uj"


@fault("RAPL: no permission (EPERM)", "none:no_permission")
def rapl_permission(folder: Path) -> Outcome:
    """The counter is root's; as root, a tree that refuses stands in."""
    counter = powercap(folder)
    with _refusing(counter, PermissionError(errno.EACCES, "Permission denied")):
        return run_job(folder, RaplSensor(counter.parent.parent))


@fault("RAPL: read error (EIO)", "Input/output error")
def rapl_eio(folder: Path) -> Outcome:
    """The counter fails from the middle on."""
    counter = powercap(folder)
    with contextlib.ExitStack() as stack:
        error = OSError(errno.EIO, "Input/output error")
        return run_job(
            folder,
            RaplSensor(counter.parent.parent),
            between=lambda: stack.enter_context(_refusing(counter, error)),
        )


@fault("RAPL: zone vanishes", "No such file")
def rapl_vanishes(folder: Path) -> Outcome:
    """The module is unloaded."""
    counter = powercap(folder)
    return run_job(folder, RaplSensor(counter.parent.parent), between=lambda: shutil.rmtree(counter.parent))


@fault("RAPL: garbage in the counter", "invalid literal")
def rapl_garbage(folder: Path) -> Outcome:
    """The counter is no number."""
    counter = powercap(folder)
    return run_job(folder, RaplSensor(counter.parent.parent), between=lambda: counter.write_text("<unknown>"))


@fault("RAPL: counter wraps", "wrapped")
def rapl_wraps(folder: Path) -> Outcome:
    """The counter starts again at 0, as it must after a while."""
    counter = powercap(folder, "65000000000", "65532610987")
    return run_job(folder, RaplSensor(counter.parent.parent), between=lambda: counter.write_text("40000000"))


@contextlib.contextmanager
def _refusing(path: Path, error: OSError) -> Iterator[None]:
    """Let every reading of one file fail: root may read anything, so permissions cannot do it."""
    honest = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self == path:
            raise error
        return honest(self)

    Path.read_bytes = read_bytes  # type: ignore[method-assign]
    try:
        yield
    finally:
        Path.read_bytes = honest  # type: ignore[method-assign]


# Any sensor ----------------------------------------------------------------------------------------------------


@fault("sensor hangs in a reading", "no answer within")
def hangs_reading(folder: Path) -> Outcome:
    """The reading does not return in time."""
    sensor = Broken()
    return run_job(folder, sensor, between=lambda: sensor.breaks.update(read=hang(30)))


@fault("sensor hangs and comes back", "answers again")
def hangs_for_a_while(folder: Path) -> Outcome:
    """The reading returns late, and the sensor is read again."""
    sensor = Broken()
    with Meter(folder, sensors=[sensor], period_second=None) as meter:
        sensor.breaks["read"] = hang(0.7)
        meter.sample()
        del sensor.breaks["read"]
        time.sleep(0.4)
        meter.sample()
    return Outcome(ANSWER, told(folder, meter))


@fault("sensor hangs as it opens", "none:hung")
def hangs_opening(folder: Path) -> Outcome:
    """The driver does not wake up."""
    honest = SensorReader.__init__
    SensorReader.__init__ = lambda self, s, **k: honest(self, s, open_deadline_second=0.3)  # type: ignore[method-assign]
    try:
        return run_job(folder, Broken(open=hang(30)))
    finally:
        SensorReader.__init__ = honest  # type: ignore[method-assign]


@fault("sensor hangs as it closes", "no answer within")
def hangs_closing(folder: Path) -> Outcome:
    """The driver does not let go."""
    return run_job(folder, Broken(close=hang(30)))


@fault("sensor raises in a reading", "ZeroDivisionError")
def raises_reading(folder: Path) -> Outcome:
    """A bug in a sensor."""
    sensor = Broken()
    return run_job(folder, sensor, between=lambda: sensor.breaks.update(read=fail(ZeroDivisionError("bug"))))


@fault("sensor raises as it opens", "none:error: RuntimeError")
def raises_opening(folder: Path) -> Outcome:
    """A bug in a sensor."""
    return run_job(folder, Broken(open=fail(RuntimeError("bug"))))


@fault("sensor returns NaN", "not a number")
def returns_nan(folder: Path) -> Outcome:
    """A reading that is none."""
    return run_job(folder, Broken(read=lambda: math.nan))


@fault("sensor returns nothing", "returned None")
def returns_nothing(folder: Path) -> Outcome:
    """A sensor that forgets to answer."""
    return run_job(folder, Broken(read=lambda: None))
