"""`kilowit serve` and `kilowit bench`: run a server and say what it all took; ask one and say what it took."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from kilowit.console import say, show_json, show_table
from kilowit.endpoint.asking import PROTOCOLS, Asker
from kilowit.endpoint.load import LoadResult, put_load
from kilowit.endpoint.server import models_to_serve, read_token
from kilowit.endpoint.server import serve as serve_models
from kilowit.endpoint.settings import EndpointSettings
from kilowit.errors import StudyError, near_name_hint
from kilowit.factors import carbon
from kilowit.meter import MeterResult
from kilowit.serving.documents import read_documents
from kilowit.serving.process import own_output, prepare_process
from kilowit.settings import Block, ServeSettings

if TYPE_CHECKING:
    from kilowit.report.quantity import Kind

ENGINES: Final = ("kilowit", "triton")
Checked = TypeVar("Checked", bound=Block)


def known(value: float | None, kind: Kind) -> str:
    """Write a value with its unit; what that needs is not loaded before the server is up (0.2 s, 2026-11-23)."""
    from kilowit.cli import views

    return views.known(value, kind)


def serve(
    models: Sequence[str],
    runtimes: Sequence[str],
    folder: Path,
    limits: Mapping[str, Any],
    factors: Mapping[str, Any],
    load: Mapping[str, Any],
    token_file: Path | None,
    engine: str,
) -> None:
    """Serve until Ctrl-C.

    Raises:
        KilowitError: an option, a model, the token or the address is not as it should be.
    """
    if engine not in ENGINES:
        raise StudyError(f'no engine "{engine}"', place="--engine", hint=near_name_hint(engine, ENGINES))
    settings = checked_settings(limits, factors)
    token = read_token(token_file, os.environ, settings.host)
    prepare_process()
    with own_output() as out:
        served = models_to_serve(models, runtimes, **load)

        def tell(url: str) -> None:
            out.write(f"{url}\n")
            out.flush()
            say(f"Serving {', '.join(model.name for model in served)}. Ctrl-C stops.")

        result = serve_models(served, settings, folder=folder, token=token, on_ready=tell)
    say_end(result, folder)


def checked_settings(limits: Mapping[str, Any], factors: Mapping[str, Any]) -> EndpointSettings:
    """Return the settings of a server, its region known.

    Raises:
        KilowitError: an option cannot be what was given.
    """
    settings = _checked(EndpointSettings, {**limits, "factors": dict(factors)})
    carbon(settings.factors.region)  # refused before anything is loaded
    return settings


def bench(
    url: str,
    path: str,
    column: str | None,
    limits: Mapping[str, Any],
    options: Mapping[str, Any],
    deadline_second: float,
    token_file: Path | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Ask a server in one scenario after another and show what each brought.

    Raises:
        KilowitError: an option, the documents or the server is not as it should be.
    """
    settings = _checked(ServeSettings, {name: value for name, value in limits.items() if value != []})
    if options["protocol"] not in PROTOCOLS:
        raise StudyError(f'no protocol "{options["protocol"]}"', hint=near_name_hint(options["protocol"], PROTOCOLS))
    asker = Asker(url, token=read_token(token_file, os.environ, "localhost"), **options)
    documents = read_documents(path, column)
    asker.totals()  # no server: said before anything is measured
    results = [
        put_load(asker, documents, scenario, settings, deadline_second=deadline_second, seed=seed)
        for scenario in settings.scenarios
    ]
    if as_json:
        show_json({"url": url, "protocol": options["protocol"], "scenarios": results})
        return
    show_table([name for name, _ in _BENCH], [[write(result) for _, write in _BENCH] for result in results])
    for result in results:
        for error in result.errors:
            say(f"{result.scenario}: {error}")


_BENCH: Final[tuple[tuple[str, Callable[[LoadResult], Any]], ...]] = (
    ("Scenario", lambda r: r.scenario),
    ("Requests", lambda r: r.num_requests),
    ("Refused", lambda r: r.num_refused),
    ("Failed", lambda r: r.num_failed),
    ("Summaries/s", lambda r: f"{r.examples_per_second:.3g}"),
    ("In time/s", lambda r: f"{r.goodput_per_second:.3g}"),
    ("p50", lambda r: known(r.latency_p50_second, "time")),
    ("p95", lambda r: known(r.latency_p95_second, "time")),
    ("p99", lambda r: known(r.latency_p99_second, "time")),
    ("First token", lambda r: known(r.first_token_p50_second, "time")),
    ("By server", lambda r: known(r.server_first_token_p50_second, "time")),
    ("Share", lambda r: known(r.share_joule, "energy")),
    ("Server", lambda r: known(r.server_joule, "energy")),
    ("This machine", lambda r: known(r.client_joule, "energy")),
)


def _checked(model: type[Checked], values: Mapping[str, Any]) -> Checked:
    """Return settings from options.

    Raises:
        StudyError: an option cannot be what was given.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        hint = f"kilowit {'bench' if model is ServeSettings else 'serve'} --help says what it may be."
        raise StudyError(first["msg"].removeprefix("Value error, "), place=place, hint=hint) from error


def say_end(result: MeterResult, folder: Path) -> None:
    """Say what serving took, phase by phase."""
    for row in result.phases:
        say(f"{row.phase:<24} {known(row.wall_second, 'time')}, {known(row.energy_total_joule, 'energy')}")
    say(f"{'total':<24} {known(result.total.wall_second, 'time')}, {known(result.total.energy_total_joule, 'energy')}")
    for warning in result.warnings:
        say(f"warning: {warning}")
    say(f"{result.signature}\nBooks: {folder}")
