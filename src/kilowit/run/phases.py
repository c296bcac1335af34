"""The phases of a cell, one function each, in the order of its life. `worker` calls them from top to bottom."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from kilowit import parts
from kilowit.cell import Cell, model_name
from kilowit.errors import DataError
from kilowit.meter import Meter
from kilowit.parts.catalogue import cautions, hub_id
from kilowit.parts.dataset import Corpus
from kilowit.parts.dataset_card import dataset_facts, tokenized_facts
from kilowit.parts.method import (
    MethodCall,
    TrainedRun,
    TrainingCallback,
    choose_engine,
    plan_settings,
    require_machine,
)
from kilowit.parts.model import LoadedModel
from kilowit.parts.runtime_support import require_packages
from kilowit.parts.tokenized import TokenizedSplit, TrainingData
from kilowit.record import DatasetFacts, MethodEvidence, ModelFacts, Score
from kilowit.run.method_evidence import gather_evidence, refuse_unapplied
from kilowit.run.model_facts import dimensions_of, folder_byte, model_facts
from kilowit.run.predictions import write_predictions
from kilowit.run.ranks import ALONE, Rank
from kilowit.run.summaries import Generated, summarize_each
from kilowit.served import ServedRuntime
from kilowit.settings import Settings
from kilowit.statistics.latency import latency_percentiles
from kilowit.store import RunFolder

if TYPE_CHECKING:
    from kilowit.run.engines.job import TrainJob

PROGRESS_SECOND: Final = 0.5


@dataclass
class CellRun:
    """One cell on its way, and what its phases have left so far: all of it goes into the record."""

    folder: RunFolder
    cell: Cell
    meter: Meter
    settings: Settings
    failed_phase: str | None = None
    model: ModelFacts | None = None
    dataset: DatasetFacts | None = None
    methods: list[MethodEvidence] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    serving: list[ServedRuntime] = field(default_factory=list)
    notebooks: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the methods, by name
    awaited: list[tuple[MethodCall, TrainedRun]] = field(default_factory=list)  # methods that have yet to compress
    rank: Rank = ALONE

    @contextmanager
    def phase(self, name: str) -> Iterator[Any]:
        """Meter a phase; remember the innermost one that an exception ended."""
        try:
            with self.meter.phase(name) as phase:
                yield phase
        except BaseException:
            self.failed_phase = self.failed_phase or name
            raise

    def progress(self, phase: str, num_steps: int) -> Callable[[int], None]:
        """Return a function to be told how many of `num_steps` are done; it writes to the ledger twice a second."""
        reported_at = 0.0

        def report(step: int) -> None:
            nonlocal reported_at
            if step < num_steps and time.monotonic() - reported_at < PROGRESS_SECOND:
                return
            reported_at = time.monotonic()
            self.meter.note("progress", f"{step} of {num_steps}", phase=phase, step=step, num_steps=num_steps)

        return report

    def call_methods(self, function: str, value: Any) -> Any:
        """Hand a value through this function of each method that has it, in the order of the recipe."""
        for call in self.cell.methods:
            if hasattr(call.module, function):
                value = getattr(call.module, function)(value, call.parsed_options, self.notebook(call.name))
        return value

    def notebook(self, method: str) -> dict[str, Any]:
        """The facts that a method noted."""
        return self.notebooks.setdefault(method, {})


def synchronize() -> None:
    """Wait for the device, if torch has been loaded and has one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def idle(run: CellRun) -> None:
    """Do nothing for a while: the power that the machine takes anyway."""
    if run.settings.measure.idle_second > 0:
        with run.phase("idle"):
            time.sleep(run.settings.measure.idle_second)


def download(run: CellRun) -> None:
    """Fetch what is not on this machine yet; no phase where no part fetches anything."""
    module = parts.load("datasets", run.cell.dataset["name"])
    fetches_dataset, fetches_model = hasattr(module, "fetch"), hub_id(run.cell.model) is not None
    for call in run.cell.metric_calls:
        call.require_packages()  # now, and not once the model is trained
    metrics = [call for call in run.cell.metric_calls if call.needs_fetch]
    if not (fetches_dataset or fetches_model or metrics):
        return
    with run.phase("download"):
        if fetches_dataset:
            module.fetch(_dataset_options(run.cell))
        if fetches_model:
            from kilowit.parts.pretrained import fetch

            fetch(run.cell.model)
        for call in metrics:
            call.fetch()


def read_corpus(run: CellRun) -> Corpus:
    """Load and slice the dataset."""
    with run.phase("prepare"):
        corpus: Corpus = parts.load("datasets", run.cell.dataset["name"]).load(_dataset_options(run.cell))
        for text in corpus.notes:
            run.meter.note("dataset", text)
        return corpus


