"""One `Summarizer`, whatever runtime is behind it: text in, text out.

Example:
    >>> import kilowit
    >>> summarizer = kilowit.load_summarizer("runs/20261123T101530Z_bart-tiny_s0_7f3a")  # doctest: +SKIP
    >>> summarizer.summarize(["Amanda: I baked cookies. Do you want some?"])  # doctest: +SKIP
    ['Amanda baked cookies.']
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from kilowit.errors import PartError
from kilowit.meter import Meter, MeterResult
from kilowit.parts import catalogue
from kilowit.parts.runtime import GenerateOptions, OnDone, RuntimeOptions, TokenGenerator
from kilowit.parts.runtime_support import check_runtime, require_packages, support_of
from kilowit.parts.summarizer_folder import describe, open_codec
from kilowit.parts.text_codec import TextCodec
from kilowit.serving.folder import export_folder, precision_of
from kilowit.serving.source import DEFAULT_RUNTIME, Source, find_source, generate_options, predict_settings
from kilowit.serving.text_stream import TextStream
from kilowit.settings import RuntimeSettings

Device = Literal["cpu", "cuda"]
AT_ONCE: Final = 16  # batches that are given to the runtime together, for it to sort by length


@dataclass(frozen=True)
class Written:
    """One summary, as text and as the tokens that were generated."""

    text: str
    tokens: Sequence[int]
    num_input_tokens: int


@dataclass(frozen=True)
class Bill:
    """What summaries took. `metered` has the phases ``load`` and ``serve``, with interval and source."""

    num_summaries: int
    num_input_tokens: int
    num_output_tokens: int
    max_source_tokens: int  # documents are cut to it
    num_full_sources: int  # documents that reach it
    metered: MeterResult


class Summarizer:
    """A model in memory behind a runtime.

    Args:
        codec: text to tokens and back.
        generator: the runtime, with the model.
        options: how summaries are searched for where a call says nothing else.
    """

    def __init__(
        self, codec: TextCodec, generator: TokenGenerator, options: GenerateOptions, label: str, device: Device
    ) -> None:
        self.codec, self.generator, self.options = codec, generator, options
        self.label, self.device = label, device
        self._workspace: tempfile.TemporaryDirectory[str] | None = None

    def summarize(self, documents: list[str]) -> list[str]:
        """Return one summary per document, in order.

        Raises:
            PartError: a document that is no text, or that holds no token.
        """
        return [written.text for written in self.write(documents)]

    def write(
        self,
        documents: Sequence[str],
        options: GenerateOptions | None = None,
        on_done: OnDone | None = None,
        on_text: Callable[[int, str], object] | None = None,
    ) -> list[Written]:
        """Summarize documents and return text and tokens of each, in order.

        Args:
            options: how to search; None = the summarizer's own.
            on_done: told the places of documents as they are finished.
            on_text: told a document's place and the next piece of its summary as it is written; put together, the
                pieces are its text. `kilowit.parts.runtime.TokenGenerator` says how early they come.

        Raises:
            PartError: as `summarize`.

        Example:
            >>> summarizer.write([text], on_text=lambda place, piece: print(piece, end=""))  # doctest: +SKIP
        """
        if not documents:
            return []
        sources = self.codec.encode(documents)
        streams = [TextStream(self.codec) for _ in sources] if on_text else []

        def tell(place: int, tokens: Sequence[int]) -> bool:
            if on_text is not None and (piece := streams[place].add(tokens)):
                on_text(place, piece)
            return True

        rows = self.generator.generate(sources, options or self.options, on_done, tell if on_text else None)
        texts = self.codec.decode(rows)
        for place, stream in enumerate(streams):
            if on_text is not None and (piece := stream.finish(texts[place])):
                on_text(place, piece)
        return [Written(t, row, len(s)) for t, row, s in zip(texts, rows, sources, strict=True)]

    def close(self) -> None:
        """Let go of the model, and remove what was exported for it alone. Calling it again does nothing."""
        vars(self).pop("generator", None)
        release_memory()
        if self._workspace is not None:
            self._workspace.cleanup()
            self._workspace = None

    def __enter__(self) -> Summarizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_summarizer(
    model: str | Path,
    *,
    runtime: str | RuntimeSettings | None = None,
    precision: str | None = None,
    device: Device | None = None,
    num_threads: int | None = None,
    revision: str | None = None,
    max_source_tokens: int | None = None,
    **predict: float | int | None,
) -> Summarizer:
    """Load a summarizer.

    Args:
        model: a run folder with ``model/``, an exported folder, a model's folder, or an id of the hub.
        runtime: name of one, or all that a study can say of it; None = what the run or the export chose, else torch.
        precision: number format; None = the runtime's first, or what the export has.
        device: None = a GPU where there is one that the runtime can use.
        num_threads: on the CPU; None = the runtime's own choice.
        revision: commit, tag or branch on the hub.
        max_source_tokens: longer documents are cut; None = as in training, else what the model has positions for.
        predict: as in a study's ``predict``: ``num_beams``, ``max_new_tokens``, ``batch_size``, ...

    Raises:
        PartError: no such model or runtime, a pair that does not go together, or a package that is missing.
        StoreError: a run that kept no model.
        StudyError: an option of `predict` that there is none of, or a value that cannot be.

    Example:
        >>> load_summarizer("facebook/bart-large-cnn", runtime="torch_fast", num_beams=4)  # doctest: +SKIP
    """
    asked = predict_settings(predict)
    source = find_source(model, revision=revision)
    chosen = chosen_runtime(source, runtime, precision, num_threads)
    found = _open(source, chosen, device, max_source_tokens)
    found.options = generate_options(found.codec.manifest.generate, source.predict, asked)
    return found


def chosen_runtime(
    source: Source, runtime: str | RuntimeSettings | None, precision: str | None, num_threads: int | None
) -> RuntimeSettings:
    """Return the runtime that was asked for, else the one that the run or the export chose, else torch.

    Raises:
        PartError: no such runtime, or another than a folder was exported for.
    """
    if isinstance(runtime, str):
        runtime = RuntimeSettings(name=runtime)
    if source.manifest is not None:
        own = RuntimeSettings(name=source.manifest.runtime, precision=source.manifest.precision)
        asked = (runtime.name if runtime else own.name, (runtime and runtime.precision) or precision or own.precision)
        if asked != (own.name, own.precision):
            raise PartError(
                f"the folder was exported for {own.label}, not for {asked[0]} {asked[1]}",
                place=str(source.folder),
                hint="Export the model that it came from again: kilowit export MODEL --runtime ...",
            )
        runtime = own if runtime is None else own.model_copy(update={"num_threads": runtime.num_threads})
    chosen = runtime or source.runtime or RuntimeSettings(name=DEFAULT_RUNTIME)
    changes = {"precision": precision or chosen.precision, "num_threads": num_threads or chosen.num_threads}
    return chosen.model_copy(update=changes)


def device_for(runtime: str, asked: Device | None = None) -> Device:
    """Return where a runtime runs here: a GPU where torch sees one and the runtime has a use for it.

    Raises:
        PartError: the runtime does not run on the device asked for.
    """
    if asked is not None:
        check_runtime(runtime, device=asked)
        return asked
    support = support_of(runtime)
    if "cuda" not in support.devices or "torch" not in support.requires:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def open_exported(folder: Path, chosen: RuntimeSettings, device: Device | None = None) -> Summarizer:
    """Load what `kilowit.serving.folder.export_folder` left.

    Raises:
        PartError: the runtime cannot be had here, or the folder cannot be loaded.
    """
    module = check_runtime(chosen.name)
    require_packages(chosen.name)
    where = device_for(chosen.name, device)
    codec = open_codec(folder)
    options = RuntimeOptions(device=where, precision=codec.manifest.precision, num_threads=chosen.num_threads)
    generator = module.load(folder, options)
    return Summarizer(codec, generator, codec.manifest.generate, chosen.label, where)


def _open(source: Source, chosen: RuntimeSettings, device: Device | None, max_source_tokens: int | None) -> Summarizer:
    longest = max_source_tokens or source.max_source_tokens
    if source.manifest is None:
        found = _open_model(source.folder, chosen, device, longest)
    else:
        found = open_exported(source.folder, chosen, device)
    if longest is not None:
        found.codec = TextCodec(replace(found.codec.manifest, max_source_tokens=longest), found.codec.tokenizer)
    return found


def _open_model(
    model: Path, chosen: RuntimeSettings, device: Device | None, max_source_tokens: int | None
) -> Summarizer:
    """Load a model as save_pretrained leaves it: as it is where the runtime can, else exported for this once."""
    family = catalogue.family_of(catalogue.read_config(model), place=str(model))
    module = check_runtime(chosen.name, family=family.name, precision=chosen.precision)
    require_packages(chosen.name)
    where = device_for(chosen.name, device)
    if getattr(module, "READS_MODEL_FOLDER", False):
        precision = precision_of(chosen)
        codec = describe(model, runtime=chosen.name, precision=precision, max_source_tokens=max_source_tokens)
        generator = module.load(model, RuntimeOptions(where, precision, chosen.num_threads))
        return Summarizer(codec, generator, codec.manifest.generate, chosen.label, where)
    workspace = tempfile.TemporaryDirectory(prefix="kilowit-")
    try:
        folder = Path(workspace.name) / "summarizer"
        export_folder(model, folder, chosen, max_source_tokens=max_source_tokens)
        found = open_exported(folder, chosen, where)
    except BaseException:
        workspace.cleanup()
        raise
    found._workspace = workspace
    return found


@dataclass(frozen=True)
class Summaries:
    """Summaries in the order of the documents, and what they took."""

    texts: list[str]
    bill: Bill


def summarize(documents: Sequence[str], model: str | Path, **options: object) -> Summaries:
    """Summarize documents under the meter.

    Args:
        documents: texts.
        model: as for `load_summarizer`, which takes `options` too.

    Raises:
        KilowitError: as `load_summarizer`, or a document that is no text.

    Example:
        >>> kilowit.summarize(["A long text."], "runs/...", num_beams=4).bill.metered.total  # doctest: +SKIP
    """
    texts: list[str] = []
    bill = metered(documents, lambda: load_summarizer(model, **options), texts.extend)  # type: ignore[arg-type]
    return Summaries(texts, bill)


def metered(
    documents: Sequence[str],
    load: Callable[[], Summarizer],
    take: Callable[[Sequence[str]], object],
    on_done: Callable[[int], object] | None = None,
) -> Bill:
    """Load a summarizer and summarize documents, both metered.

    Args:
        take: given the summaries as they are written, in order, some at a time.
        on_done: told how many documents are finished.

    Raises:
        KilowitError: as `load_summarizer` and `Summarizer.write`.
    """
    meter = Meter(period_second=0.2, synchronize=synchronize)
    num_in = num_out = num_done = num_full = 0

    def count(places: Sequence[int]) -> None:
        nonlocal num_done
        num_done += len(places)
        if on_done is not None:
            on_done(num_done)

    with meter:
        with meter.phase("load"):
            summarizer = load()
        with summarizer, meter.phase("serve") as phase:
            longest = summarizer.codec.manifest.max_source_tokens
            step = AT_ONCE * summarizer.options.batch_size
            for start in range(0, len(documents), step):
                written = summarizer.write(documents[start : start + step], on_done=count)
                num_in += sum(w.num_input_tokens for w in written)
                num_full += sum(w.num_input_tokens >= longest for w in written)
                num_out += sum(len(w.tokens) for w in written)
                take([w.text for w in written])
            phase.count(num_examples=len(documents), num_input_tokens=num_in, num_output_tokens=num_out)
    return Bill(len(documents), num_in, num_out, longest, num_full, meter.stop())


def synchronize() -> None:
    """Wait for the GPU, if torch has been loaded and uses one."""
    if (torch := _torch_on_gpu()) is not None:
        torch.cuda.synchronize()


def release_memory() -> None:
    """Give back the memory of models that nothing refers to any more, the GPU's too."""
    gc.collect()
    if (torch := _torch_on_gpu()) is not None:
        torch.cuda.empty_cache()


def _torch_on_gpu() -> Any:
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None
