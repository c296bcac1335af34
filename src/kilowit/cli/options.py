"""Options that several verbs take, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="YAML file of the study.", show_default=False)]
StorePath = Annotated[Path, typer.Option("--store", metavar="FOLDER", help="Folder of runs.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one value, e.g. train.num_epochs=1; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]
Region = Annotated[str | None, typer.Option(metavar="NAME", help="Grid region, e.g. azure/westus2, country/FR.")]
Machine = Annotated[str | None, typer.Option(metavar="NAME", help="Machine that is billed, e.g. Standard_NC6s_v3.")]

RUNS: Final = Path("runs")
SIDE: Final = "A store's folder, recipe=bf16, a run, or a cell's label."
