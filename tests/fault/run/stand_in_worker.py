"""A real process in place of ``kilowit worker``: meters a little, then ends in the way that it is told.

Usage: stand_in_worker.py BEHAVIOUR RUN_DIR
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from kilowit.meter import Meter
from kilowit.record import Record
from kilowit.store import RunFolder


def main(behaviour: str, folder: RunFolder) -> int:
    meter = Meter(folder.path, period_second=0.1).start()
    with meter.phase("train"):
        meter.note("progress", "step 1", phase="train", step=1, num_steps=4, loss=2.5)
        time.sleep(0.15)
        act(behaviour, folder)
    if behaviour == "silent":
        return 0
    result = meter.stop()
    status, kind = {
        "finish": ("finished", None),
        "hang": ("interrupted", "interrupted"),
    }.get(behaviour, ("failed", behaviour))
    folder.write_record(
        Record(
            run_id=folder.run_id, cell_key=folder.cell_key, study_name=folder.cell["study_name"],
            attempt=folder.attempt, status=status, error_kind=kind, error_message=kind and f"it was {kind}",
            started_at_utc=result.started_at_utc, ended_at_utc=result.ended_at_utc, cell=folder.cell, environment={},
            phases=list(result.phases), measurement_signature=result.signature,
        )
    )  # fmt: skip
    return 0


def act(behaviour: str, folder: RunFolder) -> None:
    if behaviour in ("SIGKILL", "SIGSEGV"):
        os.kill(os.getpid(), signal.Signals[behaviour])
    elif behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder.path / "ready").touch()
        time.sleep(60)
    elif behaviour == "hang":
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        (folder.path / "ready").touch()
        while not stopped:
            time.sleep(0.02)
    elif behaviour == "crash":
        raise RuntimeError("boom")
    elif behaviour == "full":
        raise OSError(28, "No space left on device")
    elif behaviour == "parent":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder.path / "child").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], RunFolder(Path(sys.argv[2]))))
