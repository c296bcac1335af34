"""The verbs `serve` and `bench`, as `kilowit.cli` registers them: parse, call one function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kilowit.cli.options import AsJson, Machine, Region


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL...", help="Run, exported or model's folder, or hub id.", show_default=False
        ),
    ],
    runtime: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:PRECISION]", help="Repeat it to serve each model on several, e.g. onnxruntime:int8."
        ),
    ] = [],  # noqa: B006
    store: Annotated[Path, typer.Option(metavar="FOLDER", help="Ledger and books, gone on with.")] = Path("serving"),
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Another than loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="NUMBER", min=0, max=65535, help="0 = any free port.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bearer token; else KILOWIT_SERVE_TOKEN.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="cpu or cuda; else what is there.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="On the CPU.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Most documents at once.")] = 8,
    max_waiting: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Documents that may wait; else 256.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECOND", help="Longest time to an answer; else 30.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Longest summary to ask for.")] = 256,
    max_source_tokens: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Cut documents.")] = None,
    region: Region = None,
    machine: Machine = None,
    pue: Annotated[float | None, typer.Option(metavar="NUMBER", help="Power usage effectiveness.")] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="kilowit, or triton: NVIDIA Triton, metered.")
    ] = "kilowit",
    triton_env: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Virtual environment with nvidia-pytriton.", envvar="KILOWIT_TRITON"),
    ] = None,
    otel_endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="OTLP/HTTP collector for spans and metrics.")
    ] = None,
) -> None:
    """Serve summaries over HTTP, with a page, and say of each what it cost. Ctrl-C answers what waits, then stops.

    Example: kilowit serve runs/20261123T101530Z_bart-base --runtime onnxruntime:fp32 --runtime onnxruntime:int8
    """
    from kilowit.cli import endpoint

    limits: dict[str, Any] = {
        "host": host, "port": port, "max_batch_size": batch_size, "max_waiting": max_waiting,
        "deadline_second": deadline, "max_new_tokens": max_new_tokens,
        "otel_endpoint": otel_endpoint,
    }  # fmt: skip
    limits = {name: value for name, value in limits.items() if value is not None}
    load = {"device": device, "num_threads": threads, "max_source_tokens": max_source_tokens}
    factors = {"region": region, "machine": machine, "pue": pue}
    if engine == "triton":
        from kilowit.cli import triton

        triton.serve(models, runtime, store, limits, factors, load, token_file, triton_env)
    else:
        endpoint.serve(models, runtime, store, limits, factors, load, token_file, engine)


def bench(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a server.", show_default=False)],
    documents: Annotated[str, typer.Argument(metavar="FILE", help="Text, jsonl or csv.", show_default=False)],
    column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a table file; else document.")] = None,
    scenario: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="single_stream, fixed_batch, random_arrivals or offline; repeatable."),
    ] = [],  # noqa: B006
    protocol: Annotated[str, typer.Option(metavar="NAME", help="json, events or oip.")] = "json",
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Else the server's first.")] = None,
    num_documents: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="In each scenario.")] = 64,
    batch_size: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Of fixed_batch.")] = 16,
    rate: Annotated[float, typer.Option(metavar="NUMBER", help="Requests a second of random_arrivals.")] = 1.0,
    max_second: Annotated[float, typer.Option(metavar="SECOND", help="After which no more is asked.")] = 60.0,
    deadline: Annotated[float, typer.Option(metavar="SECOND", help="Later answers are no goodput.")] = 30.0,
    max_new_tokens: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Longest summary.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bearer token; else KILOWIT_SERVE_TOKEN.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the moments of random_arrivals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Put a load on a server: latency, goodput, and joules per summary by the answers, the server and this machine.

    Example: kilowit bench http://127.0.0.1:8000 articles.jsonl --scenario random_arrivals --rate 4
    """
    from kilowit.cli import endpoint

    limits = {
        "scenarios": scenario, "num_documents": num_documents, "batch_size": batch_size, "rate_per_second": rate,
        "max_second": max_second,
    }  # fmt: skip
    asker = {"protocol": protocol, "model": model, "max_new_tokens": max_new_tokens}
    endpoint.bench(url, documents, column, limits, asker, deadline, token_file, seed, as_json=as_json)
