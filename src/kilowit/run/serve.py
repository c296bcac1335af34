"""The phase `serve`: each runtime of the study gets the trained model, and is asked as users would ask.

Getting a runtime ready is on the bill under names of its own (``serve_export``, ``serve_load``, ``serve_warmup``), so
that ``serve`` is what serving takes, and so is the comparison (``serve_reference``). A runtime that fails is a result:
its message goes into the record, and the others are served.
"""

from __future__ import annotations

import dataclasses
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from kilowit.parts.dataset import Corpus
from kilowit.parts.model import LoadedModel
from kilowit.parts.runtime import GenerateOptions
from kilowit.record import PhaseFigures
from kilowit.run.failure import classify
from kilowit.run.generate import generation_config
from kilowit.run.model_facts import folder_byte
from kilowit.run.phases import CellRun
from kilowit.run.runtime import model_folder, options_of
from kilowit.served import ServedRuntime, ServedScenario
from kilowit.serving.agreement import agreement
from kilowit.serving.folder import export_folder, precision_of
from kilowit.serving.scenarios import Served, play, warm_up
from kilowit.serving.source import DEFAULT_RUNTIME
from kilowit.serving.summarizer import Summarizer, Written, device_for, open_exported, release_memory
from kilowit.settings import RuntimeSettings, ScenarioName, ServeSettings
from kilowit.statistics.latency import latency_percentiles

REFERENCE: Final = RuntimeSettings(name=DEFAULT_RUNTIME, precision="fp32")


def serve(run: CellRun, corpus: Corpus, loaded: LoadedModel) -> None:
    """Serve the test documents with every runtime in every scenario; nothing where the study asks for none."""
    settings = run.settings.serve
    if settings is None:
        return
    with tempfile.TemporaryDirectory(prefix=".serving-", dir=run.folder.path) as name:
        with run.phase("serve_export"):
            model = model_folder(run, loaded, Path(name))
            options = options_of(generation_config(loaded.model, run.settings.predict), settings.batch_size)
            loaded.model = None  # its work is done; the runtimes load their own
            release_memory()
        bench = _Bench(run, corpus, settings, options, model, Path(name))
        written = {i: bench.serve(i, chosen) for i, chosen in enumerate(settings.runtimes)}
        bench.compare(written)


