"""One count per device and job: ranks of one node agree by file lock on who reads which device.

Each device is claimed for itself, because ranks may see different GPUs: what several see is read by the first to
come, and the union over the ranks is the node, once. A lock dies with its process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

RANK_VARIABLES: Final = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
JOB_VARIABLES: Final = (
    "SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "OMPI_MCA_ess_base_jobid",
    "PBS_JOBID", "LSB_JOBID", "AZUREML_RUN_ID",
)  # fmt: skip
NUM_TRIES: Final = 5


def job_of(environment: Mapping[str, str]) -> str | None:
    """Return what the ranks of this job share; None if this process is not one of several ranks."""
    if local_rank_of(environment) is None:
        return None
    shared = [f"{name}={environment[name]}" for name in JOB_VARIABLES if name in environment]
    return " ".join(shared) or f"ppid={os.getppid()}"


def local_rank_of(environment: Mapping[str, str]) -> int | None:
    """Return this process's rank on its node, if a launcher gave it one."""
    given = next((environment[name] for name in RANK_VARIABLES if name in environment), "")
    return int(given) if given.isdigit() else None


class Claims:
    """The devices that this process reads for its job.

    Args:
        job: what its ranks share.
        folder: where the locks lie; must be the node's own.
    """

    def __init__(self, job: str, folder: Path | None = None) -> None:
        self._job = job
        self._folder = folder or default_folder()
        self._held: dict[str, tuple[int, Path]] = {}

    def claim(self, device: str) -> bool:
        """Claim a device; False if another process of the job has it.

        Raises:
            OSError: the lock folder cannot be used.
        """
        if device in self._held:
            return True
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{_digest(self._job, _boot_id(), device)}.lock"
        for _ in range(NUM_TRIES):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            if _is_same_file(fd, path):
                self._held[device] = (fd, path)
                return True
            os.close(fd)  # its holder removed it between our opening and locking
        return False

    def release(self) -> None:
        """Let others have the devices."""
        for fd, path in self._held.values():
            path.unlink(missing_ok=True)
            os.close(fd)
        self._held.clear()

    def forget(self) -> None:
        """Close the locks without giving them up: for a forked child, whose parent holds them still."""
        for fd, _ in self._held.values():
            os.close(fd)
        self._held.clear()


def default_folder() -> Path:
    """Return a folder of this node and user."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else Path(os.environ.get("TMPDIR", "/tmp"))
    return root / f"kilowit-{os.getuid()}"


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _digest(*parts: str) -> str:
    import hashlib  # here, because it brings 4 MB of OpenSSL that a program of one rank need not pay for

    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.uname().nodename
