"""A Slurm of one machine for tests: sbatch, srun, sacct and scancel that really run what they are given.

``install(folder)`` leaves the commands in ``folder/bin``, to be put on the PATH. A job is a process of its own with
Slurm's variables; its state is what sacct says. ``end(folder, job, state)`` ends a job as a cluster would.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel")


def install(folder: Path) -> Path:
    """Leave the commands in a folder; return it."""
    (folder / "bin").mkdir(parents=True)
    for name in COMMANDS:
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__)} {folder} {name} "$@"\n')
        path.chmod(0o755)
    return folder / "bin"


def end(folder: Path, job: str, state: str, number: signal.Signals = signal.SIGTERM) -> None:
    """End a job as a cluster does that preempts it or loses its node."""
    (folder / f"{job}.state").write_text(state)
    kill(folder, job, number)


def kill(folder: Path, job: str, number: signal.Signals) -> None:
    """Signal every process of a job, as slurmstepd does: all that carry its number."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURM_JOB_ID={job}\0".encode() in (path / "environ").read_bytes():
                os.kill(int(path.name), number)
        except (OSError, ProcessLookupError):
            continue


def sbatch(folder: Path, script: str) -> int:
    number = str(1000 + len(list(folder.glob("*.state"))))
    text = Path(script).read_text()
    (folder / f"{number}.sh").write_text(text)
    (folder / f"{number}.state").write_text("RUNNING")
    nodes = re.search(r"--nodes=(\d+)", text)
    variables = {
        "SLURM_JOB_ID": number, "SLURM_JOB_NUM_NODES": nodes[1] if nodes else "1", "SLURM_JOB_NODELIST": "127.0.0.1",
    }  # fmt: skip
    code = (
        "import subprocess, sys, pathlib\n"
        "status = subprocess.run(['/bin/bash', sys.argv[1]]).returncode\n"
        "state = pathlib.Path(sys.argv[2])\n"
        "if state.read_text() == 'RUNNING': state.write_text('COMPLETED' if status == 0 else 'FAILED')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "SLURM_JOB_ID"}
    # The one who writes the state carries no job number, and survives the job.
    subprocess.Popen(
        [sys.executable, "-c", code, "/dev/stdin", str(folder / f"{number}.state")],
        stdin=(folder / f"{number}.sh").open(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env={**environment, "FAKE_SLURM": "&".join(f"{k}={v}" for k, v in variables.items())},
    )  # fmt: skip
    print(f"Submitted batch job {number}")
    return 0


def srun(folder: Path, *arguments: str) -> int:
    """Run the command once a node; the first option that is no option begins it."""
    rest, outputs = list(arguments), {}
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            outputs[option] = rest.pop(0)
    variables = dict(item.split("=", 1) for item in os.environ["FAKE_SLURM"].split("&"))
    number, num_nodes = variables["SLURM_JOB_ID"], int(variables["SLURM_JOB_NUM_NODES"])
    tasks = []
    for node in range(num_nodes):
        own = {
            **variables, "SLURM_NODEID": str(node), "SLURM_PROCID": str(node), "SLURM_NTASKS": str(num_nodes),
            "SLURM_LOCALID": "0",
        }  # fmt: skip
        paths = {key: Path(text.replace("%j", number).replace("%t", str(node))) for key, text in outputs.items()}
        with paths["--output"].open("ab") as out, paths["--error"].open("ab") as error:
            tasks.append(subprocess.Popen(rest, env={**os.environ, **own}, stdout=out, stderr=error))
    return max(abs(task.wait()) for task in tasks)


def sacct(folder: Path, *arguments: str) -> int:
    asked = [after for option, after in itertools.pairwise(arguments) if option == "-j"]
    print("JobID|State|NodeList")
    for number in asked:
        path = folder / f"{number}.state"
        if path.exists():
            print(f"{number}|{path.read_text()}|node1\n{number}.batch|{path.read_text()}|node1")
    return 0


def scancel(folder: Path, *arguments: str) -> int:
    number = next(text for text in arguments if text.isdigit())
    if (folder / f"{number}.state").read_text() == "RUNNING":
        end(folder, number, "CANCELLED by 0")
        time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[2]](Path(sys.argv[1]), *sys.argv[3:]))