class _Bench:
    """What the runtimes of one cell share."""

    def __init__(
        self, run: CellRun, corpus: Corpus, settings: ServeSettings, options: GenerateOptions, model: Path, place: Path
    ) -> None:
        self.run, self.settings, self.options = run, settings, options
        self.model, self.place = model, place
        self.documents = list(corpus.test.documents[: settings.num_documents])
        self.summaries = list(corpus.test.summaries[: settings.num_documents])

    def serve(self, number: int, chosen: RuntimeSettings) -> dict[int, Written]:
        """Let one runtime serve, put what it did into the record, and return its summaries by document."""
        precision, device = precision_of(chosen), device_for(chosen.name)
        self.run.serving.append(
            ServedRuntime(runtime=chosen.name, precision=precision, num_threads=chosen.num_threads, device=device)
        )
        written: dict[int, Written] = {}
        num_threads = torch.get_num_threads()  # of the whole process: a runtime may change it for those after it
        try:
            summarizer = self._ready(chosen, self.place / f"{number}-{chosen.name}")
            try:
                for scenario in self.settings.scenarios:
                    self._play(scenario, summarizer, written)
            finally:
                with self.run.phase("serve_load"):  # letting go takes time too
                    summarizer.close()
        except Exception as error:  # the training of this cell stands, whatever became of one runtime
            traceback.print_exc()
            failure = classify(error)
            self._note(error_message=f"{failure.kind}: {failure.message}")
            self.run.meter.note("warning", f"runtime {chosen.label} failed: {failure.message}")
            self.run.failed_phase = None
        finally:
            torch.set_num_threads(num_threads)
        return written

    def compare(self, written: Mapping[int, Mapping[int, Written]]) -> None:
        """Set what each runtime wrote beside PyTorch in fp32, which writes now if it has not served."""
        with self.run.phase("serve_reference"):
            reference = self._reference(written)
            for number, served in enumerate(self.run.serving):
                places = sorted(written[number].keys() & reference.keys())
                if places:
                    found = agreement(
                        [written[number][i] for i in places],
                        [reference[i] for i in places],
                        [self.summaries[i] for i in places],
                    )
                    self.run.serving[number] = dataclasses.replace(served, agreement=found)

    def _reference(self, written: Mapping[int, Mapping[int, Written]]) -> Mapping[int, Written]:
        """Return PyTorch's summaries in fp32: from its own service if that reached every document."""
        for number, chosen in enumerate(self.settings.runtimes):
            is_reference = chosen.name == REFERENCE.name and precision_of(chosen) == REFERENCE.precision
            if is_reference and len(written[number]) == len(self.documents):
                return written[number]
        if not any(written.values()):
            return {}
        folder = self.place / "reference"
        self._export(REFERENCE, folder)
        with open_exported(folder, REFERENCE) as summarizer:
            return dict(enumerate(summarizer.write(self.documents, self.options)))

    def _export(self, chosen: RuntimeSettings, folder: Path) -> None:
        export_folder(self.model, folder, chosen, max_source_tokens=self.run.settings.train.max_source_tokens)

    def _ready(self, chosen: RuntimeSettings, folder: Path) -> Summarizer:
        """Export the model and load it; both are metered, and noted."""
        with self.run.phase("serve_export") as exporting:
            self._export(chosen, folder)
        with self.run.phase("serve_load") as loading:
            summarizer = open_exported(folder, chosen)
        self._note(
            disk_byte=folder_byte(folder),
            export_second=exporting.result.wall_second,
            export_joule=exporting.result.energy_total_joule,
            load_second=loading.result.wall_second,
            load_joule=loading.result.energy_total_joule,
        )
        return summarizer

    def _play(self, scenario: ScenarioName, summarizer: Summarizer, written: dict[int, Written]) -> None:
        """Warm up, play one scenario, and note what it took."""
        report = self.run.progress("serve", len(self.documents))

        def answer(documents: Sequence[str], size: int) -> list[Written]:
            return summarizer.write(documents, dataclasses.replace(self.options, batch_size=size))

        with self.run.phase("serve_warmup") as warming:
            warm_up(scenario, self.documents, answer, self.settings)
        with self.run.phase("serve") as phase:
            served = play(scenario, self.documents, answer, self.settings, seed=self.run.cell.seed)
            done = list(served.written.values())
            phase.count(
                num_examples=len(done),
                num_input_tokens=sum(w.num_input_tokens for w in done),
                num_output_tokens=sum(len(w.tokens) for w in done),
            )
        report(len(self.documents))
        self.run.meter.note("served", f"{summarizer.label}, {scenario}", num_examples=len(done))
        written |= served.written
        row = scenario_row(scenario, self.settings, served, phase.result, warming.result)
        self._note(scenarios=[*self.run.serving[-1].scenarios, row])

    def _note(self, **changes: Any) -> None:
        """Add to what the record says of the runtime that serves."""
        self.run.serving[-1] = dataclasses.replace(self.run.serving[-1], **changes)


def scenario_row(
    scenario: ScenarioName, settings: ServeSettings, served: Served, figures: PhaseFigures, warming: PhaseFigures
) -> ServedScenario:
    """Return the record of a scenario from what it brought and what its phase took."""
    second, num_out = figures.wall_second, figures.num_output_tokens or 0
    waits = latency_percentiles(served.wait_second) if served.wait_second else {}
    return ServedScenario(
        scenario=scenario,
        num_examples=len(served.written),
        num_unserved=served.num_unserved,
        batch_size=1 if scenario == "single_stream" else settings.batch_size,
        rate_per_second=settings.rate_per_second if scenario == "random_arrivals" else None,
        wall_second=second,
        energy_total_joule=figures.energy_total_joule,
        energy_total_joule_low=figures.energy_total_joule_low,
        energy_total_joule_high=figures.energy_total_joule_high,
        energy_total_source=figures.energy_total_source,
        energy_idle_joule=figures.energy_idle_joule,
        num_input_tokens=figures.num_input_tokens or 0,
        num_output_tokens=num_out,
        examples_per_second=len(served.written) / second if second > 0 else None,
        output_tokens_per_second=num_out / second if second > 0 else None,
        wait_p95_second=waits.get("latency_p95_second"),
        warmup_second=warming.wall_second,
        warmup_joule=warming.energy_total_joule,
        **(latency_percentiles(served.latency_second) if served.latency_second else {}),
    )
