"""A model repository for NVIDIA Triton: what a stock container loads, made of an exported summarizer.

    NAME/config.pbtxt, 1/         backend python: text in, summary out; the exported summarizer, its program, model.py
    NAME_encoder/, NAME_decoder/  backend onnxruntime: the two graphs alone, for a search of one's own; onnxruntime only

The graphs lie in two places of the repository as one file on the disk (hard links, where the disk knows them).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.standalone import PACKAGE, PROGRAM, TRITON_MODEL, leave_program, leave_triton_model
from kilowit.parts.summarizer_folder import restate
from kilowit.parts.text_codec import MANIFEST_FILE, Manifest
from kilowit.serving.folder import export_folder
from kilowit.serving.source import Source, generate_options
from kilowit.serving.triton_config import CONFIG_FILE, VARIABLE, DataType, Gathering, ModelConfig, TensorSpec
from kilowit.settings import RuntimeSettings

VERSION: Final = "1"
RUNTIMES: Final = ("onnxruntime", "ctranslate2")
GRAPHS: Final = ("encoder", "decoder")  # each is a file NAME.onnx, perhaps with its weights beside it
# Of an exported folder: what is written below, and so must not be the same file as in the source, or is not needed.
_WRITTEN_ANEW: Final = (
    MANIFEST_FILE, PACKAGE, PROGRAM, TRITON_MODEL, "requirements.txt", "packages", "__pycache__",
)  # fmt: skip
_UNNAMEABLE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_TYPES: Final[dict[str, DataType]] = {
    "tensor(int64)": "TYPE_INT64",
    "tensor(float)": "TYPE_FP32",
}
_OUTPUTS: Final = (
    TensorSpec("summary", "TYPE_STRING", [1]),
    TensorSpec("num_input_tokens", "TYPE_INT32", [1]),
    TensorSpec("num_output_tokens", "TYPE_INT32", [1]),
    TensorSpec("batch_size", "TYPE_INT32", [1]),
    TensorSpec("energy_joules", "TYPE_FP64", [1]),
    TensorSpec("co2e_grams", "TYPE_FP64", [1]),
)


@dataclass(frozen=True, kw_only=True)
class TritonLimits:
    """What Triton is told of a summarizer beside its tensors.

    Attributes:
        max_batch_size: most documents in a request, and computed at once.
        num_threads: of the runtime; None = its own choice.
        max_new_tokens: longest summary that a request may ask for.
        max_beams: most beams that a request may ask for.
    """

    max_batch_size: int = 16
    gathering: Gathering = field(default_factory=Gathering)
    num_threads: int | None = None
    max_new_tokens: int = 256
    max_beams: int = 8


def repository_name(name: str) -> str:
    """Return a model's name as Triton and its clients can write it.

    >>> repository_name("facebook/bart base (int8)")
    'facebook-bart-base-int8'
    """
    return _UNNAMEABLE.sub("-", name).strip("-") or "summarizer"


def check_triton_runtime(name: str) -> None:
    """Refuse a runtime that no program of ours runs inside Triton.

    Raises:
        PartError: another than `RUNTIMES`.
    """
    if name not in RUNTIMES:
        hint = f"Take --runtime {' or '.join(RUNTIMES)}."
        raise PartError(f'runtime "{name}" does not run inside Triton', hint=hint)


def write_model(
    source: Source,
    repository: Path,
    name: str,
    chosen: RuntimeSettings,
    limits: TritonLimits,
    /,
    *,
    with_graphs: bool,
    **stated: Any,
) -> Path:
    """Write one summarizer into a repository; return the folder of its version, an exported summarizer.

    Args:
        source: a model as save_pretrained leaves it, or an exported summarizer for the runtime.
        name: of the model in Triton.
        with_graphs: the graphs of ONNX Runtime as models of their own too.
        stated: fields of the manifest, as for `export_folder`; None = as they are.

    Raises:
        PartError: the runtime does not run inside Triton, or does not take the model.
    """
    check_triton_runtime(chosen.name)
    folder = repository / name / VERSION
    if source.manifest is None:
        export_folder(source.folder, folder, chosen, **stated)
    else:
        shutil.copytree(source.folder, folder, copy_function=_link, ignore=shutil.ignore_patterns(*_WRITTEN_ANEW))
        shutil.copy(source.folder / MANIFEST_FILE, folder)
        leave_program(folder, chosen.name)
        restate(folder, **{field: value for field, value in stated.items() if value is not None})
    restate(folder, generate=generate_options(Manifest.read(folder).generate, source.predict))
    leave_triton_model(folder)
    text_model(name, limits).write(folder.parent)
    if with_graphs and chosen.name == "onnxruntime":
        for graph in GRAPHS:
            _write_graph(folder, graph, repository / f"{name}_{graph}", limits)
    return folder


def text_model(name: str, limits: TritonLimits) -> ModelConfig:
    """Return the configuration of the model that takes text."""
    return ModelConfig(
        name=name,
        backend="python",
        inputs=[TensorSpec("text", "TYPE_STRING", [1])],
        outputs=_OUTPUTS,
        max_batch_size=limits.max_batch_size,
        gathering=limits.gathering,
        parameters={
            "num_threads": str(limits.num_threads or 0),
            "max_new_tokens": str(limits.max_new_tokens),
            "num_beams": str(limits.max_beams),
        },
    )


def graph_model(name: str, path: Path, limits: TritonLimits) -> ModelConfig:
    """Return the configuration of an ONNX graph, read from it.

    Triton gathers requests for the encoder alone: what a decoder has in a batch is rows of several kinds.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, none documented
        message = f"ONNX Runtime cannot load the graph ({error})"
        raise PartError(message, place=path.name, hint="Export the summarizer again.") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    is_gathered = all(value.shape[0] == "batch" for value in (*inputs, *outputs))
    return ModelConfig(
        name=name,
        backend="onnxruntime",
        inputs=[_tensor(value, is_gathered) for value in inputs],
        outputs=[_tensor(value, is_gathered) for value in outputs],
        max_batch_size=limits.max_batch_size if is_gathered else 0,
        gathering=limits.gathering if is_gathered else None,
        default_model_filename=path.name,
    )


def text_models(repository: Path) -> Iterator[Path]:
    """Yield the exported summarizers in a repository that kilowit wrote, by name."""
    for config in sorted(repository.glob(f"*/{CONFIG_FILE}")):
        if (config.parent / VERSION / MANIFEST_FILE).is_file():
            yield config.parent / VERSION


def _tensor(value: Any, is_gathered: bool) -> TensorSpec:
    dims = [size if isinstance(size, int) else VARIABLE for size in value.shape[is_gathered:]]
    return TensorSpec(value.name, _TYPES[value.type], dims)


def _write_graph(folder: Path, graph: str, target: Path, limits: TritonLimits) -> None:
    (target / VERSION).mkdir(parents=True)
    for path in sorted(folder.glob(f"{graph}.onnx*")):
        _link(path, target / VERSION / path.name)
    graph_model(target.name, target / VERSION / f"{graph}.onnx", limits).write(target)


def _link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name; copy it where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
