"""A cell's time and energy from its FLOPs and the device's rate, when nothing has run here yet.

Every phase is an interval of seconds times an interval of watts. The intervals are wide on purpose: a factor of three
to ten is what a formula knows of a run that nobody has made. A probe or one earlier record narrows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kilowit.plan.hardware import (
    CPU_BANDWIDTH_BYTE_PER_SECOND,
    DECODE_STEP_SECOND,
    DECODE_STEP_SECOND_PER_LAYER,
    TRAIN_STEP_SECOND_PER_LAYER,
    Hardware,
)
from kilowit.plan.interval import Interval
from kilowit.plan.workload import Workload

# Ours, estimates on server CPUs and disks of 2026; each is a small part of a run of minutes.
IMPORT_SECOND: Final = Interval(2, 5, 30)  # torch and transformers; 2.9 s measured with warm caches
BASELINE_START_SECOND: Final = Interval(0.3, 2, 15)
TOKENIZE_TOKENS_PER_SECOND: Final = Interval(1e5, 5e5, 2e6)
SCRATCH_TOKENIZER_SECOND: Final = Interval(1, 5, 30)  # a byte-level BPE trained on the corpus
LOAD_BYTE_PER_SECOND: Final = Interval(1e8, 6e8, 2e9)
DOWNLOAD_BYTE_PER_SECOND: Final = Interval(5e6, 3e7, 1e8)
BASELINE_DOCUMENTS_PER_SECOND: Final = {"lead": Interval(300, 3000, 30_000), "textrank": Interval(10, 100, 1000)}
# What N GPUs lose to waiting for each other: a step takes 1/N of one GPU's time times this. Ours, an estimate: close to
# 1 for large batches over NVLink (Li et al. 2020, arXiv 2006.15704, figure 9), several where small steps wait on PCIe.
RANK_SPEEDUP_INVERSE: Final = Interval(1.0, 1.2, 3.0)
COMPILE_SECOND: Final = Interval(3, 15, 90)  # torch.compile of a layer of each kind, forward and backward; ours
_VALIDATION_RATE: Final = 1 / 3  # forward only


def phase_seconds(work: Workload, hardware: Hardware, train_rate: Interval | None = None) -> dict[str, Interval] | None:
    """Return seconds by phase, idle baseline included; None where the model's size or the precision is unknown.

    Args:
        train_rate: FLOP/s that earlier trainings reached here, launches included; None = the device's.
    """
    test = work.num_test_examples
    phases = {"idle": Interval.exactly(work.settings.measure.idle_second), "score": test * work.score_second_per_pair}
    if work.is_baseline:
        rate = BASELINE_DOCUMENTS_PER_SECOND.get(work.baseline, Interval(10, 100, 1000))
        return phases | {"load": BASELINE_START_SECOND, "predict": test / rate}
    rate_or_none = hardware.flop_per_second(work.precision)
    if work.size is None or rate_or_none is None:
        return None
    ready = {"download": _download_second(work), "prepare": _prepare_second(work), "load": _load_second(work)}
    predict = predict_second(work, hardware, rate_or_none) * work.num_members
    if not work.settings.trains:
        return phases | ready | {"predict": predict}
    train = _train_second(work, hardware, rate_or_none, train_rate) * work.num_members
    if work.num_ranks > 1 and hardware.gpu is not None:  # ranks on a CPU share its cores
        train = train * RANK_SPEEDUP_INVERSE * (1 / work.num_ranks)
    compress = _compress_second(work, hardware, rate_or_none, train_rate)
    if compress.likely:
        phases["compress"] = compress
    if work.is_compiled:
        phases["warmup"] = COMPILE_SECOND * work.num_members
    per_example = train / work.num_examples_seen
    validated = work.num_validation_examples_seen
    validate = per_example * validated * _VALIDATION_RATE
    return phases | ready | {"train": train, "validate": validate, "predict": predict}


def phase_joules(phases: Mapping[str, Interval], hardware: Hardware, num_ranks: int = 1) -> dict[str, Interval]:
    """Return the joules of each phase, by the power that it draws; `num_ranks` GPUs train."""
    joules = {}
    for name, second in phases.items():
        busy = "predict" if name.startswith("serve") else name  # the same work
        joules[name] = second * (hardware.idle_watt() if name == "idle" else hardware.busy_watt(busy, num_ranks))
    return joules


def _compress_second(work: Workload, hardware: Hardware, rate: Interval, train_rate: Interval | None) -> Interval:
    """What the whole model takes before the smaller one is trained: its own training, its summaries of the corpus."""
    whole = replace(work, size=work.whole_size, num_test_examples=work.num_train_examples, trained_fraction=1.0)
    second = _train_second(whole, hardware, rate, train_rate) * work.num_extra_trainings
    return second + predict_second(whole, hardware, rate) if work.writes_training_summaries else second


def _train_second(work: Workload, hardware: Hardware, rate: Interval, train_rate: Interval | None) -> Interval:
    if train_rate is not None:
        return work.train_flop() / train_rate
    assert work.size is not None
    d = work.size.dimensions
    num_layers = d.encoder_layers + d.decoder_layers
    launching = TRAIN_STEP_SECOND_PER_LAYER[hardware.kind] * num_layers * work.num_forward_batches
    return (work.train_flop() / rate).at_least(launching)


def predict_second(work: Workload, hardware: Hardware, rate: Interval) -> Interval:
    """Return the seconds of generating all summaries.

    Decoding steps one after another: each waits for its kernels, or for the weights to be read, or computes.
    """
    assert work.size is not None
    d = work.size.dimensions
    num_steps = work.num_test_examples * (1 / work.predict_batch_size) * work.new_tokens
    gpu = hardware.gpu
    bandwidth = Interval.exactly(gpu.bandwidth_byte_per_second) if gpu else CPU_BANDWIDTH_BYTE_PER_SECOND
    reading = Interval.exactly(4.0 * work.size.num_parameters) / bandwidth
    launching = DECODE_STEP_SECOND_PER_LAYER[hardware.kind] * d.decoder_layers + DECODE_STEP_SECOND
    return (num_steps * launching.at_least(reading)).at_least(work.predict_flop() / rate)


def _prepare_second(work: Workload) -> Interval:
    examples = work.num_train_examples + work.num_validation_examples + work.num_test_examples
    tokens = examples * (work.source_tokens + work.target_tokens)
    return tokens / TOKENIZE_TOKENS_PER_SECOND + (Interval.exactly(0) if work.downloads else SCRATCH_TOKENIZER_SECOND)


def _load_second(work: Workload) -> Interval:
    assert work.size is not None
    return IMPORT_SECOND + Interval.exactly(4.0 * work.size.num_parameters) / LOAD_BYTE_PER_SECOND


def _download_second(work: Workload) -> Interval:
    assert work.size is not None
    if not work.downloads:
        return Interval.exactly(0.0)
    whole = Interval.exactly(4.0 * work.size.num_parameters) / DOWNLOAD_BYTE_PER_SECOND
    return Interval(0.0, whole.likely, whole.high)  # low: it is in the cache already
