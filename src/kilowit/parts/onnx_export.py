"""Export a trained model to ONNX graphs, and refuse an export that does not compute what the model computes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.engine_onnxruntime import DECODER_FILE, ENCODER_FILE, OnnxRuntimeGenerator
from kilowit.parts.onnx_graph import Precision, Range
from kilowit.parts.onnx_seq2seq import decoder_graph, encoder_graph
from kilowit.parts.pretrained import load_folder
from kilowit.parts.runtime import RuntimeOptions
from kilowit.parts.seq2seq_weights import Seq2Seq, read_weights
from kilowit.parts.standalone import leave_program
from kilowit.parts.summarizer_folder import describe
from kilowit.parts.text_codec import TextCodec

# Largest difference of a logit, as a share of the largest logit. Measured on exports that write the same tokens:
# 1e-6 to 1e-5; a wrong one (another activation, a position off by one) is beyond 1e-2.
TOLERANCE: Final = 1e-3
CHECKED_LENGTHS: Final = (37, 21, 5)  # source tokens of what is compared
CHECKED_STEPS: Final = 20  # OpenVINO has been seen to go wrong from the 16th on
CALIBRATION_BATCH: Final = 8


@dataclass(frozen=True)
class Exported:
    """What an export holds."""

    num_reduced: int  # matrices in 8 or 16 bits
    float32_byte: int  # weights of the same graphs in float32


def export_onnx(
    model: Path, folder: Path, precision: str, *, runtime: str, calibration: Sequence[Sequence[int]] = ()
) -> Exported:
    """Write both graphs, tokenizer, manifest and the program that runs them.

    Args:
        runtime: what will run the graphs; its engine is copied beside them.
        calibration: ids of source tokens, whose ranges int8_static keeps.

    Raises:
        PartError: the folder cannot be loaded, the model has a part that is not known here, or its logits are not
            those of the graphs.
    """
    loaded = load_folder(model)
    loaded.model.eval()
    codec = describe(model, runtime=runtime, precision=precision)
    weights = read_weights(loaded.model)
    folder.mkdir(parents=True, exist_ok=True)
    ranges: Mapping[str, Range] = {}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        whole = Path(name)
        _write(weights, codec, whole, "fp32")
        check_equal(loaded.model, _generator(runtime, whole), model)
        float32_byte = sum(path.stat().st_size for path in whole.glob("*.data"))
        if precision == "int8_static":
            ranges = input_ranges(weights, calibration, codec.manifest.special_ids.pad, whole)
        elif precision == "fp32":
            for path in whole.iterdir():
                path.replace(folder / path.name)
    num_reduced = 0
    if precision != "fp32":
        num_reduced = _write(weights, codec, folder, precision, ranges)
    leave_program(folder, runtime)
    return Exported(num_reduced, float32_byte)


def _write(
    weights: Seq2Seq, codec: TextCodec, folder: Path, precision: str, ranges: Mapping[str, Range] | None = None
) -> int:
    of_encoder: Precision = precision  # type: ignore[assignment]
    # The decoder reads one token a step: few rows, for which finer scales cost nothing and measured ones gain nothing.
    of_decoder: Precision = "int8_block" if precision.startswith("int8") else of_encoder
    is_contrib = codec.manifest.runtime == "onnxruntime"
    encoder = encoder_graph(weights, of_encoder, ranges, is_contrib)
    decoder = decoder_graph(weights, of_decoder, is_contrib)
    encoder.save(folder / ENCODER_FILE)
    decoder.save(folder / DECODER_FILE)
    codec.write(folder)
    return encoder.num_reduced + decoder.num_reduced


def _generator(runtime: str, folder: Path) -> Any:
    if runtime == "openvino":
        from kilowit.parts.engine_openvino import OpenVinoGenerator

        return OpenVinoGenerator(folder, RuntimeOptions(num_threads=1))
    return OnnxRuntimeGenerator(folder, RuntimeOptions(num_threads=1))


def check_equal(model: Any, generator: Any, place: Path) -> None:
    """Compare the logits of padded random sources, step by step, with two beams that change places.

    Args:
        generator: of the runtime onnxruntime or openvino, in float32.

    Raises:
        PartError: they differ.
    """
    draw = np.random.default_rng(0)
    config = model.config.to_dict()
    limits = catalogue.family_of(config).position_limits(config)
    lengths = [min(length, limits.source or length) for length in CHECKED_LENGTHS]
    num_steps = min(CHECKED_STEPS, limits.target or CHECKED_STEPS)
    vocabulary_size, num_sources = config["vocab_size"], len(lengths)
    ids_AS = draw.integers(0, vocabulary_size, (num_sources, max(lengths)))
    mask_AS = (np.arange(max(lengths))[None] < np.array(lengths)[:, None]).astype(np.int64)
    written_AKL = draw.integers(0, vocabulary_size, (num_sources, 2, num_steps))
    written_AKL[:, :, 0] = generator.manifest.special_ids.decoder_start
    rows_R = np.arange(2 * num_sources)
    with torch.inference_mode():
        expected_RLV = model(
            input_ids=torch.from_numpy(ids_AS).repeat_interleave(2, 0),
            attention_mask=torch.from_numpy(mask_AS).repeat_interleave(2, 0),
            decoder_input_ids=torch.from_numpy(written_AKL.reshape(-1, num_steps)),
        ).logits.numpy()
    steps, swapped = generator.encode(ids_AS, mask_AS), False
    for step in range(num_steps):
        now_swapped = step % 2 == 1
        order_R = rows_R ^ 1 if now_swapped else rows_R
        parents_R = rows_R // 2 if step == 0 else (rows_R ^ 1 if now_swapped != swapped else rows_R)
        tokens_AK = written_AKL.reshape(-1, num_steps)[order_R, step].reshape(num_sources, 2)
        logits_RV = steps.step(np.ascontiguousarray(tokens_AK), parents_R)
        if step == 0:  # one past a source so far
            swapped = now_swapped
        expected_RV = expected_RLV[order_R, step]
        difference = float(np.abs(logits_RV - expected_RV).max() / max(np.abs(expected_RV).max(), 1e-6))
        if not difference <= TOLERANCE:
            raise PartError(
                f"the export is wrong: at step {step} its logits are off by {difference:.2g} of the largest",
                place=str(place),
                hint="Take the runtime torch, and report the model's config.json.",
            )
        swapped = now_swapped


def input_ranges(weights: Seq2Seq, sources: Sequence[Sequence[int]], pad_id: int, workspace: Path) -> dict[str, Range]:
    """Return the range that the input of each of the encoder's linear layers takes on some sources.

    Raises:
        PartError: no source.
    """
    import onnxruntime

    from kilowit.parts.token_search import pad

    if not sources:
        raise PartError("int8_static needs documents to measure ranges on", hint="Take int8, which needs none.")
    graph = encoder_graph(weights, "fp32")
    labels = graph.linear_inputs
    for value in sorted(set(labels.values())):
        graph.measure(value)
    graph.save(workspace / "calibration.onnx")
    session = onnxruntime.InferenceSession(workspace / "calibration.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name.endswith((".low", ".high"))]
    seen: dict[str, float] = {}
    for first in range(0, len(sources), CALIBRATION_BATCH):
        ids_AS, mask_AS = pad(sources[first : first + CALIBRATION_BATCH], pad_id)
        found = session.run(names, {"input_ids": ids_AS, "attention_mask": mask_AS})
        for name, value in zip(names, found, strict=True):
            choose = min if name.endswith(".low") else max
            seen[name] = choose(seen.get(name, float(value)), float(value))
    return {label: Range(seen[f"{value}.low"], seen[f"{value}.high"]) for label, value in labels.items()}
