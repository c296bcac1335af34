"""A trained model of a cell behind a runtime: the folder that it is exported from, and prediction with it."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kilowit.parts.flop import generate_flop
from kilowit.parts.model import LoadedModel
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.runtime_method import weights_byte
from kilowit.parts.text_codec import Manifest
from kilowit.run.method_evidence import note_evidence, refuse_unapplied
from kilowit.run.model_facts import dimensions_of, folder_byte
from kilowit.run.phases import CellRun, synchronize
from kilowit.run.summaries import Generated
from kilowit.serving.folder import export_folder
from kilowit.serving.summarizer import Summarizer, open_exported


def options_of(config: Any, batch_size: int) -> GenerateOptions:
    """Return the settings of a `transformers.GenerationConfig` as the options of a runtime."""
    return GenerateOptions(
        num_beams=config.num_beams,
        max_new_tokens=config.max_new_tokens,
        min_new_tokens=config.min_new_tokens or 0,
        length_penalty=float(config.length_penalty),
        no_repeat_ngram_size=config.no_repeat_ngram_size or 0,
        early_stopping=bool(config.early_stopping),
        batch_size=batch_size,
    )


def model_folder(run: CellRun, loaded: LoadedModel, place: Path) -> Path:
    """Return a folder with the trained model: the one that was kept, else one made in `place`."""
    if run.folder.model_path.is_dir():
        return run.folder.model_path
    folder = place / loaded.name
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def ready_runtime(run: CellRun, loaded: LoadedModel) -> Iterator[Summarizer | None]:
    """Yield the trained model behind the runtime that the study predicts with, None where it names none.

    What the runtime needs first is billed as ``save`` (its export; ``compress`` where a method makes it) and ``load``.

    Raises:
        CellFailure: a method's export is not what the method promises.
    """
    chosen = run.settings.predict.runtime
    if chosen is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix=".runtime-", dir=run.folder.path) as name:
        folder = Path(name) / chosen.name
        with run.phase("compress" if run.awaited else "save") as phase:
            model = model_folder(run, loaded, Path(name))
            if run.awaited:
                _compress(run, model, folder)
                phase.set(disk_kept_byte=folder_byte(folder))
            else:
                export_folder(model, folder, chosen)
        with run.phase("load"):
            summarizer = open_exported(folder, chosen)
        with summarizer:
            yield summarizer


def _compress(run: CellRun, model: Path, folder: Path) -> None:
    """Let the method of the recipe that does so export the trained model, and ask it what it can show."""
    ((call, trained),) = run.awaited
    call.module.compress_trained(model, folder, call.parsed_options, run.notebook(call.name))
    note_evidence(run, call, replace(trained, facts=run.notebook(call.name)))
    refuse_unapplied(run, "compress")
    manifest = Manifest.read(folder)
    assert run.model is not None
    run.model = replace(
        run.model, model_disk_byte=weights_byte(folder), dtype=f"{manifest.precision} by {manifest.runtime}"
    )


def generate_by_runtime(
    summarizer: Summarizer,
    loaded: LoadedModel,
    sources: Sequence[array[int]],
    config: Any,
    batch_size: int,
    report: Callable[[int], None],
) -> Generated:
    """Summarize tokenized sources. No latency is noted: the runtime has all of them at once and batches as it likes."""
    num_done = 0

    def count(places: Sequence[int]) -> None:
        nonlocal num_done
        num_done += len(places)
        report(num_done)

    rows = summarizer.generator.generate(sources, options_of(config, batch_size), count)
    synchronize()
    texts = [text.strip() for text in loaded.tokenizer.batch_decode(rows, skip_special_tokens=True)]
    dimensions = dimensions_of(loaded)
    flop = sum(
        generate_flop(dimensions, len(source), len(row), config.num_beams)
        for source, row in zip(sources, rows, strict=True)
    )
    return Generated(texts, [len(row) for row in rows], [], flop)
