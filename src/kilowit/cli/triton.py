"""`kilowit serve --engine triton`: start NVIDIA Triton under our meter, and say what it all took."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kilowit.cli.endpoint import checked_settings, say_end
from kilowit.console import say
from kilowit.endpoint.server import TOKEN_VARIABLE
from kilowit.endpoint.triton_environment import find_triton
from kilowit.endpoint.triton_server import Ports, serve_triton, triton_models
from kilowit.errors import StudyError
from kilowit.serving.process import own_output, prepare_process


def serve(
    models: Sequence[str],
    runtimes: Sequence[str],
    folder: Path,
    limits: Mapping[str, Any],
    factors: Mapping[str, Any],
    load: Mapping[str, Any],
    token_file: Path | None,
    environment: Path | None,
) -> None:
    """Serve until Ctrl-C.

    Raises:
        KilowitError: an option, a model, the environment or the address is not as it should be.
    """
    settings = checked_settings(limits, factors)
    if token_file is not None or TOKEN_VARIABLE in os.environ:
        hint = f"Leave --token-file out and {TOKEN_VARIABLE} unset; a proxy before Triton can ask for it."
        raise StudyError("Triton would ask nobody for the token", hint=hint)
    if load["device"] not in (None, "cpu"):
        raise StudyError(
            f"no device {load['device']} inside Triton", place="--device", hint="Its models run on the CPU."
        )
    served = triton_models(models, runtimes, num_threads=load["num_threads"])
    found = find_triton(environment, frozenset(model.runtime.name for model in served))
    prepare_process()
    with own_output() as out:

        def tell(url: str, ports: Ports) -> None:
            out.write(f"{url}\n")
            out.flush()
            names = ", ".join(model.name for model in served)
            say(f"Serving {names} with Triton; gRPC on {ports.grpc}, metrics on {ports.metrics}. Ctrl-C stops.")

        result = serve_triton(
            served, settings, found, folder=folder, max_source_tokens=load["max_source_tokens"], on_ready=tell
        )
    say_end(result, folder)
