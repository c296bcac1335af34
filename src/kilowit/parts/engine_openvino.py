"""Run ``encoder.onnx`` and ``decoder.onnx`` with OpenVINO and our own search: no torch, no transformers.

`kilowit.parts.onnx_seq2seq` says what the two graphs take and give. This file is copied into exported folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions, OnDone, OnTokens, RuntimeOptions
from kilowit.parts.runtime_request import check_request
from kilowit.parts.text_codec import Manifest
from kilowit.parts.token_search import StepModel, search_sources

ENCODER_FILE: Final = "encoder.onnx"
DECODER_FILE: Final = "decoder.onnx"


class OpenVinoGenerator:
    """Both graphs, compiled for this CPU."""

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        self.manifest = Manifest.read(folder)
        self.manifest.check_precision(options.precision, folder)
        core = openvino.Core()
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # OpenVINO 2026.4 fuses attention over 16 or more written tokens into a kernel that is off by 1 % of the
            # largest logit (on an AMD EPYC with AVX-512, 2026-11); without its fusions it is off by 1e-7.
            "SNIPPETS_MODE": "DISABLE",
        }
        if options.num_threads is not None:
            settings["INFERENCE_NUM_THREADS"] = options.num_threads
        self.encoder = _compile(core, folder / ENCODER_FILE, settings)
        self.decoder = _compile(core, folder / DECODER_FILE, settings)
        shapes = {port.any_name: port.partial_shape for port in self.decoder.inputs}
        self.past_sizes = {
            name: (shape[1].get_length(), shape[3].get_length())
            for name, shape in shapes.items()
            if name.startswith("past_")
        }

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        options: GenerateOptions,
        on_done: OnDone | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[list[int]]:
        """Return the new tokens of each source; see `kilowit.parts.runtime.TokenGenerator`.

        Raises:
            PartError: see `check_request`.
        """
        check_request(sources, options, self.manifest.positions, self.manifest.vocabulary_size)
        return search_sources(self.encode, sources, self.manifest.special_ids, options, on_done, on_tokens)

    def encode(self, ids_AS: Any, mask_AS: Any) -> StepModel:
        """Encode padded sources."""
        cross = _infer(self.encoder, {"input_ids": ids_AS, "attention_mask": mask_AS})
        return _Steps(self, {**cross, "attention_mask": mask_AS}, len(ids_AS))


class _Steps:
    """Sources that have been encoded, and the keys and values of what was written for them."""

    def __init__(self, generator: OpenVinoGenerator, source: dict[str, Any], num_sources: int) -> None:
        self.decoder, self.source = generator.decoder, source
        self.past = {
            name: np.zeros((num_sources, heads, 0, width), np.float32)
            for name, (heads, width) in generator.past_sizes.items()
        }

    def step(self, tokens_AK: Any, parents_R: Any) -> Any:
        found = _infer(self.decoder, {"input_ids": tokens_AK, "parents": parents_R, **self.source, **self.past})
        self.past = {name: found[name.replace("past_", "present_")] for name in self.past}
        return found["logits"]

    def keep(self, kept_A: Any) -> None:
        self.source = {name: value[kept_A] for name, value in self.source.items()}


def _infer(compiled: Any, feed: dict[str, Any]) -> dict[str, Any]:
    """Return each output by its name, a copy: the next inference writes where this one did."""
    return {port.any_name: np.array(value) for port, value in compiled(feed).items()}


def _compile(core: Any, path: Path, settings: dict[str, Any]) -> Any:
    try:
        return core.compile_model(path, "CPU", settings)
    except RuntimeError as error:
        message = f"OpenVINO cannot load the graph ({error})"
        raise PartError(message, place=str(path), hint="Export the summarizer again.") from error
