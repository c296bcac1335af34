"""Bytes that a cell will need: on the GPU, on the host, on disk.

Training holds, per parameter, 4 bytes of weights, 4 of gradients and 8 of AdamW state (Adafactor: next to nothing)
for what is trained; half precision by autocast adds a half copy of the weights. Activations follow Korthikanti et al.
2022, arXiv 2205.05198, equation 1: a layer keeps 34 bytes per token and unit of width in half precision, twice that in
single, plus 5 bytes per head and pair of tokens where attention scores are kept (fused attention keeps none). A decoder
layer has a second attention: half as much again. The head keeps logits, their softmax and its gradient in fp32.
"""

from __future__ import annotations

from typing import Final

from kilowit.plan.hardware import Hardware
from kilowit.plan.interval import Interval
from kilowit.plan.workload import Workload

BYTE_PER_PARAMETER_FP32: Final = 4
ADAMW_BYTE_PER_PARAMETER: Final = 8
ACTIVATION_BYTE_FP16: Final = 34.0
SCORE_BYTE_FP16: Final = 5.0
NUM_LOGIT_COPIES: Final = Interval(2, 3, 5)
CUDA_CONTEXT_BYTE: Final = Interval(0.3e9, 0.5e9, 1.0e9)  # context, kernels, cuBLAS workspace
FRAGMENTATION: Final = Interval(1.0, 1.1, 1.3)  # blocks that the caching allocator holds and cannot use
PYTHON_BYTE: Final = Interval(0.4e9, 0.9e9, 2.5e9)  # torch and transformers imported, tokenized corpus
BASELINE_PYTHON_BYTE: Final = Interval(5e7, 2e8, 2.5e9)
USABLE_FRACTION: Final = 0.97  # the driver keeps the rest
RUN_FOLDER_BYTE_PER_SECOND: Final = Interval(150, 500, 3000)  # ledger and power trace, a line a second each
_PREDICTION_BYTE: Final = Interval(150, 450, 2000)  # a line of predictions.jsonl with its scores


def model_memory_byte(work: Workload) -> Interval | None:
    """Return the peak of training and generation where the model runs, without framework; None without a size."""
    if work.size is None:
        return None
    return _train_byte(work).at_least(_predict_byte(work)) * FRAGMENTATION


def gpu_memory_byte(work: Workload, hardware: Hardware) -> Interval | None:
    """Return the peak on the GPU; None where the cell uses none or its model's size is unknown."""
    model = model_memory_byte(work)
    return None if hardware.gpu is None or model is None else model + CUDA_CONTEXT_BYTE


def host_memory_byte(work: Workload, hardware: Hardware) -> Interval:
    """Return the peak resident memory of the worker."""
    model = model_memory_byte(work)
    if model is None:
        return BASELINE_PYTHON_BYTE if work.is_baseline else PYTHON_BYTE
    if hardware.gpu is None:
        return PYTHON_BYTE + model
    assert work.size is not None
    return PYTHON_BYTE + Interval(0.2, 1.0, 2.0) * (BYTE_PER_PARAMETER_FP32 * work.size.num_parameters)


def disk_byte(work: Workload, time_second: Interval) -> Interval:
    """Return what the cell leaves: run folder, the model where it is kept, the hub's cache where it downloads."""
    left = RUN_FOLDER_BYTE_PER_SECOND * time_second + _PREDICTION_BYTE * work.num_test_examples + 50_000
    if work.size is None:
        return left
    weights = float(BYTE_PER_PARAMETER_FP32 * work.size.num_parameters)
    if work.settings.measure.keep_model:
        left = left + weights
    if work.downloads:  # likely: not here yet; low: here already
        left = left + Interval(0, weights, 2 * weights)  # high: a hub repository with two weight formats
    return left


def _train_byte(work: Workload) -> Interval:
    assert work.size is not None
    train, n = work.settings.train, float(work.size.num_parameters)
    trained = n * work.trained_fraction
    state = ADAMW_BYTE_PER_PARAMETER if train.optimizer == "adamw" else 0.1
    fixed = BYTE_PER_PARAMETER_FP32 * n + (BYTE_PER_PARAMETER_FP32 + state) * trained
    if work.settings.weights == "bf16":  # 2 bytes of weights and of gradients, 4 of masters, 4 of their gradients
        fixed = 2 * n + (2 + 4 + 4 + state) * trained
    elif work.precision != "fp32":
        fixed += 2 * n
    # The longest batch decides: likely one is full of documents at the maximum.
    source = Interval(work.source_tokens.likely, train.max_source_tokens, train.max_source_tokens)
    target = Interval(work.target_tokens.likely, train.max_target_tokens, train.max_target_tokens)
    return fixed + _activation_byte(work, source, target) * train.batch_size


def _activation_byte(work: Workload, source: Interval, target: Interval) -> Interval:
    """Return bytes per example that the backward pass needs."""
    assert work.size is not None
    d = work.size.dimensions
    width = 1.0 if work.precision != "fp32" else 2.0
    per_token = ACTIVATION_BYTE_FP16 * width * d.d_model
    linear = source * (d.encoder_layers * per_token) + target * (1.5 * d.decoder_layers * per_token)
    scores = SCORE_BYTE_FP16 * width * d.num_heads
    pairs = source * source * d.encoder_layers + (target * target + source * target) * d.decoder_layers
    kept = pairs * scores
    logits = target * (4 * d.vocabulary_size) * NUM_LOGIT_COPIES
    # Fused attention keeps no scores: they count in full only at the high end.
    return linear + Interval(0.0, 0.2 * kept.likely, kept.high) + logits


def _predict_byte(work: Workload) -> Interval:
    assert work.size is not None
    d = work.size.dimensions
    beams = work.predict_batch_size * work.num_beams
    source = Interval(work.source_tokens.low, work.source_tokens.likely, work.settings.train.max_source_tokens)
    cache = (source + work.new_tokens) * (2 * 4 * d.decoder_layers * d.d_attention)
    logits = NUM_LOGIT_COPIES * (4 * d.vocabulary_size)
    # The optimizer's state stays on the device while summaries are written, unless the worker frees it.
    weights = float(BYTE_PER_PARAMETER_FP32 * work.size.num_parameters)
    return Interval(1.0, 1.0, 4.0) * weights + (cache + logits) * beams
