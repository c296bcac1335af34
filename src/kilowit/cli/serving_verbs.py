"""The verbs `summarize` and `export`, as `kilowit.cli` registers them: parse, call one function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from kilowit.cli.options import AsJson, Machine, Region

_MODEL: Final = "Run folder, exported folder, model's folder, or hub id."


def summarize(
    model: Annotated[str, typer.Option(metavar="MODEL", help=_MODEL, show_default=False)],
    documents: Annotated[str, typer.Argument(metavar="FILE", help="Text, jsonl or csv; - = standard input.")] = "-",
    column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a table file; else document.")] = None,
    runtime: Annotated[str | None, typer.Option(metavar="NAME", help="`kilowit parts runtimes` lists them.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="Number format, e.g. int8.")] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="cpu or cuda; else what is there.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="On the CPU.")] = None,
    num_beams: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="1 = greedy search.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Longest summary.")] = None,
    min_new_tokens: Annotated[int | None, typer.Option(metavar="NUMBER", min=0, help="Shortest summary.")] = None,
    length_penalty: Annotated[float | None, typer.Option(metavar="NUMBER", help="Above 1 favours length.")] = None,
    no_repeat_ngram_size: Annotated[int | None, typer.Option(metavar="NUMBER", min=0, help="0 = may repeat.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Most documents at once.")] = None,
    max_source_tokens: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Cut documents.")] = None,
    region: Region = None,
    machine: Machine = None,
    as_json: AsJson = False,
) -> None:
    """Summarize documents with any model on any runtime: summaries on stdout, the bill on stderr.

    Example: kilowit summarize article.txt --model runs/20261123T101530Z_bart-base --runtime torch_fast
    """
    from kilowit.cli import serving
    from kilowit.settings import FactorSettings

    predict = {
        "num_beams": num_beams, "max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens,
        "length_penalty": length_penalty, "no_repeat_ngram_size": no_repeat_ngram_size, "batch_size": batch_size,
    }  # fmt: skip
    asked = serving.Asked(model, runtime, precision, device, threads, max_source_tokens, predict)
    serving.summarize(asked, documents, column, FactorSettings(region=region, machine=machine), as_json=as_json)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.", show_default=False)],
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="`kilowit parts runtimes` lists them; else torch, onnxruntime for triton."),
    ] = None,
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="Number format, e.g. int8.")] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="folder; triton: a model repository of NVIDIA Triton; pyfunc: for MLflow's server."
        ),
    ] = "folder",
    region: Region = None,
    machine: Machine = None,
    as_json: AsJson = False,
) -> None:
    """Leave a trained model as a folder that others can load, with a model card: data, bills, quality, signature.

    Example: kilowit export runs/20261123T101530Z_bart-base OUT --runtime onnxruntime --precision int8
    """
    from kilowit.cli import serving
    from kilowit.settings import FactorSettings

    factors = FactorSettings(region=region, machine=machine)
    serving.export(model, out, target, runtime, precision, factors, as_json=as_json)
