"""The phase `compress`: what a cell does to get a smaller model, or several, before it trains the one that it keeps.

Methods that define ``compress`` work here with a `CellWorkbench`. What they train and generate on the way (a teacher,
its summaries of the training documents) is on the bill of ``compress``; an ensemble's members are on that of ``train``.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kilowit.parts.dataset import Corpus
from kilowit.parts.method import choose_engine
from kilowit.parts.model import LoadedModel
from kilowit.parts.tokenized import TokenizedSplit, TrainingData
from kilowit.run import phases
from kilowit.run.model_facts import dimensions_of
from kilowit.run.phases import CellRun

if TYPE_CHECKING:
    from kilowit.run.engines.job import TrainJob, TrainResult


def compress(run: CellRun, corpus: Corpus, loaded: LoadedModel, data: TrainingData) -> TrainingData:
    """Let the methods put another model in the place of the one loaded; no phase without such a method.

    Returns:
        What is trained on: a teacher may have written the targets anew.
    """
    calls = [call for call in run.cell.methods if hasattr(call.module, "compress")]
    if not calls:
        return data
    with run.phase("compress") as phase:
        run.rank.join()  # a teacher or a member is trained by all ranks
        bench = CellWorkbench(run, corpus, loaded, data, phase)
        for call in calls:
            notebook = run.notebook(call.name)
            loaded.model = call.module.compress(loaded.model, call.parsed_options, notebook, bench)
    return bench.data


class CellWorkbench:
    """What `Workbench` of parts/method promises, for one cell."""

    def __init__(self, run: CellRun, corpus: Corpus, loaded: LoadedModel, data: TrainingData, phase: Any) -> None:
        self.run, self.corpus, self.loaded, self.data, self.phase = run, corpus, loaded, data, phase
        self.settings, self.seed = run.settings, run.cell.seed
        self.has_random_weights = "scratch" in run.cell.model or run.cell.model.get("weights") == "random"

    def train(self, model: Any) -> float | None:
        """Fine-tune a model in place as the study says, without methods, on the bill of ``compress``."""
        train, booking = self._engine(), _Booking(self.phase)
        job = phases.train_job(self.run, self._loaded(model), self.data, [])
        train(replace(job, phase=booking.open, note=self._note))
        gc.collect()  # trainer and callbacks hold each other, and with them the optimizer's state
        return booking.validation_loss

    def train_member(self, method: str, seed: int) -> Any:
        """Load the cell's model anew from `seed` and train it with all methods but `method`; billed as training."""
        from kilowit.parts.pretrained import load_model

        train = self._engine()
        lengths = self.settings.train.model_dump(include={"max_source_tokens", "max_target_tokens"})
        calls = tuple(call for call in self.run.cell.methods if call.name != method)
        notebooks: dict[str, dict[str, Any]] = {call.name: {} for call in calls}
        model = load_model(self.run.cell.model, corpus=self.corpus, seed=seed, **lengths).model
        for call in calls:
            if hasattr(call.module, "on_model"):
                model = call.module.on_model(model, call.parsed_options, notebooks[call.name])
        callbacks = phases.callbacks_of(calls, notebooks)
        train(replace(phases.train_job(self.run, self._loaded(model), self.data, callbacks), seed=seed))
        gc.collect()
        for call in calls:
            if hasattr(call.module, "on_trained"):
                model = call.module.on_trained(model, call.parsed_options, notebooks[call.name])
        return model

    def summarize(self, model: Any, split: TokenizedSplit, num_beams: int | None) -> list[array[int] | None]:
        """Write a summary of each source; return them as targets, tokenized and cut; None where nothing was written."""
        from kilowit.run.batches import tokenize_texts
        from kilowit.run.generate import generate_summaries, generation_config

        loaded, settings = self._loaded(model), self.settings
        config = generation_config(loaded.model, settings.predict)
        if num_beams is not None:
            config.num_beams = num_beams
        generated = generate_summaries(
            loaded.model,
            loaded.tokenizer,
            split.source_tokens,
            config=config,
            batch_size=settings.predict.batch_size or 2 * settings.train.batch_size,
            precision=settings.precision,
            dimensions=dimensions_of(loaded),
            synchronize=phases.synchronize,
            on_batch=self.run.progress("compress", len(split)),
        )
        self.phase.count(
            num_examples=len(split),
            num_output_tokens=sum(generated.num_output_tokens or ()),
            flop_total=generated.flop_total,
        )
        longest = settings.train.max_target_tokens
        targets = tokenize_texts(generated.texts, loaded.tokenizer, "text_target", longest)
        return [target if text else None for text, target in zip(generated.texts, targets, strict=True)]

    def _engine(self) -> Callable[[TrainJob], TrainResult]:
        """Return the cell's own engine: the data may be laid out for it."""
        from kilowit.run.engines import load_engine

        return load_engine(choose_engine(self.run.settings, self.run.cell.methods))

    def _loaded(self, model: Any) -> LoadedModel:
        """Return the cell's card around another model, which is put on the device."""
        return replace(self.loaded, model=model.to(phases.default_device()))

    def _note(self, kind: str, message: str, **facts: Any) -> None:
        """Write to the ledger; the progress of a teacher's training is that of ``compress``."""
        self.run.meter.note(kind, message, **{**facts, **({"phase": "compress"} if kind == "progress" else {})})


class _Booking:
    """Books what an engine reports of its phases on one that is open already."""

    def __init__(self, phase: Any) -> None:
        self.phase = phase
        self.name = ""
        self.validation_loss: float | None = None

    @contextmanager
    def open(self, name: str) -> Iterator[_Booking]:
        """Stand for a phase of the engine, e.g. ``train``."""
        outer, self.name = self.name, name
        try:
            yield self
        finally:
            self.name = outer

    def count(self, **counts: float) -> None:
        """Add to the counts of the phase that is open."""
        self.phase.count(**counts)

    def set(self, **facts: Any) -> None:
        """Pass on where the FLOPs come from; the losses in a record are those of its own model."""
        self.phase.set(**{name: fact for name, fact in facts.items() if name == "flop_source"})
        if self.name == "validate":
            self.validation_loss = facts.get("loss_last", self.validation_loss)
