"""The verbs of `kilowit azureml`: export, lint and submit for people; run, trial, compress and evaluate for jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from kilowit.cli.options import AsJson, Machine, Overrides, StudyPath

_WORK: Final = Path("work")
Work = Annotated[Path, typer.Option("--work", metavar="FOLDER", help="Store on the node's own disk, while it works.")]
Home = Annotated[
    Path, typer.Option("--home", metavar="FOLDER", help="Store that outlives the node.", show_default=False)
]

app: Final = typer.Typer(
    help="Studies on Azure Machine Learning.\n\nExample: kilowit azureml export study.yaml --out azure",
    no_args_is_help=True,
)


@app.command()
def export(
    study: StudyPath,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to make.", show_default=False)],
    machine: Annotated[
        str | None, typer.Option(metavar="SIZE", help="VM size that trains; else factors.machine.")
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="NAME", help="Azure region; else factors.region.")] = None,
    cpu_machine: Annotated[
        str | None, typer.Option(metavar="SIZE", help="VM size of the steps that need no GPU.")
    ] = None,
    serve_machine: Annotated[
        str | None, typer.Option(metavar="SIZE", help="VM size of the endpoint; else as --cpu-machine.")
    ] = None,
    max_nodes: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Trials of a sweep at once.")] = 4,
    runtime: Annotated[str, typer.Option(metavar="NAME", help="Of the model that is deployed.")] = "onnxruntime",
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its number format; else int8 of onnxruntime, else the first.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(metavar="CRON", help='Retraining, in UTC; else "0 3 1 * *".')] = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Write a study as jobs, clusters, images, endpoint and schedule of Azure ML, with a script and a README.

    Example: kilowit azureml export study.yaml --out azure --machine Standard_NC4as_T4_v3 --region westus2
    """
    from kilowit.azureml import AzureOptions, export_study
    from kilowit.cli import azureml

    given = {"cpu_machine": cpu_machine, "schedule": schedule}
    options = AzureOptions(
        machine=machine,
        region=region,
        serve_machine=serve_machine,
        max_nodes=max_nodes,
        runtime=runtime,
        precision=precision or ("int8" if runtime == "onnxruntime" else None),
        **{name: value for name, value in given.items() if value is not None},
    )
    azureml.show_export(export_study(study, out, options, overrides=overrides))


@app.command()
def lint(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An export, as it is now.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Find what Azure would take and not run: unbound inputs, sizes that are gone, images that move. Needs no Azure.

    Example: kilowit azureml lint azure
    """
    from kilowit.azureml import lint_folder
    from kilowit.cli import azureml

    raise typer.Exit(azureml.show_findings(folder, lint_folder(folder), as_json=as_json))


@app.command()
def submit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An export.", show_default=False)],
    job: Annotated[str, typer.Argument(metavar="JOB", help="train, sweep or pipeline.", show_default=False)],
    subscription: Annotated[
        str, typer.Option(metavar="ID", envvar="AZURE_SUBSCRIPTION_ID", help="Of Azure.", show_default=False)
    ],
    resource_group: Annotated[
        str, typer.Option(metavar="NAME", envvar="AZURE_RESOURCE_GROUP", help="Of the workspace.", show_default=False)
    ],
    workspace: Annotated[
        str, typer.Option(metavar="NAME", envvar="AZURE_ML_WORKSPACE", help="That runs it.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Submit one job of an export through azure-ai-ml (extra azureml); azure.sh does the same through az.

    Example: kilowit azureml submit azure pipeline --resource-group kilowit-my-study --workspace my-study
    """
    from kilowit.azureml import submit as hand_over
    from kilowit.cli import azureml

    taken = hand_over(folder, job, subscription=subscription, resource_group=resource_group, workspace=workspace)
    azureml.show_submitted(taken, as_json=as_json)


@app.command()
def run(study: StudyPath, home: Home, work: Work = _WORK, overrides: Overrides = []) -> None:  # noqa: B006
    """Run a study on a node: in --work, each run merged into --home once it has ended. Begun again, it goes on.

    Example: kilowit azureml run study.yaml --work /tmp/kilowit --home outputs/runs
    """
    from kilowit.azureml.steps import run_homing
    from kilowit.study import Study

    raise typer.Exit(run_homing(Study.load(study, overrides), work, home).exit_code)


@app.command()
def trial(
    study: StudyPath,
    home: Home,
    cell: Annotated[
        str, typer.Option(metavar="KEY", help="First digits of the key of the searched cell.", show_default=False)
    ],
    parameter: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="As a sweep draws it; repeatable.", show_default=False)
    ],
    number: Annotated[
        int | None, typer.Option("--trial", metavar="NUMBER", min=0, help="Else what the job's name ends in.")
    ] = None,
    work: Work = _WORK,
) -> None:
    """Run one trial of a study's search with a sweep's parameters, and report its objective to MLflow.

    Example: kilowit azureml trial study.yaml --cell 1f3a --parameter train_batch_size=8 --home outputs/runs
    """
    from kilowit.azureml.steps import run_trial
    from kilowit.console import show
    from kilowit.study import Study

    show(run_trial(Study.load(study), cell, parameter, number, work, home).run_id)


@app.command()
def compress(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Store with models.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that receives it.", show_default=False)],
    objective: Annotated[str, typer.Option(metavar="SCORE", help="That chooses; high is better.")] = "rouge2",
    runtime: Annotated[str, typer.Option(metavar="NAME", help="`kilowit parts runtimes` lists them.")] = "onnxruntime",
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="Number format; else the first.")] = None,
) -> None:
    """Export the best model of a store for a runtime, and say which it was.

    Example: kilowit azureml compress runs model --objective rouge2 --precision int8
    """
    from kilowit.azureml.steps import compress_best
    from kilowit.console import show_json
    from kilowit.serving.process import own_output, prepare_process
    from kilowit.settings import RuntimeSettings

    prepare_process()
    with own_output():
        chosen = compress_best(runs, out, objective, RuntimeSettings(name=runtime, precision=precision))
    show_json(chosen)


@app.command()
def evaluate(
    study: StudyPath,
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Store with the chosen run.", show_default=False)],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What compress left.", show_default=False)],
    home: Home,
    machine: Machine = None,
    work: Work = _WORK,
) -> None:
    """Score the compressed model on this machine as a run of its own: metered, billed, merged like any other.

    Example: kilowit azureml evaluate study.yaml runs model --home outputs/evaluation
    """
    from kilowit.azureml.steps import evaluate_chosen

    raise typer.Exit(evaluate_chosen(study, runs, model, work, home, machine).exit_code)
