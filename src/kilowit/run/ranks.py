"""A cell of several processes: ``kilowit worker RUN_DIR`` starts itself again under torchrun, once a rank.

Every rank runs the cell up to the end of training. The first alone is metered (it reads the whole node), writes the
record and goes on to predict. What the others have to say, they leave in files of a temporary folder: why they
failed, or that they ended. So the record names the cause and not its echo: a rank that dies makes the first one fail
in a collective, or be ended by torchrun.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from kilowit.cell import Cell
from kilowit.errors import ExecutorError, KilowitError, StoreError
from kilowit.parts.executor import Loss, is_stop_asked, worker_command
from kilowit.parts.method import plan_settings
from kilowit.parts.sensor import Sensor, default_sensors
from kilowit.parts.sensors.host import HostSensor
from kilowit.run.ending import Cause, Ending, cause_of, count_oom_kills
from kilowit.run.failure import Failure
from kilowit.run.node import end_with
from kilowit.run.nodes import FIRST_NODE, WORDS_NAME, Node, this_node
from kilowit.run.recover import close_run
from kilowit.store import RunFolder

ENDED_BY_SIGNAL: Final = ("interrupted", "preempted")
VARIABLE: Final = "KILOWIT_RANKS"  # the temporary folder; set in ranks alone
LOOK_SECOND: Final = 0.05
ECHO_SECOND: Final = 5.0  # how long the first rank waits to hear of a cause elsewhere
GRACE_SECOND: Final = 30.0  # torchrun's, from SIGTERM to SIGKILL
COLLECTIVE_TIMEOUT_SECOND: Final = 1800.0  # a rank that waits longer for another gives up
# What torch says where a collective ends because another rank is gone: gloo, torch 2.13; NCCL was not run.
_ECHOES: Final = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "DistNetworkError", "DistStoreError",
    "gloo", "Gloo", "NCCL",
)  # fmt: skip
_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Rank:
    """One process of a cell's training. `folder` is where ranks leave word; None = it is alone."""

    number: int
    num_ranks: int
    folder: Path | None
    local_number: int = 0  # on its node
    node: Node = FIRST_NODE

    @property
    def is_first(self) -> bool:
        """Whether it keeps the books."""
        return self.number == 0

    @property
    def is_leader(self) -> bool:
        """Whether it meters its node."""
        return self.local_number == 0

    def sensors(self) -> list[Sensor] | None:
        """Return what the meter of a node's leader reads: memory and disk of all its ranks; None = the usual."""
        if self.folder is None:
            return None
        launcher = HostSensor(os.getppid())
        return [launcher if sensor.name == launcher.name else sensor for sensor in default_sensors()]

    def device(self) -> Any:
        """Return where this rank computes: its own GPU, else the CPU."""
        import torch

        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")

    def join(self) -> Any:
        """Enter the process group, if there is one and it is not entered yet; return this rank's device."""
        import torch

        if self.folder is not None and not torch.distributed.is_initialized():
            on_cuda = torch.cuda.is_available()
            if on_cuda:
                torch.cuda.set_device(self.local_number)
            backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"  # offloaded gradients are reduced on the host
            torch.distributed.init_process_group(backend, timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_SECOND))
        return self.device()

    def leave(self) -> None:
        """Leave the process group."""
        if self.folder is not None:
            import torch

            torch.distributed.destroy_process_group()

    def meet(self) -> None:
        """Wait until the first rank has come here; asleep, for it may be taking the idle baseline."""
        if self.folder is None:
            return
        if self.is_first:
            (self.folder / "go").touch()
        while not (self.folder / "go").exists():
            time.sleep(LOOK_SECOND)

    def say(self, failure: Failure | None) -> None:
        """Leave word of how this rank ended."""
        if self.folder is not None:
            word = {**self._here, "ended": True, **({} if failure is None else vars(failure))}
            _write(self._file(self.number), word)

    def begin(self) -> None:
        """Leave word that this rank lives, and see to it that it does not outlive the launcher."""
        assert self.folder is not None
        end_with(int((self.folder / f"launcher{self.node.number}").read_text(encoding="ascii")))
        _write(self._file(self.number), {**self._here, "ended": False})

    @property
    def _here(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "node": self.node.number}

    def cause_of(self, own: Failure) -> Failure:
        """Return the failure that began it all: another rank's, if ours can be its echo."""
        is_echo = own.kind in ENDED_BY_SIGNAL or (own.kind == "error" and _is_echo(own.message))
        if self.folder is None or not is_echo:
            return own
        end = time.monotonic() + (ECHO_SECOND if own.kind == "error" else 0.0)
        while True:
            for number in range(1, self.num_ranks):
                if (failure := self._failure_of(number)) is not None:
                    return failure
            if time.monotonic() >= end:
                return self._lost_node(own)
            time.sleep(LOOK_SECOND)

    def _lost_node(self, own: Failure) -> Failure:
        """Name the node that has not said a word of its end, where only that can be why."""
        for number in range(1, self.num_ranks if own.kind == "error" else 0):
            word = _read(self._file(number))
            if word is not None and not word["ended"] and word["node"] != self.node.number:
                return Failure("lost", f"node {word['node']} of {self.node.num_nodes} is gone: {own.message}")
        return own

    def _failure_of(self, number: int) -> Failure | None:
        word = _read(self._file(number))
        if word is None:
            return None
        here = f"rank {number} of {self.num_ranks}"
        if "kind" in word and word["kind"] not in ENDED_BY_SIGNAL and not _is_echo(word["message"]):
            return Failure(word["kind"], f"{here}: {word['message']}")
        if not word["ended"] and word["node"] == self.node.number and not _is_alive(word["pid"]):
            return Failure("killed", f"{here} died of a signal and left no reason")
        return None

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"rank{number}.json"


