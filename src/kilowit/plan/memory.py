"""Bytes that a cell will need: on the GPU, on the host, on disk.

Training holds, per parameter, 4 bytes of weights, 4 of gradients and 8 of AdamW state (Adafactor: next to nothing)
for what is trained; half precision by autocast adds a half copy of the weights, weights in bfloat16 keep masters and
their gradients in fp32 beside both. Activations are counted family by family (`kilowit.plan.activations`), half as many
bytes in half precision but for the logits, a loss's fp32.

Over N processes each holds the activations of its share of the batch. Of the 16 bytes per parameter, ZeRO divides by N
the optimizer's state (stage 1), the gradients too (2), the parameters too (3, and FSDP): Rajbhandari et al. 2020, arXiv
1910.02054, section 5 and figure 1; ddp divides none. GPU memory is what the fullest GPU holds; the host holds all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kilowit.parts.model import Dimensions
from kilowit.plan.activations import COUNTED
from kilowit.plan.hardware import Hardware
from kilowit.plan.interval import Interval
from kilowit.plan.workload import Workload

BYTE_PER_PARAMETER_FP32: Final = 4
ADAMW_BYTE_PER_PARAMETER: Final = 8
ADAM8BIT_BYTE_PER_PARAMETER: Final = 2.1  # two moments of a byte, and a scale for each 256 of them
HALF_PRECISIONS: Final = ("bf16", "fp16")
SCORE_BYTE: Final = 10.0  # of a pair of tokens and a head, fp32: arXiv 2205.05198, equation 1
COUNT_ERROR: Final = Interval(0.9, 1.0, 1.1)  # of the counted activations
PACKED_ROW_EXCESS: Final = 1.6  # longest over mean row: 1.14 in batches of 128, 1.57 of 16, on SAMSum (ours)
NUM_LOGIT_COPIES: Final = Interval(2, 3, 5)
CUDA_CONTEXT_BYTE: Final = Interval(0.3e9, 0.5e9, 1.0e9)  # context, kernels, cuBLAS workspace
FRAGMENTATION: Final = Interval(1.0, 1.1, 1.3)  # blocks that the caching allocator holds and cannot use
PYTHON_BYTE: Final = Interval(0.4e9, 0.9e9, 2.5e9)  # torch and transformers imported, tokenized corpus
BASELINE_PYTHON_BYTE: Final = Interval(5e7, 2e8, 2.5e9)
USABLE_FRACTION: Final = 0.97  # the driver keeps the rest
RUN_FOLDER_BYTE_PER_SECOND: Final = Interval(150, 500, 3000)  # ledger and power trace, a line a second each
_PREDICTION_BYTE: Final = Interval(150, 450, 2000)  # a line of predictions.jsonl with its scores


def model_memory_byte(work: Workload, *, on_gpu: bool = True) -> Interval | None:
    """Return the peak of training and generation where the model runs, without framework; None without a size."""
    if work.size is None:
        return None
    if not work.settings.trains:
        return _predict_byte(work) * FRAGMENTATION
    return train_byte(work, on_gpu=on_gpu).at_least(_predict_byte(work)) * FRAGMENTATION


def gpu_memory_byte(work: Workload, hardware: Hardware) -> Interval | None:
    """Return the peak on the fullest GPU; None where the cell uses none or its model's size is unknown."""
    model = model_memory_byte(work)
    return None if hardware.gpu is None or model is None else model + CUDA_CONTEXT_BYTE


def host_memory_byte(work: Workload, hardware: Hardware) -> Interval:
    """Return the peak resident memory of the worker."""
    model, num_ranks = model_memory_byte(work, on_gpu=hardware.gpu is not None), work.num_ranks
    if model is None:
        return BASELINE_PYTHON_BYTE if work.is_baseline else PYTHON_BYTE
    if hardware.gpu is None:
        return (PYTHON_BYTE + model) * num_ranks
    assert work.size is not None
    weights = Interval(0.2, 1.0, 2.0) * (BYTE_PER_PARAMETER_FP32 * work.size.num_parameters)
    return (PYTHON_BYTE + weights) * num_ranks + _offloaded_byte(work)


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


