"""The script and the README of an export: from an empty subscription to a report, and back to zero cost."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from string import Template
from typing import Final

from kilowit import factors
from kilowit.azureml.context import Context
from kilowit.azureml.resources import DEPLOYMENT, TRITON_DEPLOYMENT
from kilowit.azureml.vm_sizes import AS_OF, vm_size

DEFAULT_REGION: Final = "westus2"  # of the workspace, where neither study nor option names one
_WHAT: Final = {
    "train.yml": "all cells of the study, one after another, on one node",
    "pipeline.yml": "prepare, train, compress, evaluate, report",
    "schedule.yml": "the pipeline again, by the calendar",
    "compute-steps.yml": "cluster without GPU: prepare, compress, evaluate, report",
    "compute-train.yml": "cluster that trains: dedicated, for runs that are compared",
    "compute-train-low.yml": "the same size at low priority, for trials: it may be taken away, and goes on",
    "environment.yml": "image of the jobs, built from `environment/`",
    "environment-serving.yml": "image of the endpoint, built from `serving/`",
    "data.yml": "local files of the study, in `data/`",
    "endpoint.yml": "the address that is asked for summaries",
    "deployment.yml": "the compressed model behind it, with `scoring/score.py`",
    "deployment-triton.yml": "a Triton model repository behind it, without a script",
}
_SWEEP: Final = "a sweep: trials of the study's search, side by side"


def script(context: Context) -> str:
    """Return the shell script that calls `az ml`."""
    return _filled("azure.sh", context)


def readme(context: Context, files: Sequence[str]) -> str:
    """Return the README of an export."""
    rows = "".join(f"| `{name}` | {_WHAT.get(name, _SWEEP)} |\n" for name in files)
    return _filled("README.md", context, files=rows, prices=_prices(context), sizes=_sizes(context))


def _filled(name: str, context: Context, **more: str) -> str:
    text = resources.files("kilowit.azureml").joinpath("templates", f"{name}.txt").read_text(encoding="utf-8")
    sweeps = sorted(f for f in (["sweep.yml"] if len(context.trained) == 1 else [
        f"sweep-{i + 1}.yml" for i in range(len(context.trained))
    ])) if context.sampling else []  # fmt: skip
    return Template(text).substitute(
        name=context.name,
        study=context.study.name,
        region=context.options.region_of(context.study) or DEFAULT_REGION,
        machine=context.machine,
        cpu_machine=context.options.cpu_machine,
        serve_machine=context.options.serving,
        schedule=context.options.schedule,
        timeout=f"{context.timeout_second:,}",
        data="data.yml" if context.has_data else "",
        sweeps=" ".join(sweeps),
        blue=DEPLOYMENT,
        green=TRITON_DEPLOYMENT,
        **more,
    )


def _prices(context: Context) -> str:
    """Return what an hour of each size costs, with source and date, or that nobody here knows."""
    region = context.options.region_of(context.study)
    lines = []
    for use, size in _uses(context).items():
        amounts = []
        for market in ("on_demand", "spot"):
            known = factors.price(size, region and f"azure/{region}", market)
            amounts.append("not known here" if known is None else f"{known.value:g} USD ({known.year}; {known.source})")
        lines.append(f"| {use} | `{size}` | {amounts[0]} | {amounts[1]} |\n")
    return "".join(lines)


def _uses(context: Context) -> dict[str, str]:
    options = context.options
    return {"train": context.machine, "steps": options.cpu_machine, "endpoint": options.serving}


def _sizes(context: Context) -> str:
    sizes = [size for name in dict.fromkeys(_uses(context).values()) if (size := vm_size(name))]
    ending = [f"{size.name} retires on {size.retires}." for size in sizes if size.retires]
    return " ".join([f"Sizes are those of the table of {AS_OF}.", *ending])
