"""The verbs `import` and `export-records`, as `kilowit.cli` registers them: parse, call one function, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from kilowit.cli.options import RUNS, AsJson, Machine, Region, StorePath

_READ: Final = "codecarbon, published, impact_tracker, azure_monitor, mlflow or hugging_face; else seen from each file."
_WRITTEN: Final = "codecarbon, boamps, model-card, csv, parquet or mlflow."


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


def export_records(
    store: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of runs.", show_default=False)],
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="Folder to make; of mlflow the tracking URI.", show_default=False)
    ],
    format: Annotated[str, typer.Option("--format", metavar="NAME", help=_WRITTEN, show_default=False)],
    region: Region = None,
    machine: Machine = None,
    pue: Annotated[float | None, typer.Option(metavar="NUMBER", min=1, max=5, help="PUE of the site.")] = None,
) -> None:
    """Write the records of a store for other tools; `kilowit export` leaves a trained model as a folder.

    Example: kilowit export-records runs out --format codecarbon

    Example: kilowit export-records runs sqlite:///mlflow.db --format mlflow
    """
    from kilowit.cli import exchange_views
    from kilowit.exchange import export_records
    from kilowit.mirror import mirror_runs
    from kilowit.store import Store

    if format == "mlflow":
        exchange_views.refuse_prices(region=region, machine=machine, pue=pue)
        exchange_views.show_mirrored(mirror_runs(store, out))
        return
    records = Store(store).records()
    exchange_views.show_exported(export_records(records, out, format, region=region, machine=machine, pue=pue))
