"""ray: tasks of a Ray cluster, started on this machine or found where it runs.

What it does   Gives each cell to Ray as one task, which makes a folder on the node that Ray chooses, runs
               `kilowit worker RUN_DIR` there, and sends what it leaves home: the ledger every second, the rest at the
               end. Nothing has to be shared between nodes.
When to use    A Ray cluster that is there; machines without a shared disk; spot machines that come and go.
When not       One machine: `local` measures with less beside it. Studies of local files that the nodes do not have at
               the same path.
Trade-off      study wall time / number of nodes | 0.1-1 s a cell more than local
Options        address (none), num_cpus (1), num_gpus (0), at_once (none), tenancy (exclusive)
Loss           A node or task that is lost, and a driver that is killed, leave the ledger as it came home last: it
               becomes a partial record, a second or two short, and the cell is tried anew, at most three times. Ray
               itself repeats nothing.
Needs          the extra `ray` here and kilowit on every node
Source         Moritz et al. 2018, arXiv 1712.05889; ray 2.60 documentation, "Ray generators", "Fault tolerance"
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from kilowit.errors import ExecutorError
from kilowit.parts.carried import CELL_NAME, Piece, bring_home, run_there
from kilowit.parts.executor import Executor, Loss, need, worker_environment, write_job
from kilowit.parts.executors.local import LOG_NAME
from kilowit.settings import Block, Count, NonNegative, Positive

NAME: Final = "ray"
SETTLE_SECOND: Final = 3.0  # from a node's death to the next attempt: every scheduler is to have heard of it
NODES_SECOND: Final = 3.0  # between two questions which nodes are alive
_NODE: Final = "/node"  # no file has this name
_STAND_IN: Final = Path(__file__).parents[1] / "without_amdsmi"


class Options(Block):
    """Which cluster, and what a cell is given of it."""

    address: str | None = Field(None, description="auto, host:port, ray://host:port; None = a cluster of this machine")
    num_cpus: Positive = Field(1.0, description="Ray's CPUs that a cell takes; all of a node's = one cell a node")
    num_gpus: NonNegative = Field(0.0, description="Ray's GPUs that a cell takes and alone sees")
    at_once: Count | None = Field(None, description="cells handed out at a time; None = as many as there is room for")
    tenancy: Literal["exclusive", "shared"] = Field(
        "exclusive", description="exclusive: one cell is measured on a machine at a time; shared: marked in the record"
    )


def executor(options: Options, num_cells: int) -> Executor:
    """Return the executor, connected to its cluster.

    Raises:
        PartError: Ray is not installed.
        ExecutorError: Ray does not start, or there is no cluster at the address.
    """
    need("ray", NAME)
    return RayExecutor(options, num_cells)


class RayExecutor:
    """Runs cells as tasks of a Ray cluster.

    Args:
        options: which cluster, and what a cell is given of it.
        num_cells: no more than so many are handed out at a time.
        command: instead of ``kilowit worker``, with the folder to be appended.
    """

    name = NAME
    is_here = False

    def __init__(self, options: Options, num_cells: int, command: Sequence[str] | None = None) -> None:
        self._options, self._command = options, command
        self._ray = _connect(options)
        self.num_gpus: int | None = int(options.num_gpus)
        self.num_at_once = min(num_cells, options.at_once or self._room())
        self._nodes, self._numbers = _Nodes(self._ray), itertools.count(1)
        self._task = self._ray.remote(
            num_cpus=options.num_cpus,
            num_gpus=options.num_gpus,
            num_returns="streaming",
            max_retries=0,  # a lost attempt is billed, and the next one is another run
        )(run_on_node)

    def start(self, folder: Path, *, inherited: Sequence[int] = ()) -> RayJob:
        """Give a cell to the cluster, which runs it when it has room."""
        num_shared = max(2, int((os.cpu_count() or 1) // self._options.num_cpus))
        told = worker_environment(NAME, 1 if self._options.tenancy == "exclusive" else num_shared)
        write_job(folder, NAME)
        files = {CELL_NAME: (folder / CELL_NAME).read_bytes()}
        try:
            # Tasks of one shape share their requests for room, and one that went to a dead node is not answered for two
            # minutes (seen with Ray 2.60, 2026-11-23): some bytes of memory more make each cell a shape of its own.
            task = self._task.options(memory=next(self._numbers))
            pieces = task.remote(folder.name, files, told, self._command)
        except Exception as error:
            raise _gone(error) from error
        return RayJob(self._ray, folder, pieces, self._nodes)

    def adopt(self, folder: Path) -> None:
        """Return None: the tasks of a driver end with it."""

    def close(self) -> None:
        """Leave the cluster; one of this machine is ended."""
        self._ray.shutdown()

    def _room(self) -> int:
        resources: Mapping[str, float] = self._ray.cluster_resources()
        room = resources.get("CPU", 0.0) / self._options.num_cpus
        if self._options.num_gpus:
            room = min(room, resources.get("GPU", 0.0) / self._options.num_gpus)
        if room < 1:
            raise ExecutorError(
                f"no room for a cell of {self._options.num_cpus:g} CPUs and {self._options.num_gpus:g} GPUs in a "
                f"cluster of {resources.get('CPU', 0.0):g} and {resources.get('GPU', 0.0):g}",
                hint="Ask for less, or set executor.at_once for a cluster that grows.",
            )
        return int(room)


def run_on_node(
    run_id: str, files: Mapping[str, bytes], told: Mapping[str, str], command: Sequence[str] | None
) -> Iterator[Piece]:
    """Say on which node the task is, and run the cell there."""
    import ray

    yield Piece(_NODE, ray.get_runtime_context().get_node_id().encode())
    yield from run_there(run_id, files, told, command)


class _Nodes:
    """Which nodes the cluster has given up.

    Ray learns in seconds that a node is gone, but fails its tasks only once their connections break, which after a
    cable was pulled takes minutes (gRPC keepalive, 5 min in Ray 2.60). A job whose node is dead is lost at once.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._lock = threading.Lock()
        self._next_second = 0.0
        self._dead: frozenset[str] = frozenset()

    def is_dead(self, node: str) -> bool:
        """Whether the cluster counts a node as dead; asked at most every few seconds."""
        with self._lock:
            if time.monotonic() >= self._next_second:
                self._dead = frozenset(row["NodeID"] for row in self._ray.nodes() if not row["Alive"])
                self._next_second = time.monotonic() + NODES_SECOND
            return node in self._dead