def judged_on(corpus: Corpus, split: str) -> Corpus:
    """Return a corpus whose test split is the one that summaries are to be judged on.

    Raises:
        DataError: that split is empty.
    """
    if split == "test":
        return corpus
    if not len(corpus.validation):
        raise DataError("the validation split is empty", hint="Give the dataset one, or predict.split: test.")
    return replace(corpus, test=corpus.validation, notes=(*corpus.notes, "judged on the validation split"))


def _dataset_options(cell: Cell) -> Any:
    module = parts.load("datasets", cell.dataset["name"])
    return module.Options.model_validate({key: value for key, value in cell.dataset.items() if key != "name"})


def load(run: CellRun, corpus: Corpus) -> LoadedModel:
    """Put the model in memory, and let the methods change the settings now that its family is known."""
    with run.phase("load"):
        from kilowit.parts.pretrained import load_model

        family = _family_name(run)
        require_machine(run.cell.methods)
        run.settings = plan_settings(run.cell.settings, run.cell.methods, family)
        for chosen in run.settings.runtimes:
            require_packages(chosen.name)
        train = run.settings.train
        loaded = load_model(
            run.cell.model,
            corpus=corpus,
            seed=run.cell.seed,
            max_source_tokens=train.max_source_tokens,
            max_target_tokens=train.max_target_tokens,
        )
        for text in cautions(loaded.family, dimensions_of(loaded), train.max_source_tokens):
            run.meter.note("warning", text)
        return loaded


def _family_name(run: CellRun) -> str | None:
    from kilowit.parts.catalogue import resolve_dimensions

    size = resolve_dimensions(run.cell.model)
    return None if size is None else size.family.name


def prepare(run: CellRun, corpus: Corpus, loaded: LoadedModel) -> tuple[TrainingData, TokenizedSplit]:
    """Tokenize the splits; return what is trained on, as the methods left it, and the test split."""
    with run.phase("prepare") as phase:
        from kilowit.run.batches import tokenize_split

        lengths = run.settings.train.model_dump(include={"max_source_tokens", "max_target_tokens"})
        train, validation, test = (
            tokenize_split(split, loaded.tokenizer, prefix=loaded.family.prefix, prompt=loaded.prompt, **lengths)
            for split in (corpus.train, corpus.validation, corpus.test)
        )
        phase.count(num_examples=len(train) + len(validation) + len(test))
        if run.rank.is_first:
            run.dataset = tokenized_facts(corpus, train, validation, test, **lengths)
        data: TrainingData = run.call_methods("on_data", TrainingData(train, validation))
        return data, test


def adapt(run: CellRun, loaded: LoadedModel) -> None:
    """Let the methods change the model, and put it on its device; what will be sharded waits on the host."""
    with run.phase("load"):
        device = run.rank.join()
        model = run.call_methods("on_model", loaded.model)
        loaded.model = model if run.settings.ranks.wrapper in ("fsdp", "deepspeed") else model.to(device)
        run.model = model_facts(loaded, run.settings)


def default_device() -> Any:
    """Return the torch device that cells run on here."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fine_tune(run: CellRun, loaded: LoadedModel, data: TrainingData) -> None:
    """Warm up, train and validate; then the first rank asks each method what it can show for itself.

    Raises:
        CellFailure: divergence, or a method that was not applied.
    """
    with run.phase("warmup") as phase:  # the import takes seconds
        from kilowit.run.engines import load_engine

        train = load_engine(choose_engine(run.settings, run.cell.methods))
        _tune(run, loaded, data, phase)
        job = train_job(run, loaded, data, callbacks_of(run.cell.methods, run.notebooks))
    result = train(job)
    run.rank.leave()
    if not run.rank.is_first:
        return
    loaded.model = result.model
    _note_memory(run, job)
    gather_evidence(run, loaded, data, result)
    del result
    if job.device.type == "cuda":  # trainer and callbacks hold each other, and the optimizer's memory with them
        gc.collect()
    loaded.model = run.call_methods("on_trained", loaded.model)
    assert run.model is not None
    trained = run.model.num_trainable_parameters
    run.model = replace(model_facts(loaded, run.settings), num_trainable_parameters=trained)
    refuse_unapplied(run, "train")


def _tune(run: CellRun, loaded: LoadedModel, data: TrainingData, phase: Any) -> None:
    """Let the methods settle settings by steps that teach nothing; their energy is the warm-up's."""
    for call in run.cell.methods:
        if hasattr(call.module, "tune"):
            from kilowit.run.rehearsal import Rehearsal

            rehearsal, notebook = Rehearsal(train_job(run, loaded, data, [])), run.notebook(call.name)
            run.settings = call.module.tune(run.settings, call.parsed_options, notebook, rehearsal)
            phase.count(num_steps=rehearsal.num_steps, num_examples=rehearsal.num_examples_seen)
            run.meter.note("tuned", f"{call.name} has settled its settings", **notebook)


