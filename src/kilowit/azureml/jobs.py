"""Jobs of a study in the words of Azure ML's v2 schema: command, sweeps, pipeline, schedule.

A job is a verb of kilowit and nothing else. Its input is mounted, the study names it as ``./data``; its output is a
store of runs.
"""

from __future__ import annotations

from typing import Final

from kilowit.azureml.context import (
    ENVIRONMENT,
    SOURCE,
    SPOT_CLUSTER,
    STEPS_CLUSTER,
    TRAIN_CLUSTER,
    Context,
    Yaml,
    schema,
)
from kilowit.azureml.portable import DATA, STUDY_FILE, priced
from kilowit.azureml.space import input_name, search_space
from kilowit.cell import Cell

WORK: Final = "/tmp/kilowit"  # of the node: fast, and gone with it
KEY_LENGTH: Final = 12
PIPELINE_FILE: Final = "pipeline.yml"


def jobs(context: Context) -> dict[str, Yaml]:
    """Return every job by the name of its file."""
    found = {"train.yml": train_job(context), PIPELINE_FILE: pipeline_job(context), "schedule.yml": schedule(context)}
    if context.sampling is not None:
        cells = context.trained
        names = ["sweep.yml"] if len(cells) == 1 else [f"sweep-{i + 1}.yml" for i in range(len(cells))]
        found |= {name: sweep_job(context, cell) for name, cell in zip(names, cells, strict=True)}
    return found


def train_job(context: Context) -> Yaml:
    """Return the job that runs the whole study on one node, without a pipeline around it."""
    return {
        "$schema": schema("commandJob"),
        "type": "command",
        "display_name": f"{context.name}-train",
        "experiment_name": context.name,
        "description": f"All cells of the study {context.study.name}, one after another, metered.",
        **_body(context, _train_command(""), ["runs"]),
        "compute": f"azureml:{TRAIN_CLUSTER}",
        "resources": {"instance_count": 1},
        "limits": {"timeout": context.timeout_second},
    }


def sweep_job(context: Context, cell: Cell) -> Yaml:
    """Return the sweep of one trained cell: each trial is a run of the study's search."""
    search = context.study.search
    assert search is not None
    given = " ".join(
        f'--parameter "{input_name(d.name)}=${{{{search_space.{input_name(d.name)}}}}}"' for d in search.space
    )
    verb = f"kilowit azureml trial {STUDY_FILE} --cell {cell.key[:KEY_LENGTH]} {given}"
    (goal,) = search.goals
    body = _body(context, f'{verb} --work {WORK} --home "${{{{outputs.runs}}}}"', ["runs"])
    trial = {key: body.pop(key) for key in ("code", "command", "environment")}
    return {
        "$schema": schema("sweepJob"),
        "type": "sweep",
        "display_name": f"{context.name}-sweep",
        "experiment_name": context.name,
        "description": f"Search {search.algorithm} of {cell.label}; each trial is judged on the validation split.",
        "sampling_algorithm": context.sampling,
        "search_space": search_space(search),
        "objective": {"goal": "maximize" if goal.is_high_better else "minimize", "primary_metric": goal.name},
        "trial": trial,
        **body,
        "compute": f"azureml:{SPOT_CLUSTER}",
        "limits": {
            "max_total_trials": search.num_trials,
            "max_concurrent_trials": min(context.options.max_nodes, search.num_trials),
            "timeout": context.timeout_second,
            "trial_timeout": context.timeout_second,
        },
    }


def pipeline_job(context: Context) -> Yaml:
    """Return the pipeline: prepare, train, compress, evaluate, report."""
    steps = {
        "prepare": _prepare(context), "train": _train(context), "compress": _compress(context),
        "evaluate": _evaluate(context), "report": _report(context),
    }  # fmt: skip
    outputs = {"runs": "train", "model": "compress", "evaluation": "evaluate", "store": "report", "report": "report"}
    for output, step in outputs.items():
        own = "runs" if output == "evaluation" else output
        steps[step]["outputs"][own] = f"${{{{parent.outputs.{output}}}}}"
    return {
        "$schema": schema("pipelineJob"),
        "type": "pipeline",
        "display_name": f"{context.name}-pipeline",
        "experiment_name": context.name,
        "description": "Prepare, train, compress, evaluate, report; a plan over budget stops it before a GPU starts.",
        # force_rerun: a step that Azure would take over from an earlier pipeline would not have been measured
        "settings": {
            "default_compute": f"azureml:{STEPS_CLUSTER}", "continue_on_step_failure": False, "force_rerun": True,
        },
        **({"inputs": {"data": _data(context)}} if context.has_data else {}),
        "outputs": {name: _folder_output() for name in outputs},
        "jobs": steps,
    }  # fmt: skip