def train_byte(work: Workload, *, on_gpu: bool) -> Interval:
    """Return the peak of a training step: weights, gradients, the optimizer's state and activations."""
    assert work.size is not None
    n = float(work.size.num_parameters)
    trained = n * work.trained_fraction
    shares = _shares(work)
    fixed = BYTE_PER_PARAMETER_FP32 * (n * shares.parameters + trained * shares.gradients)
    fixed += _state_byte_per_parameter(work) * trained * shares.state
    if work.settings.weights == "bf16":
        fixed += 2 * (n + trained)  # weights and gradients of 2 bytes beside fp32 masters, their gradients, frozen ones
    elif work.precision in HALF_PRECISIONS:
        fixed += 2 * n
    fixed += BYTE_PER_PARAMETER_FP32 * n * (work.num_members - 1)  # trained before, they wait for the last
    teacher_byte = 0.0
    if work.whole_size is not None and work.whole_size != work.size:  # it may stay beside its student
        teacher_byte = float(BYTE_PER_PARAMETER_FP32 * work.whole_size.num_parameters)
    d = work.size.dimensions
    if work.settings.loss_chunk_tokens is not None:  # logits and gradient of a chunk, and the head's gradient, in fp32
        fixed += BYTE_PER_PARAMETER_FP32 * d.vocabulary_size * (2 * work.settings.loss_chunk_tokens + d.d_model)
    activation = _batch_activation_byte(work, on_gpu=on_gpu) * (1 / work.num_ranks)
    passing = COUNTED[work.size.family.name].vocabulary_gradients * BYTE_PER_PARAMETER_FP32 * work.trained_fraction
    return fixed + passing * d.vocabulary_size * d.d_model + Interval(0.0, 0.0, teacher_byte) + activation


def _batch_activation_byte(work: Workload, *, on_gpu: bool) -> Interval:
    """Return bytes that the backward pass of the largest batch needs."""
    train, mean_source, mean_target = work.settings.train, work.source_tokens, work.target_tokens
    if work.is_packed:  # the row that decides is a sum over many pairs: not far from the mean
        source, target = (Interval(m.low, m.likely, PACKED_ROW_EXCESS * m.high) for m in (mean_source, mean_target))
        return _activation_byte(work, source, target, on_gpu=on_gpu) * train.batch_size
    if work.max_batch_tokens is not None:
        return _activation_byte(work, mean_source, mean_target, on_gpu=on_gpu) * work.num_examples_per_batch
    # The longest batch decides: likely one is full of documents at the maximum.
    source = Interval(mean_source.likely, train.max_source_tokens, train.max_source_tokens)
    target = Interval(mean_target.likely, train.max_target_tokens, train.max_target_tokens)
    return _activation_byte(work, source, target, on_gpu=on_gpu) * train.batch_size


class _Shares(NamedTuple):
    """What part of each block one GPU holds."""

    parameters: float
    gradients: float
    state: float


def _shares(work: Workload) -> _Shares:
    """Return the shares of arXiv 1910.02054, figure 1; what is offloaded is no GPU's."""
    ranks, part = work.settings.ranks, 1 / work.num_ranks
    if ranks.wrapper == "fsdp":
        away = ranks.options.get("cpu_offload", False)
        return _Shares(0.0, 0.0, 0.0) if away else _Shares(part, part, part)
    if ranks.wrapper != "deepspeed":
        return _Shares(1.0, 1.0, 1.0)
    zero = ranks.options["zero_optimization"]
    stage = zero["stage"]
    parameters = 0.0 if "offload_param" in zero else part if stage == 3 else 1.0
    return _Shares(parameters, part if stage >= 2 else 1.0, 0.0 if "offload_optimizer" in zero else part)


def _offloaded_byte(work: Workload) -> Interval:
    """Return what lies in host memory instead of on a GPU: fp32 copy, gradients and state, all ranks together."""
    assert work.size is not None
    ranks = work.settings.ranks
    where = ranks.options.get("zero_optimization", {}).get("offload_optimizer", {}).get("device")
    if where != "cpu" and not ranks.options.get("cpu_offload", False):
        return Interval.exactly(0.0)
    trained = work.size.num_parameters * work.trained_fraction
    return Interval(1.0, 1.0, 1.3) * ((2 * BYTE_PER_PARAMETER_FP32 + _state_byte_per_parameter(work)) * trained)


