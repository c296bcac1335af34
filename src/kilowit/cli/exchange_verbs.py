"""The verbs `import` and `export-records`, as `kilowit.cli` registers them: parse, call one function, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from kilowit.cli.options import RUNS, AsJson, Machine, Region, StorePath

_READ: Final = "codecarbon, published, impact_tracker, azure_monitor, mlflow or hugging_face; else seen from each file."


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="What another tool left.", show_default=False)],
    store: StorePath = RUNS,
    format: Annotated[str | None, typer.Option("--format", metavar="NAME", help=_READ)] = None,
    region: Region = None,
    machine: Machine = None,
    as_json: AsJson = False,
) -> None:
    """Import runs of other tools, marked as such, and say what their files contradict.

    Example: kilowit import emissions.csv all_results.json --store runs --region azure/westus2
    """
    from kilowit.cli import exchange_views
    from kilowit.exchange import import_runs

    exchange_views.show_imported(
        import_runs(files, store, format=format, region=region, machine=machine), as_json=as_json
    )