def callbacks_of(calls: Sequence[MethodCall], notebooks: dict[str, dict[str, Any]]) -> list[TrainingCallback]:
    """Return what the methods hook into training; each notes in its own notebook, made if there is none."""
    return [
        callback
        for call in calls
        if hasattr(call.module, "callbacks")
        for callback in call.module.callbacks(call.parsed_options, notebooks.setdefault(call.name, {}))
    ]


def train_job(run: CellRun, loaded: LoadedModel, data: TrainingData, callbacks: list[TrainingCallback]) -> TrainJob:
    """Return the training of a model as the cell asks for it."""
    from kilowit.run.engines.job import TrainJob

    return TrainJob(
        model=loaded.model,
        pad_token_id=loaded.tokenizer.pad_token_id,
        dimensions=dimensions_of(loaded),
        data=data,
        settings=run.settings,
        seed=run.cell.seed,
        device=run.rank.device(),
        callbacks=callbacks,
        phase=run.phase,
        note=run.meter.note,
    )


def _note_memory(run: CellRun, job: TrainJob) -> None:
    """Note what torch's allocator says beside what the driver does."""
    import torch

    if job.device.type == "cuda":
        run.meter.note(
            "memory",
            "peak of torch's CUDA allocator since the start",
            allocated_byte=torch.cuda.max_memory_allocated(),
            reserved_byte=torch.cuda.max_memory_reserved(),
        )


def save(run: CellRun, loaded: LoadedModel) -> None:
    """Leave the model in the run folder, if the study asks for it."""
    if not run.settings.measure.keep_model:
        return
    with run.phase("save") as phase:
        loaded.model.save_pretrained(run.folder.model_path)
        loaded.tokenizer.save_pretrained(run.folder.model_path)
        phase.set(disk_kept_byte=folder_byte(run.folder.model_path))
    assert run.model is not None
    weights = sum(path.stat().st_size for path in run.folder.model_path.rglob("*.safetensors"))
    run.model = ModelFacts(**{**vars(run.model), "model_disk_byte": weights})


def predict(run: CellRun, corpus: Corpus, loaded: LoadedModel, test: TokenizedSplit) -> list[str]:
    """Summarize the test split with beam search and leave the summaries in predictions.jsonl."""
    from kilowit.run.generate import generate_summaries, generation_config
    from kilowit.run.runtime import generate_by_runtime, ready_runtime

    config = generation_config(loaded.model, run.settings.predict)
    batch_size = run.settings.predict.batch_size or 2 * run.settings.train.batch_size
    run.meter.note("generation", "settings in force", batch_size=batch_size, **config.to_diff_dict())
    with ready_runtime(run, loaded) as summarizer, run.phase("predict") as phase:
        report = run.progress("predict", len(test))
        if summarizer is not None:
            generated = generate_by_runtime(summarizer, loaded, test.source_tokens, config, batch_size, report)
        else:
            generated = generate_summaries(
                loaded.model,
                loaded.tokenizer,
                test.source_tokens,
                config=config,
                batch_size=batch_size,
                precision=run.settings.precision,
                dimensions=dimensions_of(loaded),
                synchronize=synchronize,
                on_batch=report,
            )
        phase.count(num_input_tokens=sum(test.source_lengths), flop_total=generated.flop_total)
        phase.set(flop_source="formula")
        _leave_predictions(run, phase, corpus, generated)
    return generated.texts


def predict_by_baseline(run: CellRun, corpus: Corpus) -> list[str]:
    """Summarize the test split with a training-free summarizer; leave the summaries in predictions.jsonl."""
    name = run.cell.model["baseline"]
    module = parts.load("models", name)
    with run.phase("load"):
        options = module.Options.model_validate(run.cell.model.get("options", {}))
        summarizer = module.summarizer(options, corpus.name)
        run.model = ModelFacts(name=model_name(run.cell.model), family=name, source="baseline")
    with run.phase("prepare"):
        run.dataset = dataset_facts(corpus)
    with run.phase("predict") as phase:
        generated = summarize_each(summarizer, corpus.test.documents, run.progress("predict", len(corpus.test)))
        _leave_predictions(run, phase, corpus, generated)
    return generated.texts


def _leave_predictions(run: CellRun, phase: Any, corpus: Corpus, generated: Generated) -> None:
    num_tokens = generated.num_output_tokens
    if num_tokens is not None:
        phase.count(num_output_tokens=sum(num_tokens))
    phase.count(num_examples=len(generated.texts))
    rows: list[dict[str, Any]] = [
        {"id": row_id, "prediction": text, "num_output_tokens": num_tokens[i] if num_tokens else None, "scores": {}}
        for i, (row_id, text) in enumerate(zip(corpus.test.ids, generated.texts, strict=True))
    ]
    write_predictions(run.folder.predictions_path, rows)
    if generated.latency_second:
        phase.set(**latency_percentiles(generated.latency_second))
    phase.set(disk_kept_byte=run.folder.predictions_path.stat().st_size)
