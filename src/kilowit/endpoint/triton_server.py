"""Serve with NVIDIA Triton, under our meter: `kilowit serve --engine triton`.

Triton takes the requests, gathers them into batches and refuses what comes too late; each batch asks our meter before
it is computed (`kilowit.endpoint.triton_meter`), so that every answer says what it took and the books are those of our
own server. What is served is written into a model repository first, as `kilowit export --target triton` does.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.endpoint import triton_launch
from kilowit.endpoint.books import Books, cost_of
from kilowit.endpoint.keeper import Keeper
from kilowit.endpoint.server import CLOSING_SECOND, is_loopback, named_models
from kilowit.endpoint.settings import EndpointSettings
from kilowit.endpoint.triton_environment import TritonEnvironment
from kilowit.endpoint.triton_meter import TritonMeter
from kilowit.errors import ExecutorError, StudyError
from kilowit.meter import Meter, MeterResult
from kilowit.parts.triton_meter import VARIABLE as METER_VARIABLE
from kilowit.serving.source import Source
from kilowit.serving.summarizer import chosen_runtime, release_memory, synchronize
from kilowit.serving.triton_config import Gathering
from kilowit.serving.triton_repository import RUNTIMES, TritonLimits, check_triton_runtime, text_models, write_model
from kilowit.settings import RuntimeSettings

LOG_NAME: Final = "triton.log"
WORKSPACE_NAME: Final = "triton"  # in the folder of the books, for as long as it serves
READY_SECOND: Final = 300.0  # after which a start is given up
LOOK_SECOND: Final = 0.05
QUEUE_LIMITS: Final = ("deadline_second", "max_waiting")  # set if asked for: `Gathering` says what they cost
CLIENT_SECOND: Final = 5.0  # for an answer to us
LAST_LINES: Final = 5  # of Triton's log, in an error


@dataclass(frozen=True)
class TritonModel:
    """A model to serve: its name in requests, and what it is made of."""

    name: str
    source: Source
    runtime: RuntimeSettings


class Ports(NamedTuple):
    """Where Triton listens, on one address."""

    http: int
    grpc: int
    metrics: int


def triton_models(
    models: Sequence[str], runtimes: Sequence[str], *, num_threads: int | None = None
) -> list[TritonModel]:
    """Return every model on every runtime, by names that tell them apart.

    Args:
        models: as for `kilowit.endpoint.server.named_models`; a model repository stands for all in it.
        runtimes: ``NAME`` or ``NAME:PRECISION``; none = what each model chose, else the first that Triton can run.

    Raises:
        KilowitError: no such model, two of one name, or a runtime that does not run inside Triton.
    """
    written = [one for model in models for one in _of_repository(model) or [model]]
    found = []
    for named in named_models(written, runtimes):
        chose_none = named.source.manifest is None and named.source.runtime is None
        asked = named.runtime or (RuntimeSettings(name=RUNTIMES[0]) if chose_none else None)
        chosen = chosen_runtime(named.source, asked, None, num_threads)
        check_triton_runtime(chosen.name)
        found.append(TritonModel(named.name, named.source, chosen))
    return found


def _of_repository(model: str) -> list[str]:
    return [f"{folder.parent.name}={folder}" for folder in text_models(Path(model).expanduser())]


def serve_triton(
    models: Sequence[TritonModel],
    settings: EndpointSettings,
    environment: TritonEnvironment,
    *,
    folder: Path | None = None,
    max_source_tokens: int | None = None,
    on_ready: Callable[[str, Ports], object] = lambda url, ports: None,
) -> MeterResult:
    """Serve until SIGINT or SIGTERM, answer what was taken on, and return what the meter saw.

    Args:
        settings: of them, what bodies and requests may hold is Triton's own business; it refuses what waits too long
            or is too much only where they were set, for that costs throughput.
        folder: where ledger, books and Triton's log are kept, and gone on with.
        max_source_tokens: longer documents are cut; None = as each model says.
        on_ready: told the address of HTTP, and all ports, once requests are answered.

    Raises:
        StudyError: an address that others can reach: Triton asks nobody for a token.
        ExecutorError: the address cannot be listened on, or Triton does not start, or ends by itself.
        KilowitError: a model cannot be exported for Triton.
    """
    if not is_loopback(settings.host):
        hint = "Listen on 127.0.0.1, and put a proxy before it that does."
        raise StudyError(f"{settings.host} can be reached by others, and Triton asks for no token", hint=hint)
    ports = _free_ports(settings.host, settings.port)
    books, meter = Books(folder, is_kept=True), Meter(folder, synchronize=synchronize)
    keeper = Keeper(meter, books)
    with _workspace(folder) as workspace, meter:
        server = _Server(models, settings, environment, ports, workspace, folder or workspace, meter, keeper)
        try:
            server.write_repository(max_source_tokens)
            books.book_session(_session(models, settings))
            server.run(on_ready)
        finally:
            result = meter.stop()
            keeper.book_rest(result.total, cost_of(result.total))
            books.close()
    return replace(result, warnings=(*result.warnings, *([books.problem] if books.problem else [])))


def _session(models: Sequence[TritonModel], settings: EndpointSettings) -> dict[str, Any]:
    """Return what the books say of a start."""
    served = {
        model.name: {
            "runtime": f"triton, {model.runtime.label}",
            "device": "cpu",
            "source": model.source.origin,
            "making_joule": None,
        }
        for model in models
    }
    factors = settings.factors
    return {"models": served, "region": factors.region, "machine": factors.machine, "pue": factors.pue}


@contextlib.contextmanager
def _workspace(folder: Path | None) -> Iterator[Path]:
    """Yield an empty folder for the repository; what a server that was killed left of it is removed first."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="kilowit-") as name:
            yield Path(name)
        return
    workspace = folder / WORKSPACE_NAME
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    try:
        yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@dataclass
