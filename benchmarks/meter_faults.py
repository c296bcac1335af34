"""Inject faults into the meter and see that the job lives and the ledger tells.

    python benchmarks/meter_faults.py

Each fault is one function: it runs a small job under a meter, breaks something, and returns what was told. Bars: no
job fails, each fault is a line (in the ledger file, or in the result where the file is what broke).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kilowit.meter import Meter, read_ledger
from kilowit.meter.ledger import read_events
from kilowit.meter.reader import SensorReader
from kilowit.parts.sensor import ENERGY, Channel, Opening, Sweep
from kilowit.parts.sensors.nvml import NvmlSensor
from kilowit.parts.sensors.rapl import RaplSensor
from kilowit.parts.sensors.replay import Flaws, ReplaySensor, VirtualClock
from meter_bars import Bar, report
from meter_fake_nvml import FakeNvml, replayed_gpu
from meter_traces import steps

ANSWER = 42
LEVEL = steps([(0.0, 100.0)])
ENVIRONMENT: dict[str, str] = {}


@dataclass(frozen=True)
class Outcome:
    """What a job under a broken meter returned, and what was told about the fault."""

    answer: int
    messages: list[str]


@dataclass(frozen=True)
class Fault:
    """One fault: what breaks, and words that some line must hold."""

    name: str
    inject: Callable[[Path], Outcome]
    told: str


FAULTS: list[Fault] = []


def fault(name: str, told: str) -> Callable[[Callable[[Path], Outcome]], Callable[[Path], Outcome]]:
    """Register a fault."""

    def register(inject: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
        FAULTS.append(Fault(name, inject, told))
        return inject

    return register


def told(folder: Path | None, meter: Meter | None = None) -> list[str]:
    """Return all messages of a ledger and of a result."""
    messages = list(meter.result.warnings) if meter is not None and meter.result is not None else []
    if folder is not None and (folder / "ledger.jsonl").is_file():
        events = [event for event in read_events(folder / "ledger.jsonl") if event is not None]
        messages += [event["message"] for event in events if event["event"] == "note"]
        messages += read_ledger(folder).warnings
    return messages


def run_job(
    folder: Path,
    sensor: Any,
    clock: VirtualClock | None = None,
    between: Callable[[], Any] = lambda: None,
    **options: Any,
) -> Outcome:
    """Run a job of two phases under a meter; `between` happens after the first."""
    moving = clock or VirtualClock()
    with Meter(folder, sensors=[sensor], period_second=None, clock=moving, **options) as meter:
        with meter.phase("one") as phase:
            moving.advance(1.0)
            phase.count(num_examples=1)
        between()
        for _ in range(3):
            moving.advance(1.0)
            meter.sample()
        with meter.phase("two"):
            moving.advance(1.0)
    assert meter.result is not None
    assert math.isclose(meter.result.total.wall_second, 5.0, abs_tol=0.01)
    return Outcome(ANSWER, told(folder, meter))


def gpu_sensor(clock: VirtualClock, **flaws: Any) -> tuple[NvmlSensor, Any]:
    """Return a sensor over one fake GPU of 100 W, and that GPU."""
    gpu = replayed_gpu(ReplaySensor(LEVEL, clock, flaws=Flaws(**flaws)))
    return NvmlSensor(FakeNvml([gpu]), ENVIRONMENT), gpu


class Broken:
    """A sensor of 50 W that breaks in a chosen call, in a chosen way."""

    name = "broken"
    components: tuple[Any, ...] = ("cpu",)

    def __init__(self, **breaks: Callable[[], Any]) -> None:
        self.breaks, self.num_reads = breaks, 0

    def open(self) -> Opening:
        """Open, or break."""
        self.breaks.get("open", lambda: None)()
        return Opening([Channel("broken:cpu", "counter", ENERGY, "cpu", "cpu", "rapl")])

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read, or break."""
        self.num_reads += 1
        value = self.breaks.get("read", lambda: 50.0 * self.num_reads)()
        return value if value is None else Sweep({"broken:cpu": value}, {})

    def close(self) -> None:
        """Close, or break."""
        self.breaks.get("close", lambda: None)()

    def describe(self) -> dict[str, Any]:
        """Describe."""
        return {"sensor": self.name}


def fail(error: BaseException) -> Callable[[], Any]:
    """Return a call that raises."""

    def raising() -> Any:
        raise error

    return raising


def hang(second: float) -> Callable[[], Any]:
    """Return a call that takes long."""
    return lambda: time.sleep(second)


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


# The ledger ----------------------------------------------------------------------------------------------------


@fault("disk full (ENOSPC)", "No space left on device")
def disk_full(folder: Path) -> Outcome:
    """The ledger lies on /dev/full."""
    (folder / "ledger.jsonl").symlink_to("/dev/full")
    return Outcome(run_job(folder, Broken()).answer, _in_memory(folder))


def _in_memory(folder: Path) -> list[str]:
    """Run the job again and return what its result alone tells."""
    with Meter(folder, sensors=[Broken()], period_second=None) as meter, meter.phase("one"):
        pass
    assert meter.result is not None
    assert meter.result.phase("one") is not None
    return list(meter.result.warnings)


@fault("folder cannot be made", "cannot be written")
def folder_is_a_file(folder: Path) -> Outcome:
    """A file is in the way."""
    (folder / "taken").write_text("")
    return Outcome(ANSWER, _in_memory(folder / "taken" / "run"))