def _state_byte_per_parameter(work: Workload) -> float:
    """Return the optimizer's bytes per trained parameter; 8-bit AdamW leaves the embeddings' moments in fp32."""
    assert work.size is not None
    if work.settings.train.optimizer == "adafactor":
        return 0.1
    if work.settings.train.optimizer == "adamw":
        return ADAMW_BYTE_PER_PARAMETER
    embedded = work.size.dimensions.vocabulary_size * work.size.dimensions.d_model / work.size.num_parameters
    return ADAM8BIT_BYTE_PER_PARAMETER * (1 - embedded) + ADAMW_BYTE_PER_PARAMETER * embedded


def _activation_byte(work: Workload, source: Interval, target: Interval, *, on_gpu: bool) -> Interval:
    """Return bytes per example that the backward pass needs."""
    assert work.size is not None
    d, each = work.size.dimensions, COUNTED[work.size.family.name]
    half = 0.5 if work.precision in HALF_PRECISIONS else 1.0
    streams = 1 + d.num_future_tokens
    read = source + target if d.is_one_stack else _computed(d, source)
    encoding = read * (half * each.source * d.d_model)
    decoding = target * (half * each.target * streams * d.d_model)
    if d.is_one_stack:
        pairs = read * read * d.encoder_layers
    else:
        pairs = _pairs(d, source) * d.encoder_layers
        pairs = pairs + (target * target + source * target) * (streams * d.decoder_layers)
    scores = _score_byte(pairs * (half * d.num_heads), each.pair, d.keeps_scores, on_gpu=on_gpu)
    logits = target * (each.logit * d.vocabulary_size * max(1, d.num_future_tokens))
    if work.settings.loss_chunk_tokens is not None:
        logits = Interval.exactly(0.0)  # one chunk's are counted with what every batch needs
    if work.recomputes:  # the input of every layer, and all of the layer whose turn it is
        inputs = (source * d.encoder_layers + target * d.decoder_layers) * (4 * half * d.d_model)
        return (inputs + encoding + decoding + scores * (1 / d.encoder_layers) + logits) * COUNT_ERROR
    return (encoding * d.encoder_layers + decoding * d.decoder_layers + scores + logits) * COUNT_ERROR


def _score_byte(pairs: Interval, pair_byte: float, keeps_scores: bool, *, on_gpu: bool) -> Interval:
    """Return bytes of attention scores: on a CPU as counted; a GPU's fused kernels keep none, dropout or not.

    What a GPU does with T5's bias was not measured: part of the scores at most, likely a fifth.
    """
    kept = pairs * pair_byte
    if keeps_scores:
        return kept
    high = max(pair_byte, SCORE_BYTE) * pairs.high  # the kernel that is fallen back on
    return Interval(0.0, 0.2 * kept.likely, high) if on_gpu else Interval(min(kept.low, high), kept.likely, high)


def _computed(dimensions: Dimensions, source: Interval) -> Interval:
    """Return source tokens as the encoder computes them: sparse attention pads to its blocks."""
    pattern = dimensions.encoder_pattern
    return source if pattern is None else Interval(*(pattern.cost(n).ffn_positions for n in _ends(source)))


def _pairs(dimensions: Dimensions, source: Interval) -> Interval:
    """Return pairs of source tokens whose scores an encoder layer computes."""
    pattern = dimensions.encoder_pattern
    return source * source if pattern is None else Interval(*sorted(pattern.cost(n).pairs for n in _ends(source)))


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.likely, interval.high


def _predict_byte(work: Workload) -> Interval:
    assert work.size is not None
    d = work.size.dimensions
    beams = work.predict_batch_size * work.num_beams
    source = Interval(work.source_tokens.low, work.source_tokens.likely, work.settings.train.max_source_tokens)
    cache = (source + work.new_tokens) * (2 * 4 * d.decoder_layers * d.key_value_width)
    logits = NUM_LOGIT_COPIES * (4 * d.vocabulary_size)
    # The optimizer's state stays on the device while summaries are written, unless the worker frees it.
    weights = float(BYTE_PER_PARAMETER_FP32 * work.size.num_parameters)
    return (Interval(1.0, 1.0, 4.0) * weights + (cache + logits) * beams) * work.num_members