class _Server:
    """Triton as a process of ours, from its repository to its end."""

    models: Sequence[TritonModel]
    settings: EndpointSettings
    environment: TritonEnvironment
    ports: Ports
    workspace: Path
    folder: Path
    meter: Meter
    keeper: Keeper

    @property
    def repository(self) -> Path:
        return self.workspace / "repository"

    def write_repository(self, max_source_tokens: int | None) -> None:
        """Write every model, each in a phase of its own."""
        for model in self.models:
            longest = max_source_tokens or model.source.max_source_tokens
            with self._loading(model.name):
                limits = self._limits(model.runtime.num_threads)
                write_model(
                    model.source, self.repository, model.name, model.runtime, limits,
                    with_graphs=False, max_source_tokens=longest,
                )  # fmt: skip
                release_memory()

    def run(self, on_ready: Callable[[str, Ports], object]) -> None:
        """Start Triton, meter its batches, and return when it has ended as it was told to."""
        answering = TritonMeter(self.meter, self.keeper, self.settings.factors)
        with contextlib.closing(answering), (self.folder / LOG_NAME).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, triton_launch.__file__, str(os.getpid()), *self._command()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment.variables(os.environ) | {METER_VARIABLE: str(answering.path)},
                start_new_session=True,  # the terminal's Ctrl-C is for us, who tell Triton
            )  # fmt: skip
            try:
                with self._loading("triton"):
                    self._await_ready(process)
                with _on_signal(functools.partial(self._finish, process)) as is_told:
                    on_ready(f"http://{_bracketed(self.settings.host)}:{self.ports.http}", self.ports)
                    answering.run(process.pid)
                    if not is_told():
                        raise ExecutorError(f"Triton ended by itself: {self._last_words()}", place=str(log.name))
            finally:
                _end(process, self.settings.deadline_second + CLOSING_SECOND)

    @contextlib.contextmanager
    def _loading(self, name: str) -> Iterator[None]:
        with self.meter.phase(f"load {name}") as phase:
            yield
        assert phase.result is not None
        self.keeper.book(f"load {name}", cost_of(phase.result))

    def _limits(self, num_threads: int | None) -> TritonLimits:
        settings = self.settings
        asked = settings.model_dump(include=set(QUEUE_LIMITS) & settings.model_fields_set)
        return TritonLimits(
            max_batch_size=settings.max_batch_size,
            gathering=Gathering(wait_second=settings.batch_wait_second, **asked),
            num_threads=num_threads,
            max_new_tokens=settings.max_new_tokens,
            max_beams=settings.max_beams,
        )

    def _command(self) -> list[str]:
        command = [str(self.environment.binary), "--model-repository", str(self.repository)]
        command += ["--backend-directory", str(self.environment.backends(self.workspace))]
        command += ["--disable-auto-complete-config", "--model-control-mode", "explicit"]
        for model in self.models:
            command += ["--load-model", model.name]
        for kind, port in self.ports._asdict().items():
            command += [f"--{kind}-address", self.settings.host, f"--{kind}-port", str(port)]
        command += ["--allow-gpu-metrics", "false"]
        return [*command, "--exit-timeout-secs", str(int(self.settings.deadline_second + CLOSING_SECOND))]

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        began_second = time.monotonic()
        client = TritonClient(self.settings.host, self.ports.http)
        while not client.is_ready():
            if process.poll() is not None:
                raise ExecutorError(f"Triton does not start: {self._last_words()}", place=str(self.folder / LOG_NAME))
            if time.monotonic() - began_second > READY_SECOND:
                text = f"Triton was not ready after {READY_SECOND:.0f} s: {self._last_words()}"
                raise ExecutorError(text, place=str(self.folder / LOG_NAME))
            time.sleep(LOOK_SECOND)

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        """Let Triton answer what it has taken on, then end it.

        Told to end, it cuts the connections of what waits; told to unload a model, it answers that first.
        """
        deadline_second = time.monotonic() + self.settings.deadline_second + CLOSING_SECOND
        client = TritonClient(self.settings.host, self.ports.http)
        with contextlib.suppress(OSError, http.client.HTTPException):  # it has ended already
            for model in self.models:
                client.ask("POST", f"/v2/repository/models/{model.name}/unload")
            while client.num_loaded() and time.monotonic() < deadline_second:
                time.sleep(LOOK_SECOND)
        process.terminate()

    def _last_words(self) -> str:
        """Return what Triton's log ends with, its errors if it has any."""
        lines = (self.folder / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("E") or "error" in line.lower()]
        return " / ".join((errors or lines)[-LAST_LINES:])


