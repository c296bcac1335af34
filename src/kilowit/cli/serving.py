"""`kilowit summarize` and `kilowit export`: summaries and folders to stdout, what they took to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from kilowit.cli.views import known
from kilowit.console import say, show, show_json
from kilowit.errors import StudyError, near_name_hint
from kilowit.factors import carbon
from kilowit.factors.derive import Derived, derive
from kilowit.meter import MeterResult
from kilowit.record import PhaseFigures
from kilowit.serving.documents import STANDARD_INPUT, read_documents
from kilowit.serving.export import TARGETS, Exported, Target, export_model
from kilowit.serving.process import own_output, prepare_process
from kilowit.serving.pyfunc import export_pyfunc
from kilowit.serving.source import DEFAULT_RUNTIME, predict_settings
from kilowit.serving.summarizer import Bill, Summarizer, load_summarizer, metered
from kilowit.serving.triton_repository import RUNTIMES
from kilowit.settings import FactorSettings, RuntimeSettings
from kilowit.wording import counted

PYFUNC: Final = "pyfunc"  # a target that needs MLflow


@dataclass(frozen=True)
class Asked:
    """What the options of the command line say of a summarizer."""

    model: str
    runtime: str | None
    precision: str | None
    device: str | None
    num_threads: int | None
    max_source_tokens: int | None
    predict: dict[str, Any]

    def load(self) -> Summarizer:
        """Load it.

        Raises:
            KilowitError: as `kilowit.serving.load_summarizer`.
        """
        return load_summarizer(
            self.model,
            runtime=self.runtime,
            precision=self.precision,
            device=self.device,  # type: ignore[arg-type]
            num_threads=self.num_threads,
            max_source_tokens=self.max_source_tokens,
            **self.predict,
        )


def summarize(asked: Asked, path: str, column: str | None, factors: FactorSettings, *, as_json: bool) -> None:
    """Summarize documents, show the summaries, and say what they took.

    Raises:
        KilowitError: the documents, the model, the runtime or an option is not as it should be.
    """
    predict_settings(asked.predict)
    carbon(factors.region)  # refused before anything is loaded
    if path == STANDARD_INPUT and sys.stdin.isatty():
        say("Reading the document from the terminal; Ctrl-D ends it.")
    documents = read_documents(path, column)
    summaries: list[str] = []

    prepare_process()
    with own_output() as out, _progress(len(documents)) as on_done:

        def take(texts: Sequence[str]) -> None:
            summaries.extend(texts)
            if not as_json:
                out.writelines(f"{one_line(text)}\n" for text in texts)

        bill = metered(documents, asked.load, take, on_done)
    derived = derive(bill.metered.total, region=factors.region, machine=factors.machine, pue=factors.pue)
    if as_json:
        place = "standard input" if path == STANDARD_INPUT else path
        show_json({"documents": place, "summaries": summaries, **_bill_json(bill, derived)})
    else:
        _say_bill(bill, derived)


def one_line(text: str) -> str:
    """Return a summary as one line, so that the lines of the output are the documents of the input."""
    return " ".join(text.split())


@contextmanager
def _progress(num_documents: int) -> Iterator[Callable[[int], None] | None]:
    """Draw a bar on a terminal, on stderr; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("summarizing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=num_documents)
        yield lambda num_done: progress.update(task, completed=num_done)


def _bill_json(bill: Bill, derived: Derived) -> dict[str, Any]:
    return {
        "num_summaries": bill.num_summaries,
        "num_input_tokens": bill.num_input_tokens,
        "num_output_tokens": bill.num_output_tokens,
        "max_source_tokens": bill.max_source_tokens,
        "num_full_sources": bill.num_full_sources,
        "metered": bill.metered,
        "derived": derived,
    }


def _say_bill(bill: Bill, derived: Derived) -> None:
    n, total, serving = bill.num_summaries, bill.metered.total, bill.metered.phase("serve")
    lines = [
        f"{counted(n, 'summary', 'summaries')}, {counted(bill.num_input_tokens, 'token')} read, "
        f"{bill.num_output_tokens:,} written",
        _cut(bill),
        f"load     {_figures(bill.metered.phase('load'))}",
        f"serve    {_figures(serving)}",
    ]
    if serving is not None and n > 1:
        joule = None if serving.energy_total_joule is None else serving.energy_total_joule / n
        lines.append(f"each     {known(serving.wall_second / n, 'time')}, {known(joule, 'energy')}")
    lines += [
        f"CO2e     {known(derived.co2e_operational_kg, 'mass')}"
        f"  ({known(derived.co2e_operational_kg_low, 'mass')} to {known(derived.co2e_operational_kg_high, 'mass')})",
        f"cost     {known(derived.cost_usd_on_demand, 'money')}" if derived.cost_usd_on_demand is not None else "",
        f"energy   {total.energy_total_source}",
        bill.metered.signature,
    ]
    say("\n".join(line for line in lines if line))


def _cut(bill: Bill) -> str:
    """Say which documents may not have been read to their end."""
    if not bill.num_full_sources:
        return ""
    return f"cut      what lies beyond {bill.max_source_tokens:,} tokens, in {bill.num_full_sources:,} of the documents"


def _figures(row: PhaseFigures | None) -> str:
    if row is None:
        return "not reached"
    energy = known(row.energy_total_joule, "energy")
    if row.energy_total_joule_low is not None and row.energy_total_joule_high is not None:
        ends = (known(end, "energy") for end in (row.energy_total_joule_low, row.energy_total_joule_high))
        energy += f"  ({' to '.join(ends)})"
    return f"{known(row.wall_second, 'time')}, {energy}"


def export(
    model: str,
    out: Path,
    target: str,
    runtime: str | None,
    precision: str | None,
    factors: FactorSettings,
    *,
    as_json: bool,
) -> None:
    """Export a model for a runtime, show where it is, and say what that took.

    Raises:
        KilowitError: the model, the runtime, the target or the folder is not as it should be.
    """
    if target not in (targets := (*TARGETS, PYFUNC)):
        raise StudyError(f'no target "{target}"', place="--target", hint=near_name_hint(target, targets))
    name = runtime or (RUNTIMES[0] if target == "triton" else DEFAULT_RUNTIME)
    prepare_process()
    with own_output():
        chosen = RuntimeSettings(name=name, precision=precision)
        if target == PYFUNC:
            exported = export_pyfunc(model, out, chosen, factors=factors)
        else:
            exported = export_model(model, out, chosen, factors=factors, target=cast(Target, target))
    if as_json:
        show_json({"folder": exported.folder, "manifest": exported.manifest, "metered": exported.metered})
        return
    show(str(exported.folder))
    _say_export(exported, exported.metered, target)


def _say_export(exported: Exported, metered: MeterResult, target: str) -> None:
    size = known(exported.disk_byte, "byte")
    say(f"{exported.manifest.runtime} {exported.manifest.precision}, {size}; {_figures(metered.total)}")
    trials = {
        "folder": f"kilowit summarize TEXT --model {exported.folder}",
        "triton": f"kilowit serve {exported.folder} --engine triton",
        PYFUNC: f"mlflow models serve --env-manager local --model-uri {exported.folder} --port 5001",
    }
    say(f"Try it: {trials[target]}")
