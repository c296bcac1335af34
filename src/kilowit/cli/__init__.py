"""The verbs: parse, call one function, show what it returned. No logic; every import of ours waits for its verb."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from kilowit.cli import advising, azureml_verbs, endpoint_verbs, exchange_verbs, serving_verbs, text_verbs
from kilowit.cli.options import RUNS, SIDE, AsJson, Machine, Overrides, Region, StorePath, StudyPath
from kilowit.errors import KilowitError

app: Final = typer.Typer(
    name="kilowit",
    help="Tells what a text summarizer costs, before, while and after you train it, and which method is worth it."
    "\n\nExample: kilowit demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

metrics_app: Final = typer.Typer(
    help="Question the metrics themselves.\n\nExample: kilowit metrics judge qags_cnndm.json", no_args_is_help=True
)
app.add_typer(metrics_app, name="metrics")
app.add_typer(azureml_verbs.app, name="azureml")


def _show_version(wanted: bool) -> None:
    if wanted:
        from kilowit import __version__

        sys.stdout.write(f"kilowit {__version__}\n")
        raise typer.Exit


@app.callback()
def kilowit(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Read by Typer: the options before the verb."""


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("study.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a first study, commented, to start from.

    Example: kilowit init study.yaml
    """
    from kilowit.cli import starters, views

    views.show_new_study(starters.write_study(path, force=force))


@app.command()
def check(study: StudyPath, overrides: Overrides = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Find all that is wrong with a study, without running anything.

    Example: kilowit check study.yaml
    """
    from kilowit.cli import views
    from kilowit.study import Study

    views.show_study(Study.load(study, overrides), as_json=as_json)


@app.command()
def plan(
    study: StudyPath,
    store: StorePath = RUNS,
    overrides: Overrides = [],  # noqa: B006
    machine: Machine = None,
    gpu: Annotated[str | None, typer.Option(metavar="NAME", help="A GPU that need not be here, e.g. T4.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Run a few steps of each model to know better.")] = False,
    when: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Hourly gCO2e/kWh by region (csv): say when and where is best.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the working lives that maintenance: asks for (svg).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a study will take, before spending it: time, energy, CO2e, cost, memory, disk.

    Example: kilowit plan study.yaml --machine Standard_NC24ads_A100_v4
    """
    from kilowit.cli import views
    from kilowit.plan import best_windows, plan_study
    from kilowit.store import Store
    from kilowit.study import Study

    asked = Study.load(study, overrides)
    planned = plan_study(asked, Store(store), machine=machine, gpu=gpu, probe=probe, check_budget=False)
    own = asked.factors
    timing = None if when is None else best_windows(planned.total, when, region=own.region, pue=own.pue)
    views.show_plan(planned, timing, as_json=as_json)
    if figure is not None:
        views.show_drawn(planned, figure)
    planned.require_affordable()


@app.command()
def run(
    study: StudyPath,
    store: StorePath = RUNS,
    overrides: Overrides = [],  # noqa: B006
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report at the end.")] = False,
    mirror: Annotated[
        str | None, typer.Option(metavar="URI", help="Show the runs in MLflow too, e.g. sqlite:///mlflow.db.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where cells run; `kilowit parts executors` lists them.")
    ] = None,
) -> None:
    """Run the cells of a study that are not done yet, then report. Ctrl-C is safe; the same command resumes.

    Example: kilowit run study.yaml --set train.num_epochs=1
    """
    from kilowit.cli import running

    chosen = [] if executor is None else [f"executor={executor}"]
    asked = [*chosen, *overrides, *([] if mirror is None else [f"mirror.mlflow={mirror}"])]
    raise typer.Exit(running.run(study, store, asked, retry_failed=retry_failed, with_report=not no_report))


@app.command()
def demo(store: StorePath = Path("runs/quickstart")) -> None:
    """Run the packaged study on real text on this machine: a few minutes on two CPU cores.

    Example: kilowit demo
    """
    from kilowit.cli import running, starters

    with starters.quickstart() as study:
        raise typer.Exit(running.run(study, store, [], retry_failed=False, with_report=True))


@app.command()
def worker(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="Run folder with a cell.json.", show_default=False)
    ],
) -> None:
    """Run the one cell of a run folder. `kilowit run` starts this; so may any scheduler.

    Example: kilowit worker runs/20261123T101530Z_lead_samsum_s0_7f3a
    """
    from kilowit.run import worker as one_cell

    raise typer.Exit(one_cell.main(run_dir))


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def meter(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="Any program.", show_default=False)],
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep ledger and power trace here.")] = None,
    region: Region = None,
    machine: Machine = None,
    as_json: AsJson = False,
) -> None:
    """Meter any command: seconds, joules, CO2e, memory. Its exit code is passed on.

    Example: kilowit meter --region country/FR -- python train.py
    """
    from kilowit.cli import metering

    raise typer.Exit(metering.run_metered(command, out, region=region, machine=machine, as_json=as_json))


@app.command()
def status(store: StorePath = RUNS, as_json: AsJson = False) -> None:
    """Say how far each study is: finished, failed, running, energy so far; of a server's folder, what it served.

    Example: kilowit status --store runs
    """
    from kilowit.cli import serving_view, views
    from kilowit.store import Store

    if serving_view.show_serving(store, as_json=as_json):
        return
    views.show_status(Store(store), as_json=as_json)


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, or part of one.", show_default=False)],
    store: StorePath = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one run: what was asked, phases, scores, warnings.

    Example: kilowit show 20261123T101530Z_lead
    """
    from kilowit.cli import views
    from kilowit.store import Store

    views.show_run(Store(store), run_id, as_json=as_json)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over its tables.", show_default=False)],
    store: StorePath = RUNS,
    as_json: AsJson = False,
) -> None:
    """Ask the store in SQL. Tables: run, phase, score, serving.

    Example: kilowit query "select run_id, value from score where metric = 'rouge2'"
    """
    from kilowit.cli import views
    from kilowit.store import Store

    views.show_query(Store(store), sql, as_json=as_json)


@app.command()
def report(
    store: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of runs, or --store of serve.")] = RUNS,
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Only the runs of this study.")] = None,
    region: Region = None,
    machine: Machine = None,
    pue: Annotated[float | None, typer.Option(metavar="NUMBER", min=1, max=5, help="PUE of the site.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to write it; else RUNS/report.")] = None,
    maintenance: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="Price the working life otherwise; repeatable.")
    ] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Write the report of a store, or of a server's folder; another region or machine re-prices it.

    Example: kilowit report runs --region azure/swedencentral --machine Standard_NC40ads_H100_v5
    """
    from kilowit.cli import running
    from kilowit.settings import FactorSettings

    priced = FactorSettings(region=region, machine=machine, pue=pue)
    running.report(store, out, study_name=study, factors=priced, as_json=as_json, maintenance=maintenance)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=SIDE, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The side that is judged.", show_default=False)],
    store: StorePath = RUNS,
    fail_if: Annotated[
        list[str], typer.Option(metavar="RULE", help="Exit 1 if it holds, e.g. 'rouge2<-0.005'; repeatable.")
    ] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Compare two sides, figure by figure, paired, with intervals.

    Example: kilowit compare recipe=plain recipe=bf16 --fail-if 'train.energy_total_joule>+5%'
    """
    from kilowit.cli import running

    raise typer.Exit(running.compare(a, b, store, fail_if, as_json=as_json))


