"""What serving will take: each runtime under each pattern of requests, from the formula of prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kilowit.errors import PartError
from kilowit.parts.runtime_support import require_packages, support_of
from kilowit.plan.analytic import IMPORT_SECOND, LOAD_BYTE_PER_SECOND, predict_second
from kilowit.plan.hardware import Hardware
from kilowit.plan.interval import Interval, add_up
from kilowit.plan.workload import Workload
from kilowit.settings import RuntimeSettings, ScenarioName, ServeSettings

# Time of another runtime over that of stock torch. Ours, 2026-11: int8 on a CPU took 0.2, bf16 on a CPU without the
# instructions for it 1.5; a search without waste on a GPU may take less than 0.1.
RUNTIME_TIME_RATIO: Final = Interval(0.05, 0.5, 1.5)
# Ours, 2026-11, two shared cores: 3 s (CTranslate2, tiny) to 79 s (two ONNX graphs of T5-base); torch writes a copy.
EXPORT_SECOND: Final = Interval(1.0, 15.0, 90.0)


def with_runtimes(phases: Mapping[str, Interval], work: Workload, hardware: Hardware) -> dict[str, Interval]:
    """Return the phases of a cell by formula with what its runtimes change: prediction, and serving."""
    rate = hardware.flop_per_second(work.precision)
    found = dict(phases)
    if rate is None or work.is_baseline:
        return found
    predicting = work.settings.predict.runtime
    if predicting is not None:
        found["predict"] = _of_runtime(predicting, found["predict"])
        found["save"] = Interval.exactly(0.0) if _is_stock(predicting) else EXPORT_SECOND
    return found | serve_seconds(work, hardware, rate)


def serve_seconds(work: Workload, hardware: Hardware, rate: Interval) -> dict[str, Interval]:
    """Return seconds by phase of serving; empty where nothing is served.

    Args:
        rate: FLOP/s of prediction.
    """
    settings = work.settings.serve
    if settings is None or work.size is None:
        return {}
    copy_second = Interval.exactly(4.0 * work.size.num_parameters) / LOAD_BYTE_PER_SECOND
    n = work.num_test_examples.at_most(settings.num_documents)
    work = replace(work, num_test_examples=n)
    exports = [copy_second if _is_stock(r) else copy_second + EXPORT_SECOND for r in settings.runtimes]
    played = [
        (_of_runtime(chosen, _once(work, scenario, settings, hardware, rate)), scenario)
        for chosen in settings.runtimes
        for scenario in settings.scenarios
    ]
    warming = [_of_runtime(r, _warming(work, s, settings, hardware, rate)) for r in settings.runtimes
               for s in settings.scenarios]  # fmt: skip
    reference = Interval.exactly(0.0)
    if not any(_is_stock(r) and r.precision in (None, "fp32") for r in settings.runtimes):
        reference = copy_second * 2 + _once(work, "offline", settings, hardware, rate)
    return {
        "serve_export": copy_second + add_up(exports),
        "serve_load": (copy_second + IMPORT_SECOND * 0.2) * len(settings.runtimes),
        "serve_warmup": add_up(warming),
        "serve": add_up(_bounded(second, scenario, n, settings) for second, scenario in played),
        "serve_reference": reference,
    }


def second_per_summary(
    work: Workload, chosen: RuntimeSettings, scenario: ScenarioName, hardware: Hardware
) -> Interval | None:
    """Return the seconds of one summary on a runtime in a scenario; None where the model's size is unknown."""
    settings, rate = work.settings.serve, hardware.flop_per_second(work.precision)
    if settings is None or work.size is None or rate is None:
        return None
    n = work.num_test_examples.at_most(settings.num_documents)
    all_of_them = _once(replace(work, num_test_examples=n), scenario, settings, hardware, rate)
    return _of_runtime(chosen, all_of_them) * (1 / n.likely)


def lack_of_runtimes(work: Workload, hardware: Hardware) -> str | None:
    """Say what the hardware lacks for the runtimes of a cell, or None. Packages are looked for on this machine only."""
    for chosen in work.settings.runtimes:
        devices = support_of(chosen.name).devices
        if hardware.gpu is None and "cpu" not in devices:
            return f'runtime "{chosen.name}" needs a GPU. Plan for one (--gpu, --machine), or take another runtime'
        if hardware.is_here:
            try:
                require_packages(chosen.name)
            except PartError as error:
                return f"{error.message}. {error.hint}"
    return None


def _is_stock(chosen: RuntimeSettings) -> bool:
    return chosen.name == "torch"


def _of_runtime(chosen: RuntimeSettings, stock_second: Interval) -> Interval:
    return stock_second if _is_stock(chosen) else stock_second * RUNTIME_TIME_RATIO


def _once(
    work: Workload, scenario: ScenarioName, settings: ServeSettings, hardware: Hardware, rate: Interval
) -> Interval:
    """Return the seconds of all documents at the batch size of a scenario; requests at random are served alone."""
    batch_size = 1 if scenario in ("single_stream", "random_arrivals") else settings.batch_size
    size = min(batch_size, max(1, round(work.num_test_examples.likely)))
    return predict_second(replace(work, predict_batch_size=size), hardware, rate)


def _warming(
    work: Workload, scenario: ScenarioName, settings: ServeSettings, hardware: Hardware, rate: Interval
) -> Interval:
    size = 1 if scenario == "single_stream" else settings.batch_size
    asked = work.num_test_examples.at_most(size) * settings.num_warmup_requests
    return _once(replace(work, num_test_examples=asked), scenario, settings, hardware, rate)


def _bounded(second: Interval, scenario: ScenarioName, n: Interval, settings: ServeSettings) -> Interval:
    """Let requests come at their rate, and no more of them after the limit."""
    if scenario == "offline":
        return second
    if scenario == "random_arrivals":
        second = second.at_least(n * (1 / settings.rate_per_second))
    return second.at_most(settings.max_second)
