"""Put a server together and run it: models, meter, app, uvicorn; stop it so that no request is lost."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kilowit.endpoint.books import IDLE, cost_of
from kilowit.endpoint.engine import Engine
from kilowit.endpoint.job import Cost
from kilowit.endpoint.settings import EndpointSettings
from kilowit.errors import ExecutorError, PartError, StudyError
from kilowit.meter import MeterResult
from kilowit.serving.making import making_figures
from kilowit.serving.source import Source, find_source
from kilowit.serving.summarizer import Summarizer, load_summarizer
from kilowit.settings import RuntimeSettings

TOKEN_VARIABLE: Final = "KILOWIT_SERVE_TOKEN"
MIN_TOKEN_LENGTH: Final = 16
CLOSING_SECOND: Final = 5.0  # beyond the longest deadline, for answers that are still being sent
RECORD_SOURCE: Final = "the record of its run"
_UNNAMEABLE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Served:
    """A model to serve: its name in requests, and how it is loaded."""

    name: str
    load: Callable[[], Summarizer]
    making: Cost | None = None  # what it took to have it; None = nobody knows


@dataclass(frozen=True)
class Named:
    """A model as it was named on the command line, on one of the runtimes that were; None = what the model chose."""

    name: str
    model: str
    source: Source
    runtime: RuntimeSettings | None


def named_models(models: Sequence[str], runtimes: Sequence[str]) -> list[Named]:
    """Return every model on every runtime, by names that tell them apart.

    Args:
        models: as for `load_summarizer`, each perhaps with a name before it: ``news=runs/...``.
        runtimes: ``NAME`` or ``NAME:PRECISION``; none = what each model chose.

    Raises:
        KilowitError: no such model, or two of one name.
    """
    found: dict[str, Named] = {}
    for written in models:
        given, _, model = written.rpartition("=") if not Path(written).exists() else ("", "", written)
        source = find_source(model)
        for runtime in runtimes or [""]:
            label = "" if len(runtimes) < 2 else f"-{runtime.replace(':', '-')}"
            name = _UNNAMEABLE.sub("-", f"{given or source.name}{label}").strip("-") or "model"
            if name == IDLE:
                raise StudyError(f'no model can be named "{IDLE}": the books call so what nobody asked for')
            if name in found:
                raise StudyError(f'two models would be named "{name}"', hint="Name them: news=FOLDER dialogue=FOLDER.")
            found[name] = Named(name, model, source, RuntimeSettings.parse(runtime) if runtime else None)
    return list(found.values())


def models_to_serve(models: Sequence[str], runtimes: Sequence[str], **options: Any) -> list[Served]:
    """Return how every model on every runtime is loaded.

    Args:
        models, runtimes: as for `named_models`.
        options: for `load_summarizer`.

    Raises:
        KilowitError: no such model, or two of one name.
    """
    found = []
    for named in named_models(models, runtimes):
        record = None if named.source.run is None else named.source.run.record
        making = None if record is None else replace(cost_of(making_figures(record)), source=RECORD_SOURCE)
        load = functools.partial(load_summarizer, named.model, runtime=named.runtime, **options)
        found.append(Served(named.name, load, making))
    return found


def read_token(path: Path | None, environment: Mapping[str, str], host: str) -> str | None:
    """Return the bearer token from a file or the environment; None = anyone on this machine may ask.

    Raises:
        StudyError: none, where others than this machine could ask; or one that is guessed too easily.
    """
    token = environment.get(TOKEN_VARIABLE)
    if path is not None:
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"the token cannot be read ({error})", place=str(path)) from error
    if token is None and not is_loopback(host):
        hint = f"Give --token-file, or set {TOKEN_VARIABLE}; or listen on 127.0.0.1."
        raise StudyError(f"{host} can be reached by others, and there is no token", hint=hint)
    if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        hint = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one.'
        raise StudyError(f"the token is not {MIN_TOKEN_LENGTH} printable ASCII characters or more", hint=hint)
    return token


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    models: Sequence[Served],
    settings: EndpointSettings,
    *,
    folder: Path | None = None,
    token: str | None = None,
    on_ready: Callable[[str], object] = lambda url: None,
) -> MeterResult:
    """Serve until SIGINT or SIGTERM, answer what was taken on, and return what the meter saw.

    Args:
        folder: where ledger and books are kept, and gone on with.
        on_ready: told the address, once requests are answered.

    Raises:
        ExecutorError: the address cannot be listened on.
        KilowitError: a model cannot be loaded.
    """
    uvicorn = _require_uvicorn()
    from kilowit.endpoint.app import create_app
    from kilowit.endpoint.otel import OpenTelemetry, is_wanted, require_sdk

    is_told = is_wanted(settings.otel_endpoint, os.environ)
    if is_told:
        require_sdk(settings.otel_endpoint)
    listening = _listen(settings.host, settings.port)
    engine = Engine({model.name: model.load for model in models}, settings, folder=folder)
    engine.making = {model.name: model.making for model in models if model.making is not None}
    telemetry: OpenTelemetry | None = None
    try:
        engine.start()
        if is_told:
            telemetry = OpenTelemetry(engine, settings.factors, settings.otel_endpoint, os.environ)
        config = uvicorn.Config(
            create_app(engine, settings, token=token, watchers=[] if telemetry is None else [telemetry]),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.deadline_second + CLOSING_SECOND),
        )
        server = uvicorn.Server(config)
        address = listening.getsockname()
        on_ready(f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}")
        _run(server, listening)
    finally:
        listening.close()
        result = engine.close()
        if telemetry is not None:
            telemetry.close()
    return replace(result, warnings=(*result.warnings, *([engine.books.problem] if engine.books.problem else [])))


def _run(server: Any, listening: socket.socket) -> None:
    """Run uvicorn; it raises the signal that ended it once more when it is done, which then must not kill us."""
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        text = f"cannot listen on {host}:{port} ({error})"
        raise ExecutorError(text, hint="Is another server there? --port 0 takes any free port.") from error
    # Connections inherit it. asyncio sets it on sockets of its own making alone, and without it the second packet of
    # each answer waits for the client's delayed acknowledgement: 40 ms on every request (measured, 2026-11-23).
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _require_uvicorn() -> Any:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise PartError(f"the package {error.name} is not installed", hint="pip install 'kilowit[serve]'") from error
    return uvicorn
