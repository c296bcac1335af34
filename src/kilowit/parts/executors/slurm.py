"""slurm: jobs of a Slurm cluster, handed in by submitit.

What it does   Hands each cell in as one job, which runs `kilowit worker RUN_DIR` in the store's own folder, and watches
               the folder and `sacct`. With `nodes` above 1 the worker is started once on each node, and the ranks of
               ddp, fsdp, zero and zero_offload are spread over them.
When to use    A Slurm cluster whose nodes share the store's disk.
When not       Nodes without a shared disk: `ray`, or run a study on each and `kilowit merge`.
Trade-off      study wall time / number of jobs that run | 1-60 s a cell until Slurm starts it
Options        cluster (slurm), partition, account, qos, constraint (none), time_minute (60), nodes (1), cpus (none),
               gpus (none), memory_gib (none), at_once (16), tenancy (exclusive), setup ([]), parameters ({}),
               look_second (5)
Loss           A job that is preempted, whose node fails or that Slurm loses is billed by its ledger and tried anew, at
               most three times; Slurm itself is told not to requeue, for a run folder is never run twice. A driver
               that is killed leaves its jobs: the next `kilowit run` adopts them.
Needs          the extra `slurm` here and on the nodes, and a store on a disk that they share
Source         submitit 1.5 (github.com/facebookincubator/submitit); Slurm documentation: sbatch, job state codes
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from kilowit.errors import ExecutorError
from kilowit.parts.executor import (
    PARENT_VARIABLE,
    STOP_NAME,
    Executor,
    Loss,
    need,
    node_environment,
    read_job,
    worker_command,
    worker_environment,
    write_job,
)
from kilowit.parts.executors.local import start_worker
from kilowit.settings import Block, Count, Positive

NAME: Final = "slurm"
FOLDER_NAME: Final = ".submitit"  # in the store: what submitit writes of its jobs
GRACE_SECOND: Final = 20.0  # that a worker has to write its record
UNKNOWN_SECOND: Final = 300.0  # that accounting may take to hear of a job
WRITE_SECOND: Final = 5.0  # that a shared disk may take to show a record once its job has ended
_WAITS: Final = frozenset({"READY", "PENDING", "RUNNING", "REQUEUED", "COMPLETING", "CONFIGURING", "SUSPENDED"})
_LOSSES: Final[Mapping[str, Loss]] = {
    "PREEMPTED": Loss("preempted", "Slurm preempted the job"),
    "REVOKED": Loss("preempted", "Slurm revoked the job"),
    "NODE_FAIL": Loss("lost", "the job's node failed"),
    "BOOT_FAIL": Loss("lost", "the job's node did not boot"),
    "CANCELLED": Loss("preempted", "the job was cancelled by somebody else"),
    "TIMEOUT": Loss("timeout", "longer than the job's time limit, executor.time_minute"),
    "DEADLINE": Loss("timeout", "the job's deadline passed"),
    "OUT_OF_MEMORY": Loss("out_of_memory_host", "Slurm's memory limit ended the job, executor.memory_gib"),
}


class Options(Block):
    """What a job asks for."""

    cluster: Literal["slurm", "local"] = Field(
        "slurm", description="local: submitit's processes of this machine, to try a study before it is handed in"
    )
    partition: str | None = None
    account: str | None = None
    qos: str | None = Field(None, description="quality of service")
    constraint: str | None = Field(None, description="features that a node must have")
    time_minute: Count = Field(60, description="wall time limit of a job, which runs one cell")
    nodes: Count = Field(1, description="nodes of a cell; above 1 for recipes that train in several processes")
    cpus: Count | None = Field(None, description="CPUs of a node that a cell takes")
    gpus: Count | None = Field(None, description="GPUs of a node that a cell takes")
    memory_gib: Positive | None = Field(None, description="memory of a node that a cell takes")
    at_once: Count = Field(16, description="jobs handed in at a time")
    tenancy: Literal["exclusive", "shared"] = Field(
        "exclusive", description="exclusive: whole nodes (sbatch --exclusive); shared: marked in the record"
    )
    setup: list[str] = Field([], description="shell lines before the worker, e.g. module load cuda")
    parameters: dict[str, str | int | bool] = Field({}, description="other options of sbatch, by their long names")
    look_second: Annotated[float, Field(ge=0.1, le=600)] = Field(5.0, description="time between two calls of sacct")


def executor(options: Options, num_cells: int) -> Executor:
    """Return the executor.

    Raises:
        PartError: submitit is not installed.
        ExecutorError: there is no Slurm here.
    """
    need("submitit", NAME)
    return SlurmExecutor(options, num_cells)


class SlurmExecutor:
    """Runs cells as jobs of Slurm.

    Args:
        options: what a job asks for.
        num_cells: no more than so many are handed in at a time.
    """

    name = NAME
    is_here = False

    def __init__(self, options: Options, num_cells: int) -> None:
        self._options = options
        self.num_at_once = min(num_cells, options.at_once)
        self.num_gpus = None if options.gpus is None else options.gpus * options.nodes
        self._lock = threading.Lock()  # submitit is not made for threads
        self._executor: Any = None

    def start(self, folder: Path, *, inherited: Any = ()) -> SlurmJob:
        """Hand a cell in."""
        folder = folder.absolute()
        told = worker_environment(NAME, self._num_sharing())
        try:
            with self._lock:
                job = self._in(folder.parent).submit(NodeTask(), str(folder), told)
        except Exception as error:
            words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ExecutorError(
                f"Slurm does not take the job ({words})",
                place=str(folder),
                hint="Try the same options with sbatch; `executor: {name: slurm, cluster: local}` runs without Slurm.",
            ) from error
        write_job(folder, NAME, cluster=self._options.cluster, job_id=job.job_id)
        return SlurmJob(job, folder, self._options.look_second, self._lock)

    def adopt(self, folder: Path) -> SlurmJob | None:
        """Return the job of an earlier driver, if Slurm still has it."""
        folder = folder.absolute()
        facts = read_job(folder, NAME)
        if facts is None or facts.get("cluster") != self._options.cluster:
            return None
        with self._lock:
            kind = self._in(folder.parent).job_class
            job = kind(folder=folder.parent / FOLDER_NAME, job_id=facts["job_id"])
        adopted = SlurmJob(job, folder, self._options.look_second, self._lock)
        return adopted if adopted.poll() is None else None

    def close(self) -> None:
        """Hold nothing: jobs are Slurm's."""

    def _num_sharing(self) -> int:
        if self._options.tenancy == "exclusive":
            return 1
        return max(2, (os.cpu_count() or 1) // (self._options.cpus or 1))

    def _in(self, store: Path) -> Any:
        """Return submitit's executor for a store."""
        if self._executor is None:
            import submitit

            asked, cluster = self._options, self._options.cluster
            made = submitit.AutoExecutor(folder=store / FOLDER_NAME, cluster=cluster, local_max_num_timeout=0)
            made.update_parameters(timeout_min=asked.time_minute, nodes=asked.nodes, tasks_per_node=1, name="kilowit")
            if cluster == "slurm":
                made.update_parameters(**_wanted(asked))
            self._executor = getattr(made, "_executor", made)
        return self._executor


class NodeTask:
    """What submitit runs on each node of a job: ``kilowit worker RUN_DIR``."""

    def __call__(self, run_dir: str, told: Mapping[str, str]) -> int:
        """Run the worker to its end; return its exit status."""
        import submitit

        node = submitit.JobEnvironment()
        spread = {}
        if node.num_nodes > 1:
            port = 20_000 + int("".join(c for c in node.job_id if c.isdigit())) % 20_000
            spread = node_environment(node.num_nodes, node.node, f"{node.hostnames[0]}:{port}")
        folder = Path(run_dir)
        told = {**told, **spread, PARENT_VARIABLE: str(os.getpid())}
        job = start_worker(worker_command(folder), folder, dict(told))
        try:
            while (status := job.poll()) is None:
                time.sleep(0.1)
            return status
        finally:  # submitit raises here when Slurm warns that it takes the node away
            job.terminate()
            end_second = time.monotonic() + GRACE_SECOND
            while job.poll() is None and time.monotonic() < end_second:
                time.sleep(0.05)
            job.kill()

    def checkpoint(self, *_: object) -> None:
        """Return None: submitit must not requeue the job; a new attempt is another run."""


class SlurmJob:
    """One job, seen through its run folder and through sacct."""

    def __init__(self, job: Any, folder: Path, look_second: float, lock: threading.Lock) -> None:
        self._job, self._folder, self._look_second, self._lock = job, folder, look_second, lock
        self._known_second = time.monotonic()
        self._next_second = 0.0
        self._ended_second: float | None = None
        self._end: int | Loss | None = None
        self._is_cancelled = False

    def poll(self) -> int | Loss | None:
        """Return how it ended: at once if there is a record, else as soon as Slurm says so."""
        if self._end is None:
            self._end = self._look()
        return self._end

    def terminate(self) -> None:
        """Have Slurm end it; the worker learns that a person wants it to."""
        (self._folder / STOP_NAME).touch()
        self._is_cancelled = True
        with self._lock:
            self._job.cancel(check=False)

    def kill(self) -> None:
        """Have Slurm end it."""
        if self._end is None:
            self.terminate()
            self._end = -signal.SIGKILL

    def _look(self) -> int | Loss | None:
        if (self._folder / "record.json").exists():
            return 0
        now_second = time.monotonic()
        if now_second < self._next_second:
            return None
        self._next_second = now_second + self._look_second
        state = self._state()
        if state == "UNKNOWN":
            is_old = now_second - self._known_second > UNKNOWN_SECOND
            return Loss("lost", "Slurm's accounting no longer knows the job") if is_old else None
        self._known_second = now_second
        if state in _WAITS:
            return None
        if self._ended_second is None:
            self._ended_second, self._next_second = now_second, now_second + self._look_second / 10
        if now_second - self._ended_second < min(WRITE_SECOND, self._look_second):
            return None
        if self._is_cancelled:
            return -signal.SIGTERM
        return _LOSSES.get(state, 1)

    def _state(self) -> str:
        with self._lock:
            said = self._job.get_info(mode="force")
        state = str(said.get("State") or said.get("jobState") or "UNKNOWN").split()[0].rstrip("+").upper()
        if state == "NO":  # submitit's local job of another process
            import psutil

            return "RUNNING" if psutil.pid_exists(int(self._job.job_id)) else "FINISHED"
        return state


def _wanted(asked: Options) -> dict[str, Any]:
    """Return the options of sbatch, under submitit's names."""
    named = {
        "slurm_partition": asked.partition,
        "slurm_account": asked.account,
        "slurm_qos": asked.qos,
        "slurm_constraint": asked.constraint,
        "slurm_exclusive": True if asked.tenancy == "exclusive" else None,
        "slurm_setup": asked.setup or None,
        "cpus_per_task": asked.cpus,
        "gpus_per_node": asked.gpus,
        "mem_gb": asked.memory_gib,
    }
    # A requeued job would meet a folder that has been run: the next attempt is ours to start.
    other = {"slurm_additional_parameters": {"no-requeue": True, **asked.parameters}}
    return {**{name: value for name, value in named.items() if value is not None}, **other}