@dataclass(frozen=True)
class TritonClient:
    """Asks a Triton of ours how it is."""

    host: str
    port: int

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Return status and content of one answer.

        Raises:
            OSError, http.client.HTTPException: none came.
        """
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=CLIENT_SECOND)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()

    def is_ready(self) -> bool:
        """Whether requests are answered."""
        try:
            return self.ask("GET", "/v2/health/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def num_loaded(self) -> int:
        """Return how many models still compute, or may."""
        states = json.loads(self.ask("POST", "/v2/repository/index")[1])
        return sum(model.get("reason") != "unloaded" for model in states if "state" in model)


@contextlib.contextmanager
def _on_signal(act: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """On the first SIGINT or SIGTERM do something in a thread of its own; yield what says whether that happened."""
    threads: list[threading.Thread] = []

    def start(number: int, frame: object) -> None:
        if not threads:
            threads.append(threading.Thread(target=act, name="kilowit-triton-end"))
            threads[0].start()

    kept = {number: signal.signal(number, start) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(threads)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes], patience_second: float) -> None:
    """See to it that a process has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_second)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _free_ports(host: str, port: int) -> Ports:
    """Return three ports that can be listened on: the one asked for and the two after it, as is Triton's custom.

    Raises:
        ExecutorError: one of them cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listening = []
        for offset in range(len(Ports._fields)):
            wanted = port + offset if port else 0
            try:
                listening.append(stack.enter_context(socket.create_server((host, wanted), family=family)))
            except (OSError, OverflowError) as error:
                text = f"cannot listen on {host}:{wanted} ({error})"
                hint = "Triton takes three ports in a row; --port 0 takes any free ones."
                raise ExecutorError(text, hint=hint) from error
        return Ports(*(one.getsockname()[1] for one in listening))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
