"""What an executor is: a file ``parts/executors/<name>.py`` that says where a cell runs.

Its docstring is its card. It defines

    Options     pydantic block of its own options
    executor(options, num_cells) -> Executor

All that an executor runs is ``kilowit worker RUN_DIR``: a folder in, a folder out. It knows nothing of cells, records
or budgets. Whatever it learns of a run, it learns from the folder, from the exit status of that command, or from the
cluster that it talks to; whatever it cannot learn, it says as a `Loss`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from kilowit import parts
from kilowit.errors import ErrorKind, PartError

JOB_NAME: Final = "job.json"  # in the run folder: what a later driver needs to find the job again
STOP_NAME: Final = "stop"  # in the run folder: the person wants the run to end; without it SIGTERM is a preemption
# Set for the worker by whoever starts it away from the driver.
EXECUTOR_VARIABLE: Final = "KILOWIT_EXECUTOR"
PARENT_VARIABLE: Final = "KILOWIT_PARENT"  # pid of the process that the worker must not outlive
# Set for the workers of a cell that has several nodes; see `kilowit.parts.ranks`.
NUM_NODES_VARIABLE: Final = "KILOWIT_NUM_NODES"
NODE_VARIABLE: Final = "KILOWIT_NODE"
RENDEZVOUS_VARIABLE: Final = "KILOWIT_RENDEZVOUS"
NUM_AT_ONCE_VARIABLE: Final = "KILOWIT_NUM_CELLS_AT_ONCE"  # on one machine; above 1 it is shared


@dataclass(frozen=True)
class Loss:
    """Why a job is gone that nobody saw end."""

    kind: ErrorKind  # preempted, lost, or what the cluster knows better
    message: str


class Job(Protocol):
    """A handle on one running cell. No method waits for long."""

    def poll(self) -> int | Loss | None:
        """Return the exit status, negative for a signal; a `Loss`; or None while it runs or waits its turn."""

    def terminate(self) -> None:
        """Ask it to write its record and end."""

    def kill(self) -> None:
        """End it and all that it started, now; of no effect on one that has ended."""


class Executor(Protocol):
    """Something that starts ``kilowit worker RUN_DIR``. Its methods may be called from several threads."""

    name: str
    num_at_once: int  # how many cells it is given at a time
    is_here: bool  # whether cells run on this machine, which is then held for them
    num_gpus: int | None  # that a cell sees; None = all of its machine, 0 = none

    def start(self, folder: Path, *, inherited: Sequence[int] = ()) -> Job:
        """Start the cell of a run folder.

        Args:
            folder: the run folder.
            inherited: descriptors that the worker keeps open, if it is a process of this machine.

        Raises:
            ExecutorError: it cannot be started.
        """

    def adopt(self, folder: Path) -> Job | None:
        """Return the job that an earlier driver started for a run folder; None if it is gone."""

    def close(self) -> None:
        """Let go of what the executor holds; jobs that run are not ended."""


@dataclass(frozen=True)
class ExecutorCall:
    """An executor as a study names it; `options` are those that are not the defaults."""

    name: str = "local"
    options: Mapping[str, Any] | None = None

    def make(self, num_cells: int) -> Executor:
        """Return the executor, ready for at most so many cells at a time.

        Raises:
            PartError: a package that it needs is not installed.
            ExecutorError: there is no cluster, or this machine lacks what is asked for.
        """
        module = parts.load("executors", self.name)
        executor: Executor = module.executor(module.Options.model_validate(dict(self.options or {})), num_cells)
        return executor


def worker_command(folder: Path) -> list[str]:
    """Return the command that runs one cell."""
    # -P: a file named torch.py in the user's folder must not become torch.
    return [sys.executable, "-P", "-m", "kilowit", "worker", str(folder)]


def worker_environment(name: str, num_at_once: int) -> dict[str, str]:
    """Return what a worker is told of where it runs.

    Args:
        name: the executor's.
        num_at_once: cells that share its machine at a time.
    """
    return {EXECUTOR_VARIABLE: name, NUM_AT_ONCE_VARIABLE: str(num_at_once)}


def node_environment(num_nodes: int, node: int, rendezvous: str) -> dict[str, str]:
    """Return what the worker of one node of a cell is told.

    Args:
        num_nodes: of the cell, which all see its run folder.
        node: this one's number, from 0; the first keeps the books.
        rendezvous: ``host:port`` of the first node, free to listen on.
    """
    return {NUM_NODES_VARIABLE: str(num_nodes), NODE_VARIABLE: str(node), RENDEZVOUS_VARIABLE: rendezvous}


def num_cells_at_once(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many cells share this worker's machine at a time, as its executor said."""
    return int(environment.get(NUM_AT_ONCE_VARIABLE, "1"))


def is_stop_asked(folder: Path) -> bool:
    """Whether SIGTERM to the worker of a folder is a person's wish; else its machine is being taken away."""
    return os.environ.get(EXECUTOR_VARIABLE, "local") == "local" or (folder / STOP_NAME).exists()


def write_job(folder: Path, name: str, **facts: str) -> None:
    """Leave in a run folder by which a later driver finds the job again."""
    draft = folder / f".{JOB_NAME}"
    draft.write_text(json.dumps({"executor": name, **facts}), encoding="utf-8")
    draft.replace(folder / JOB_NAME)


def read_job(folder: Path, name: str) -> dict[str, str] | None:
    """Return what `write_job` left for the executor of this name; None if there is nothing."""
    try:
        facts = json.loads((folder / JOB_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get("executor") == name else None


def need(package: str, name: str) -> None:
    """Refuse an executor whose package is not installed.

    Raises:
        PartError: it is not.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise PartError(
            f'executor "{name}" needs the package {package}', hint=f"Install it: pip install 'kilowit[{name}]'."
        )
