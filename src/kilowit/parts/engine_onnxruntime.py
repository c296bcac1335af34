"""Run ``encoder.onnx`` and ``decoder.onnx`` with ONNX Runtime and our own search: no torch, no transformers.

`kilowit.parts.onnx_seq2seq` says what the two graphs take and give. This file is copied into exported folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions, OnDone, OnTokens, RuntimeOptions
from kilowit.parts.runtime_request import check_request
from kilowit.parts.text_codec import Manifest
from kilowit.parts.token_search import StepModel, search_sources

ENCODER_FILE: Final = "encoder.onnx"
DECODER_FILE: Final = "decoder.onnx"
ERRORS_ONLY: Final = 3  # of ONNX Runtime's log levels


class OnnxRuntimeGenerator:
    """Both graphs in memory."""

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        self.manifest = Manifest.read(folder)
        self.manifest.check_precision(options.precision, folder)
        self.encoder = _session(folder / ENCODER_FILE, options)
        self.decoder = _session(folder / DECODER_FILE, options)
        self.cross_names = [value.name for value in self.encoder.get_outputs()]
        shapes = {value.name: value.shape for value in self.decoder.get_inputs()}
        self.past_shapes = {name: shape for name, shape in shapes.items() if name.startswith("past_")}
        self.output_names = ["logits", *(name.replace("past_", "present_") for name in self.past_shapes)]

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
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        mask = value(mask_AS)
        feed = {"input_ids": value(ids_AS), "attention_mask": mask}
        cross = self.encoder.run_with_ort_values(self.cross_names, feed)
        return _Steps(self, dict(zip(self.cross_names, cross, strict=True)) | {"attention_mask": mask}, len(ids_AS))


class _Steps:
    """Sources that have been encoded, and the keys and values of what was written for them."""

    def __init__(self, generator: OnnxRuntimeGenerator, source: dict[str, Any], num_sources: int) -> None:
        self.generator, self.source = generator, source
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy
        self.past = {
            name: self.value(np.zeros((num_sources, heads, 0, width), np.float32))
            for name, (_, heads, _, width) in generator.past_shapes.items()
        }

    def step(self, tokens_AK: Any, parents_R: Any) -> Any:
        feed = {"input_ids": self.value(tokens_AK), "parents": self.value(parents_R), **self.source, **self.past}
        logits, *present = self.generator.decoder.run_with_ort_values(self.generator.output_names, feed)
        self.past = dict(zip(self.past, present, strict=True))
        return logits.numpy()

    def keep(self, kept_A: Any) -> None:
        self.source = {name: self.value(value.numpy()[kept_A]) for name, value in self.source.items()}


def _session(path: Path, options: RuntimeOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.num_threads or 0
    settings.inter_op_num_threads = 1
    settings.log_severity_level = ERRORS_ONLY
    # Threads that spin while they wait took 1.6 times the CPU time on two cores (BART-base, 2026-11): that is energy.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, none documented
        message = f"ONNX Runtime cannot load the graph ({error})"
        raise PartError(message, place=str(path), hint="Export the summarizer again.") from error