app.command()(advising.recommend)
app.command()(text_verbs.evaluate)
app.command()(serving_verbs.summarize)
app.command()(serving_verbs.export)
app.command()(endpoint_verbs.serve)
app.command()(endpoint_verbs.bench)
app.command("import")(exchange_verbs.import_)
app.command()(exchange_verbs.export_records)
metrics_app.command()(text_verbs.judge)


@app.command()
def merge(
    into: Annotated[Path, typer.Argument(metavar="INTO", help="Store that receives.", show_default=False)],
    others: Annotated[list[Path], typer.Argument(metavar="FROM", help="Stores to copy.", show_default=False)],
) -> None:
    """Copy the runs of other stores into one.

    Example: kilowit merge runs gpu-machine/runs
    """
    from kilowit.cli import views
    from kilowit.store import Store

    views.show_merged(into, sum(Store(into).merge(other) for other in others))


@app.command()
def invalidate(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, or part of one.", show_default=False)],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it must not count.", show_default=False)],
    who: Annotated[str, typer.Option(metavar="NAME", help="Who says so.", envvar="USER")] = "unknown",
    store: StorePath = RUNS,
) -> None:
    """Say that a run must not count: its energy stays on the bill, its cell is run again.

    Example: kilowit invalidate 20261123T101530Z --reason "another job used the GPU"
    """
    from kilowit.store import Store

    Store(store).invalidate(run_id, reason, who)


@app.command()
def parts(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="models, methods, factors, ...")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One part, to read its card.")] = None,
    as_json: AsJson = False,
) -> None:
    """List all that a study can name, or print the card of one part.

    Example: kilowit parts methods sortish; kilowit parts factors azure/westus2
    """
    from kilowit.cli import parts_view

    parts_view.show_parts(kind, name, as_json=as_json)


app.command()(text_verbs.dataset)


@app.command()
def doctor(store: StorePath = RUNS, as_json: AsJson = False) -> None:
    """Say what can be metered and run on this machine, and how to get more.

    Example: kilowit doctor
    """
    from kilowit import doctor as this_machine
    from kilowit.cli import views

    views.show_findings(this_machine.examine(store), as_json=as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, or as `kilowit.errors` says; 1 some cells failed; 130 interrupted."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="kilowit")
    except KilowitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough; keep Python from saying so at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0