ALONE: Final = Rank(0, 1, None)


def current() -> Rank:
    """Return which rank this process is, as its launcher said."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return ALONE
    variables = os.environ
    return Rank(
        int(variables["RANK"]), int(variables["WORLD_SIZE"]), Path(folder), int(variables["LOCAL_RANK"]), this_node()
    )


def num_processes_of(cell: Cell) -> int | None:
    """Return how many ranks the recipe of a cell asks for; None = none, the worker trains by itself."""
    if cell.is_baseline:
        return None
    try:
        ranks = plan_settings(cell.settings, cell.methods, None).ranks
    except KilowitError:  # the worker meets it again and records it
        return None
    return None if ranks.wrapper == "none" else ranks.num_processes


def launch(folder: RunFolder, num_processes: int) -> int:
    """Run this node's ranks of the cell of a folder; the first node sees that a record is left; return 0.

    Raises:
        StoreError: the folder has been run before, or the record cannot be written.
        ExecutorError: the ranks are not shared out evenly over the nodes.
    """
    node = this_node()
    if num_processes % node.num_nodes:
        raise ExecutorError(
            f"{num_processes} processes are not shared out evenly over {node.num_nodes} nodes",
            place=str(folder.path),
            hint="Set num_processes of the method to a multiple of the executor's nodes.",
        )
    if node.number > 0:
        _run_ranks(folder, num_processes, node)
        return 0
    if folder.environment_path.exists():
        raise StoreError("this cell was run and is never run again", place=str(folder.path), hint="Start a new run.")
    num_oom_kills = count_oom_kills()
    ending = _run_ranks(folder, num_processes, node)
    if folder.record is None:
        ending = Ending(ending.exit_status, ending.asked, count_oom_kills() - num_oom_kills)
        cause = cause_of(ending, folder)
        close_run(folder, Cause(cause.kind, f"first of {num_processes} ranks: {cause.message}"))
    return 0


def _run_ranks(folder: RunFolder, num_processes: int, node: Node) -> Ending:
    """Run the ranks of this node, which leave word where all of the cell can read it."""
    num_local = num_processes // node.num_nodes
    with contextlib.ExitStack() as stack:
        if node.num_nodes == 1:
            words = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kilowit-ranks-")))
        else:
            words = folder.path / WORDS_NAME
            words.mkdir(exist_ok=True)
        stack.enter_context(_environment(str(words), num_local))
        (words / f"launcher{node.number}").write_text(str(os.getpid()), encoding="ascii")
        return _torchrun(folder, num_local, words, node)


def _torchrun(folder: RunFolder, num_processes: int, words: Path, node: Node) -> Ending:
    """Run the ranks to their end; return how the first that failed ended."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    where = ["--standalone", "--nnodes=1", "--local-addr=127.0.0.1"]
    if node.num_nodes > 1:
        host, _, port = node.rendezvous.rpartition(":")
        where = [
            f"--nnodes={node.num_nodes}", f"--node-rank={node.number}", f"--master-addr={host}",
            f"--master-port={port}",
        ]  # fmt: skip
    arguments = torchrun.parse_args([
        *where, f"--nproc-per-node={num_processes}", "--max-restarts=0", "--no-python", *worker_command(folder.path),
    ])  # fmt: skip
    try:
        torchrun.run(arguments)
    except ChildFailedError as error:
        return Ending(error.get_first_failure()[1].exitcode)
    except SignalException as error:
        for number in _HANDLED:
            signal.signal(number, signal.SIG_IGN)
        _wait_for(words)  # a second signal cuts torchrun's own waiting short
        if is_stop_asked(folder.path):
            return Ending(-int(error.sigval), "interrupted")
        return Ending(0, loss=Loss("preempted", f"its machine was taken away: {error.sigval.name}"))
    return Ending(0)


def _wait_for(words: Path) -> None:
    """Give the ranks time to write their record."""
    end = time.monotonic() + GRACE_SECOND
    pids = [word["pid"] for path in words.glob("rank*.json") if (word := _read(path)) is not None]
    while time.monotonic() < end and any(map(_is_alive, pids)):
        time.sleep(LOOK_SECOND)


@contextlib.contextmanager
def _environment(words: str, num_processes: int) -> Iterator[None]:
    """Set what ranks inherit: where to leave word, and their share of the cores; put all back afterwards."""
    before: Mapping[str, str] = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in _HANDLED}
    num_threads = int(before.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
    os.environ[VARIABLE] = words
    os.environ["OMP_NUM_THREADS"] = str(max(1, num_threads // num_processes))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_echo(message: str) -> bool:
    """Whether a failure says no more than that another rank is gone."""
    return any(words in message for words in _ECHOES)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _write(path: Path, word: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(word), encoding="utf-8")
    draft.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        word: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return word