@fault("no file descriptors left (EMFILE)", "Too many open files")
def no_descriptors(folder: Path) -> Outcome:
    """The job has used them all up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with Meter(folder, sensors=[Broken()], period_second=None) as meter, meter.phase("one"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return Outcome(ANSWER, told(None, meter))


@fault("lock folder cannot be used", "cannot agree by file lock")
def no_lock_folder(folder: Path) -> Outcome:
    """Ranks have nowhere to agree."""
    (folder / "locks").write_text("")
    return run_job(folder, Broken(), job="x", lock_folder=folder / "locks")


# The process ---------------------------------------------------------------------------------------------------


@fault("wall clock steps", "wall clock stepped")
def clock_steps(folder: Path) -> Outcome:
    """Someone sets the time."""
    utc = VirtualClock(1e9)
    clock = VirtualClock()
    outcome = run_job(folder, Broken(), clock, lambda: utc.advance(-3600), utc_clock=lambda: utc() + clock())
    return outcome


@fault("synchronize raises", "no longer synchronised")
def synchronize_raises(folder: Path) -> Outcome:
    """The device is in error."""
    return run_job(folder, Broken(), synchronize=fail(RuntimeError("CUDA error: device-side assert triggered")))


@fault("phases end out of order", "which started inside it")
def out_of_order(folder: Path) -> Outcome:
    """A program closes the outer phase first."""
    with Meter(folder, sensors=[Broken()], period_second=None) as meter:
        outer, inner = meter.phase("outer"), meter.phase("inner")
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
    return Outcome(ANSWER, told(folder, meter))


@fault("phase still open at the end", "still open when the meter stopped")
def left_open(folder: Path) -> Outcome:
    """A program forgets to end a phase, and stops twice."""
    meter = Meter(folder, sensors=[Broken()], period_second=None).start()
    meter.phase("open").__enter__()
    assert meter.stop() is meter.stop()
    return Outcome(ANSWER, told(folder, meter))


@fault("counts that are none", "is not one of a record")
def wrong_counts(folder: Path) -> Outcome:
    """A program counts what a record does not hold."""
    with Meter(folder, sensors=[Broken()], period_second=None) as meter, meter.phase("one") as phase:
        phase.count(num_epochs=1, num_steps=math.nan)
        phase.set(mood="good", loss_first=math.inf)
    return Outcome(ANSWER, told(folder, meter))


@fault("sampler thread cannot start", "can't start new thread")
def no_threads(folder: Path) -> Outcome:
    """The process may not have another thread."""
    honest = threading.Thread.start
    refuse = fail(RuntimeError("can't start new thread"))
    threading.Thread.start = lambda self: refuse()  # type: ignore[method-assign]
    try:
        with Meter(folder, sensors=[Broken()]) as meter, meter.phase("one"):
            pass
    finally:
        threading.Thread.start = honest  # type: ignore[method-assign]
    return Outcome(ANSWER, told(folder, meter))


def _in_process(folder: Path, body: str, expected_code: int = 0, stop_after: float | None = None) -> Outcome:
    """Run a job in a process of its own; it must end as it would have without a meter."""
    script = textwrap.dedent("""
        import os, signal, sys, time
        from kilowit.meter import Meter
        from meter_faults import Broken
        meter = Meter(sys.argv[1], sensors=[Broken()], period_second=0.1).start()
    """) + textwrap.dedent(body)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.DEVNULL
    )
    code = process.wait(timeout=60)
    assert code == expected_code, f"the job ended with {code}"
    return Outcome(ANSWER, told(folder))


@fault("forked child uses the meter", "closed by the parent")
def fork(folder: Path) -> Outcome:
    """A child of os.fork books nothing and disturbs nothing."""
    outcome = _in_process(
        folder,
        """
        with meter.phase("parent"):
            pid = os.fork()
            if pid == 0:
                with meter.phase("child") as phase:
                    meter.note("warning", "child was here")
                meter.stop()
                os._exit(0 if phase.result.wall_second >= 0 else 1)
            assert os.waitpid(pid, 0)[1] == 0
        meter.note("warning", "closed by the parent")
        meter.stop()
        """,
    )
    assert "child was here" not in outcome.messages
    assert read_ledger(folder).phase("child") is None
    return outcome


@fault("SIGTERM", "was alive")
def sigterm(folder: Path) -> Outcome:
    """The job is asked to end and has no handler: the ledger holds all that was."""
    outcome = _in_process(
        folder,
        """
        with meter.phase("train"):
            meter.note("warning", "was alive")
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        """,
        expected_code=-signal.SIGTERM,
    )
    result = read_ledger(folder)
    train = result.phase("train")
    assert not result.clean
    assert train is not None
    assert train.wall_second >= 0.2
    return outcome


@fault("process is stopped for a while (SIGSTOP)", "no sample for")
def sigstop(folder: Path) -> Outcome:
    """The job sleeps in spite of itself; the counters went on."""
    return _in_process(
        folder,
        """
        with meter.phase("train"):
            if os.fork() == 0:
                time.sleep(1.9)
                os.kill(os.getppid(), signal.SIGCONT)
                os._exit(0)
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.3)
        meter.stop()
        os.wait()
        """,
    )


def check(item: Fault, folder: Path) -> str | None:
    """Inject one fault; return what is wrong with the outcome, or None."""
    try:
        outcome = item.inject(folder)
    except Exception as error:  # the bar is that no fault gets here
        return f"job failed: {type(error).__name__}: {error}"
    if not any(item.told in message for message in outcome.messages):
        return f'no line says "{item.told}": {outcome.messages}'
    return None if outcome.answer == ANSWER else "wrong answer"


def main() -> int:
    """Inject all faults, print, and return 1 if a bar is missed."""
    bars = []
    for item in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            started_second = time.monotonic()
            wrong = check(item, Path(folder))
        second = time.monotonic() - started_second
        bars.append(Bar(item.name, wrong or f"told ({second:.2f} s)", "job lives, ledger tells", wrong is None))
    return report(f"{len(bars)} faults", bars)


if __name__ == "__main__":
    sys.exit(main())