def schedule(context: Context) -> Yaml:
    """Return the schedule that runs the pipeline again."""
    return {
        "$schema": schema("schedule"),
        "name": f"{context.name}-retrain",
        "display_name": f"Retrain {context.name}",
        "trigger": {"type": "cron", "expression": context.options.schedule, "time_zone": "UTC"},
        "create_job": f"./{PIPELINE_FILE}",
    }


def _prepare(context: Context) -> Yaml:
    plan = '"${{outputs.plan}}'
    machine = f" --machine {known}" if (known := priced(context.machine)) else ""
    command = (
        f'kilowit check {STUDY_FILE} --json > {plan}/study.json" && '
        f'kilowit plan {STUDY_FILE}{machine} --store {WORK}/none --json > {plan}/plan.json"'
    )
    return _step(context, command, ["plan"])


def _train(context: Context) -> Yaml:
    # exit 1: some cells failed, which is a result; the report says which
    verb = _train_command(" --set measure.keep_model=true")
    command = f'test -s "${{{{inputs.plan}}}}/plan.json" && {{ {verb} || test $? -eq 1; }}'
    step = _step(context, command, ["runs"], {"plan": "prepare.plan"})
    return {
        **step,
        "compute": f"azureml:{TRAIN_CLUSTER}",
        "resources": {"instance_count": 1},
    }


def _compress(context: Context) -> Yaml:
    options = context.options
    precision = "" if options.precision is None else f" --precision {options.precision}"
    verb = f'kilowit azureml compress "${{{{inputs.runs}}}}" "${{{{outputs.model}}}}" --objective {context.objective}'
    return _step(
        context, f"{verb} --runtime {options.runtime}{precision}", ["model"], {"runs": "train.runs"}, data=False
    )


def _evaluate(context: Context) -> Yaml:
    verb = f'kilowit azureml evaluate {STUDY_FILE} "${{{{inputs.runs}}}}" "${{{{inputs.model}}}}"'
    given = {"runs": "train.runs", "model": "compress.model"}
    verb += f" --machine {context.options.cpu_machine}"
    return _step(context, f'{verb} --work {WORK} --home "${{{{outputs.runs}}}}"', ["runs"], given)


def _report(context: Context) -> Yaml:
    command = (
        'kilowit merge "${{outputs.store}}" "${{inputs.runs}}" "${{inputs.evaluation}}" && '
        'kilowit report "${{outputs.store}}" --out "${{outputs.report}}"'
    )
    given = {"runs": "train.runs", "evaluation": "evaluate.runs"}
    return _step(context, command, ["store", "report"], given, data=False)


def _step(
    context: Context, command: str, outputs: list[str], inputs: dict[str, str] | None = None, *, data: bool = True
) -> Yaml:
    """Return one step; `inputs` are outputs of earlier steps, written ``step.output``."""
    body = _body(context, command, outputs, with_data=data)
    if "inputs" in body:
        body["inputs"]["data"] = "${{parent.inputs.data}}"
    for name, origin in (inputs or {}).items():
        step, _, output = origin.partition(".")
        body.setdefault("inputs", {})[name] = f"${{{{parent.jobs.{step}.outputs.{output}}}}}"
    return {"type": "command", **body, "limits": {"timeout": context.timeout_second}}


def _body(context: Context, command: str, outputs: list[str], *, with_data: bool = True) -> Yaml:
    has_data = with_data and context.has_data
    link = f'ln -sfn "${{{{inputs.data}}}}" {DATA} && ' if has_data else ""
    return {
        "code": f"./{SOURCE}",
        "command": link + command,
        "environment": context.environment(ENVIRONMENT),
        **({"inputs": {"data": _data(context)}} if has_data else {}),
        "outputs": {name: _folder_output() for name in outputs},
    }


def _train_command(more: str) -> str:
    return f'kilowit azureml run {STUDY_FILE} --work {WORK} --home "${{{{outputs.runs}}}}"{more}'


def _data(context: Context) -> Yaml:
    return {"type": "uri_folder", "path": context.data, "mode": "ro_mount"}


def _folder_output() -> Yaml:
    return {"type": "uri_folder", "mode": "rw_mount"}
