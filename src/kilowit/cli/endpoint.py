"""`kilowit serve`: start, say where it is, and at the end what it all took."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kilowit.cli.views import known
from kilowit.console import say
from kilowit.endpoint.server import models_to_serve, read_token
from kilowit.endpoint.server import serve as serve_models
from kilowit.endpoint.settings import EndpointSettings
from kilowit.errors import StudyError
from kilowit.factors import carbon
from kilowit.meter import MeterResult
from kilowit.serving.process import own_output, prepare_process


def serve(
    models: Sequence[str],
    runtimes: Sequence[str],
    folder: Path,
    limits: Mapping[str, Any],
    factors: Mapping[str, Any],
    load: Mapping[str, Any],
    token_file: Path | None,
) -> None:
    """Serve until Ctrl-C.

    Raises:
        KilowitError: an option, a model, the token or the address is not as it should be.
    """
    try:
        settings = EndpointSettings.model_validate({**limits, "factors": dict(factors)})
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(first["msg"], place=".".join(str(step) for step in first["loc"])) from error
    carbon(settings.factors.region)  # refused before anything is loaded
    token = read_token(token_file, os.environ, settings.host)
    prepare_process()
    with own_output() as out:
        served = models_to_serve(models, runtimes, **load)

        def tell(url: str) -> None:
            out.write(f"{url}\n")
            out.flush()
            say(f"Serving {', '.join(model.name for model in served)}. Ctrl-C stops.")

        result = serve_models(served, settings, folder=folder, token=token, on_ready=tell)
    _say_end(result, folder)


def _say_end(result: MeterResult, folder: Path) -> None:
    for row in result.phases:
        say(f"{row.phase:<24} {known(row.wall_second, 'time')}, {known(row.energy_total_joule, 'energy')}")
    say(f"{'total':<24} {known(result.total.wall_second, 'time')}, {known(result.total.energy_total_joule, 'energy')}")
    for warning in result.warnings:
        say(f"warning: {warning}")
    say(f"{result.signature}\nBooks: {folder}")
