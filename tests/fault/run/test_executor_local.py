from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from kilowit.parts.executors.local import LocalJob

# Starts a child in a group of its own, as the metric `judge` does, and dies without a word.
WORKER = """
import os, pathlib, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], process_group=0)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_dead_worker_started_in_another_group_is_ended_with_it(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-S", "-c", WORKER, str(written)], start_new_session=True)
    job = LocalJob(process)
    deadline_second = time.monotonic() + 20
    while (status := job.poll()) is None and time.monotonic() < deadline_second:
        time.sleep(0.02)
    assert status == -9
    child = int(written.read_text())
    while is_running(child) and time.monotonic() < deadline_second:
        time.sleep(0.02)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
