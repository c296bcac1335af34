"""Faults of the disk, the clock, the program and its process."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

from kilowit.meter import Meter, read_ledger
from kilowit.parts.sensors.replay import VirtualClock
from meter_fault import ANSWER, Broken, Outcome, fail, fault, run_job, told

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
        from meter_fault import Broken
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