class RayJob:
    """One task, whose pieces are brought home whenever it is looked at."""

    def __init__(self, ray: Any, folder: Path, pieces: Any, nodes: _Nodes) -> None:
        self._ray, self._folder, self._pieces, self._nodes = ray, folder, pieces, nodes
        self._node: str | None = None  # known once the task runs
        self._dead_second = 0.0  # when its node was first seen to be dead
        self._end: int | Loss | None = None
        self._is_cancelled = False

    def poll(self) -> int | Loss | None:
        """Bring home what has come; return how it ended.

        Raises:
            ExecutorError: the cluster is gone, or what comes home cannot be written.
        """
        try:
            while self._end is None and self._ray.wait([self._pieces], timeout=0, fetch_local=False)[0]:
                self._take_next()
            if self._end is None and self._node is not None and self._nodes.is_dead(self._node):
                self._dead_second = self._dead_second or time.monotonic()
            if self._end is None and self._dead_second and time.monotonic() > self._dead_second + SETTLE_SECOND:
                self._end = Loss("lost", "its node does not answer any more")
        except OSError as error:
            raise ExecutorError(
                f"what a cell left cannot be brought home ({error.strerror})",
                place=str(self._folder),
                hint="Free some space and run again: what is finished is kept.",
            ) from error
        except (self._ray.exceptions.RayError, RuntimeError) as error:
            raise _gone(error) from error
        return self._end

    def terminate(self) -> None:
        """Have the task end its worker; the ledger at home is what stays."""
        self._is_cancelled = True
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.cancel(self._pieces)

    def kill(self) -> None:
        """End the task's process, and the worker with it."""
        if self._end is None:
            self._is_cancelled = True
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(self._pieces, force=True)
            self._end = -signal.SIGKILL

    def _take_next(self) -> None:
        errors = self._ray.exceptions
        try:
            piece: Piece = self._ray.get(next(self._pieces))
        except StopIteration:
            self._end = Loss("lost", "the task ended without saying how")
        except errors.TaskCancelledError:
            self._end = -signal.SIGTERM
        except errors.RayTaskError as error:
            if self._is_cancelled:
                self._end = -signal.SIGTERM
                return
            with (self._folder / LOG_NAME).open("a", encoding="utf-8") as log:
                log.write(f"\n{error.cause or error}\n".replace("\n  ", " "))
            self._end = 1
        except errors.OutOfMemoryError as error:
            self._end = Loss("out_of_memory_host", f"Ray ended the worker: {_first_line(error)}")
        except errors.RayError as error:
            self._end = -signal.SIGKILL if self._is_cancelled else Loss("lost", _first_line(error))
        else:
            if piece.name == _NODE:
                self._node = piece.content.decode()
            elif piece.exit_status is None:
                bring_home(self._folder, piece)
            else:
                self._end = piece.exit_status


def _connect(options: Options) -> Any:
    """Import Ray and join its cluster.

    Raises:
        ExecutorError: it does not start, or there is no cluster at the address.
    """
    with _importable():
        import ray
    own = {"include_dashboard": False, "num_cpus": os.cpu_count()} if options.address is None else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody unless asked for
    try:
        ray.init(
            address=options.address or "local", namespace="kilowit", log_to_driver=False, logging_level="ERROR", **own
        )
    except Exception as error:
        raise ExecutorError(
            f"no Ray cluster at {options.address or 'this machine'} ({_first_line(error)})",
            hint="`ray status` says what runs; leave executor.address out for a cluster of this machine.",
        ) from error
    return ray


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Keep a broken amdsmi from keeping Ray from being imported, here and in the processes that Ray starts.

    Ray 2.60 asks the package amdsmi for AMD's GPUs, and takes its ImportError alone for "none". amdsmi 7.0, which Zeus
    installs, raises KeyError where AMD's library is absent.
    """
    try:
        import amdsmi  # noqa: F401
    except ImportError:
        pass
    except Exception:
        sys.modules.pop("amdsmi", None)
        paths = [str(_STAND_IN), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        sys.path.insert(0, str(_STAND_IN))
    yield


def _gone(error: Exception) -> ExecutorError:
    return ExecutorError(
        f"the Ray cluster does not answer ({_first_line(error)})",
        hint="Start it again and repeat the command: what is finished is kept, what was spent is billed.",
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
