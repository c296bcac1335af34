"""Makes records like those of real studies, in plain Python, for the tests of the report and its benchmark.

`study_records` is one study of two models, four recipes, three seeds and two training-free baselines, with two
failures, one interruption and one repeated run. Energies follow a fixed formula plus a seeded spread of 3 %.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from statistics import fmean
from typing import Any

from kilowit.parts.text_lengths import MAX_SOURCES, MAX_TARGETS, LengthUnit, length_facts, share_longer
from kilowit.record import DatasetFacts, ModelFacts, PhaseFigures, Record, Score, SplitFacts
from kilowit.served import ScoreDifference, ServedAgreement, ServedRuntime, ServedScenario

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SIGNATURE = "rouge|stemmer:porter|split:newline|aggregation:mean|ci:bootstrap1000|v:1"
RECIPES: dict[str, list[dict[str, Any]]] = {
    "full": [],
    "bf16": [{"name": "bf16", "options": {}}],
    "frugal": [{"name": "bf16", "options": {}}, {"name": "sortish", "options": {}}],
    "frozen": [{"name": "freeze", "options": {"modules": ["encoder"]}}],
}
# model: parameters, layers' share of time, quality of plain fine-tuning (R-2), joules of training
MODELS = {"bart-mini": (18_400_000, 0.128, 96_000.0), "bart-tiny": (4_210_000, 0.104, 21_000.0)}
# recipe: time and energy against plain, change of R-2, memory against plain
EFFECTS = {
    "full": (1, 0, 1),
    "bf16": (0.63, -0.0004, 0.62),
    "frugal": (0.47, -0.0011, 0.6),
    "frozen": (0.71, -0.011, 0.7),
}
BASELINES = {"lead": 0.083, "textrank": 0.071}


def phase(name: str, second: float, joule: float | None, **facts: Any) -> PhaseFigures:
    """A phase whose energy a GPU counter and a host model saw, 70 to 30."""
    if joule is None:
        return PhaseFigures(phase=name, wall_second=second, **facts)
    parts = {"gpu": 0.7 * joule, "cpu": 0.22 * joule, "dram": 0.08 * joule}
    energy: dict[str, Any] = {}
    for device, value in parts.items():
        spread = 0.02 if device == "gpu" else 0.4
        energy[f"energy_{device}_joule"] = value
        energy[f"energy_{device}_joule_low"] = value * (1 - spread)
        energy[f"energy_{device}_joule_high"] = value * (1 + spread)
        energy[f"energy_{device}_source"] = "nvml_counter" if device == "gpu" else "model:host"
    energy["energy_total_joule"] = sum(parts.values())
    for end in ("low", "high"):
        energy[f"energy_total_joule_{end}"] = sum(energy[f"energy_{d}_joule_{end}"] for d in parts)
    energy["energy_total_source"] = "nvml_counter+model:host"
    energy["energy_measured_fraction"] = 0.7
    return PhaseFigures(phase=name, wall_second=second, **energy, **facts)


def cell(model: dict[str, Any], recipe: str, seed: int, **changes: Any) -> dict[str, Any]:
    """The content of cell.json as `Cell.to_dict` writes it."""
    return {
        "study_name": "samsum-green",
        "model": model,
        "dataset": {"name": "samsum", "max_train_examples": 2000},
        "recipe": recipe,
        "methods": RECIPES.get(recipe, []),
        "hardware": "local",
        "seed": seed,
        "settings": {
            "train": {"num_epochs": 3.0, "batch_size": 16, "learning_rate": 5e-5, "max_source_tokens": 512},
            "predict": {"num_beams": 4, "max_new_tokens": 62},
            "measure": {"idle_second": 10.0},
        },
        "metrics": ["rouge"],
        "factors": {"region": "azure/westus2", "machine": "Standard_NC24ads_A100_v4", "pue": None},
        "metric_signatures": [SIGNATURE],
        "content": {},
    } | changes


def environment() -> dict[str, Any]:
    """The content of environment.json, shortened."""
    return {
        "kilowit": "0.1.0",
        "python": "3.11.7",
        "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0", "datasets": "5.0.1"},
        "git": {"commit": "0f3c9a1", "dirty": False},
        "cpu": {"model": "AMD EPYC 7V13 64-Core Processor", "num_logical": 24},
        "memory_byte": 236_223_201_280,
        "gpus": [{"name": "NVIDIA A100 80GB PCIe", "driver": "550.54", "memory_byte": 85_899_345_920}],
    }


@cache
def splits(*, tokens: bool) -> tuple[SplitFacts, ...]:
    """The three splits of the dataset, with token counts when a tokenizer read them; lengths drawn with a seed."""
    counts = {"train": 2000, "validation": 818, "test": 819}
    found = []
    for i, (name, num) in enumerate(counts.items()):
        draw = random.Random(name)
        unit: LengthUnit = "token" if tokens else "word"
        scale = 1.35 if tokens else 1.0
        sources, targets = ([round(mean * scale * draw.gammavariate(1.8, 1 / 1.8)) + 4 for _ in range(num)]
                            for mean in (90, 16))  # fmt: skip
        words = {"source_words_mean": 93.8 + i, "target_words_mean": 20.3 + i / 5, "compression_mean": 4.81}
        of_tokens = {"source_tokens_mean": fmean(sources), "target_tokens_mean": fmean(targets),
                     "source_truncated_fraction": share_longer(sources, 512),
                     "target_truncated_fraction": share_longer(targets, 62)}  # fmt: skip
        novel = {f"novel_{order}gram_fraction": v for order, v in enumerate((0.333, 0.772, 0.89, 0.943), start=1)}
        borrowed = {"coverage_mean": 0.679, "density_mean": 1.456, **novel}
        found.append(
            SplitFacts(
                split=name,
                num_examples=num,
                num_measured=num,
                source_length=length_facts(sources, unit, MAX_SOURCES, 512 if tokens else None),
                target_length=length_facts(targets, unit, MAX_TARGETS, 62 if tokens else None),
                **words,
                **borrowed,
                **(of_tokens if tokens else {}),
            )
        )
    return tuple(found)


def dataset_facts(*, tokens: bool = True) -> DatasetFacts:
    """The dataset card."""
    return DatasetFacts(
        name="samsum",
        source="hub:knkarthick/samsum@" + "c0ffee" * 6 + "c0de",
        revision="c0ffee" * 6 + "c0de",
        licence="CC BY-NC-ND 4.0",
        fingerprint="5e1f" * 16,
        document_column="dialogue",
        summary_column="summary",
        splits=list(splits(tokens=tokens)),
    )


def scores(rouge2: float, *, half_width: float = 0.004) -> list[Score]:
    """The ROUGE family around a ROUGE-2."""
    values = dict(zip(ROUGE, (rouge2 * 2.1, rouge2, rouge2 * 1.72, rouge2 * 1.74), strict=True))
    return [
        Score(
            metric=m, value=v, ci95_low=v - half_width, ci95_high=v + half_width, num_examples=819, signature=SIGNATURE
        )
        for m, v in values.items()
    ]


def record(
    label: str,
    cell_value: dict[str, Any],
    phases: list[PhaseFigures],
    *,
    number: int,
    status: str = "finished",
    **facts: Any,
) -> Record:
    """One record with a run id that sorts by `number`."""
    minute, second = divmod(number, 60)
    hour, minute = divmod(minute, 60)
    day, hour = divmod(hour, 24)
    stamp = f"202611{1 + day % 28:02d}T{hour:02d}{minute:02d}{second:02d}Z"
    iso = f"2026-11-{1 + day % 28:02d}T{hour:02d}:{minute:02d}:{second:02d}Z"
    defaults: dict[str, Any] = {
        "cell_key": f"{label}-key",
        "study_name": cell_value["study_name"],
        "attempt": 1,
        "environment": environment(),
        "measurement_signature": "energy|gpu:nvml_counter|cpu:model|dram:model|idle:kept|period:1000ms|v:1",
        "idle_power_watt": 96.0,
    }
    return Record(
        run_id=f"{stamp}_{label}_{number % 65536:04x}",
        status=status,  # type: ignore[arg-type]
        started_at_utc=iso,
        ended_at_utc=iso,
        cell=cell_value,
        phases=phases,
        **(defaults | facts),
    )


def trained_phases(joule: float, effect: tuple[float, float, float], spread: float) -> list[PhaseFigures]:
    """The life of a trained model's run; `joule` is what plain training takes."""
    share, _, memory = effect
    train, second = joule * share * spread, joule * share * spread / 240
    num_tokens = 2000 * 3 * 150
    resources = {"memory_host_max_byte": 3_400_000_000, "memory_gpu_max_byte": int(9.1e9 * memory)}
    usage = {"utilization_gpu_mean_fraction": 0.83, "utilization_cpu_mean_fraction": 0.06, "power_gpu_mean_watt": 171.0,
             "power_gpu_max_watt": 243.0}  # fmt: skip
    return [
        phase("idle", 10.0, 960.0),
        phase("download", 0.8, 84.0),
        phase("prepare", 4.1, 520.0, **resources),
        phase("load", 2.2, 260.0),
        phase("warmup", 1.4, 240.0),
        phase(
            "train", second, train, **resources, **usage, flop_total=joule * 4.1e9, flop_source="formula",
            num_examples=6000, num_steps=375, num_input_tokens=num_tokens, num_output_tokens=6000 * 24,
            examples_per_second=6000 / second, tokens_per_second=num_tokens / second, loss_first=9.8,
            loss_last=2.31 * spread,
        ),
        phase("validate", second * 0.06, train * 0.05, loss_last=2.66 * spread, num_examples=818),
        phase(
            "predict", 61 * spread, 8800.0 * spread, **resources, **usage, flop_total=joule * 0.4e9,
            flop_source="formula", num_examples=819, num_output_tokens=819 * 21, examples_per_second=819 / 61,
            tokens_per_second=819 * 21 / 61, disk_written_byte=412_000, disk_kept_byte=412_000,
        ),
        phase("score", 1.1, 130.0),
        phase("save", 0.3, 31.0, disk_written_byte=1_900, disk_kept_byte=1_900),
        phase("gap", 0.6, 60.0),
    ]  # fmt: skip


# runtime: precision, seconds and joules a summary one at a time against torch, identical, difference of R-1
RUNTIMES = {
    "torch": ("fp32", 1.0, 1.0, 1.0, 0.0),
    "torch_fast": ("bf16", 0.21, 0.18, 0.94, -0.0003),
    "onnxruntime": ("int8", 0.34, 0.29, 0.71, -0.0061),
}
# scenario: batch size, seconds and joules a summary against one at a time
SCENARIOS = {
    "single_stream": (1, 1.0, 1.0), "fixed_batch": (16, 0.12, 0.15), "random_arrivals": (16, 1.1, 1.2),
    "offline": (16, 0.08, 0.1),
}  # fmt: skip


def served(joule: float, spread: float) -> list[ServedRuntime]:
    """Three runtimes in four scenarios; `joule` is what stock torch takes for one summary at a time."""
    return [
        ServedRuntime(
            runtime=name,
            precision=precision,
            device="cuda",
            disk_byte=74_000_000,
            export_second=3.1,
            export_joule=390.0,
            load_second=1.2,
            load_joule=140.0,
            scenarios=[_scenario(s, second * spread, energy * joule * spread) for s in SCENARIOS],
            agreement=ServedAgreement(
                num_examples=64,
                identical_fraction=identical,
                token_match_fraction=1 - (1 - identical) / 5,
                differences=[_difference("rouge1", 0.269, change), _difference("rouge2", 0.128, change / 2)],
            ),
        )
        for name, (precision, second, energy, identical, change) in RUNTIMES.items()
    ]


def _scenario(name: str, second: float, joule: float) -> ServedScenario:
    batch_size, time, energy = SCENARIOS[name]
    each = 0.31 * second * time
    total = {"energy_total_joule": 64 * joule * energy, "energy_total_source": "nvml_counter+model:host"}
    total |= {f"energy_total_joule_{end}": 64 * joule * energy * x for end, x in (("low", 0.9), ("high", 1.1))}
    latency = {} if name == "offline" else {f"latency_p{p}_second": each * batch_size * p / 50 for p in (50, 95, 99)}
    return ServedScenario(
        scenario=name,
        num_examples=64,
        num_unserved=0,
        batch_size=batch_size,
        rate_per_second=1.0 if name == "random_arrivals" else None,
        wall_second=64 * each,
        energy_idle_joule=64 * joule * energy * 0.3,
        num_input_tokens=8100,
        num_output_tokens=1340,
        examples_per_second=1 / each,
        output_tokens_per_second=1340 / 64 / each,
        wait_p95_second=None if name == "offline" else 0.0,
        warmup_second=0.4,
        warmup_joule=51.0,
        **latency,
        **total,
    )


def _difference(metric: str, value: float, change: float) -> ScoreDifference:
    is_seen = abs(change) > 0.004
    return ScoreDifference(
        metric=metric,
        value=value + change,
        difference=change,
        ci95_low=change - 0.003,
        ci95_high=change + 0.003,
        p_holm=0.004 if is_seen else 0.8,
        verdict="worse" if is_seen else "not distinguishable",
    )


def trained(model: str, recipe: str, seed: int, *, number: int, status: str = "finished", **facts: Any) -> Record:
    """One run of a model from scratch, its figures a function of its names and seed."""
    num_parameters, rouge2, joule = MODELS[model]
    effect = EFFECTS[recipe]
    generator = random.Random(f"{model}/{recipe}/{seed}")
    spread = 1 + generator.gauss(0, 0.03)
    model_facts = ModelFacts(
        name=model, family="bart", source=f"scratch:{model}", num_parameters=num_parameters,
        num_trainable_parameters=num_parameters if recipe != "frozen" else num_parameters * 6 // 10,
        model_disk_byte=num_parameters * 4, dtype="bfloat16" if "bf16" in str(RECIPES[recipe]) else "float32",
        vocabulary_size=4096, flop_per_input_token=2.0 * num_parameters * 0.45,
        flop_per_output_token=2.0 * num_parameters * 0.55,
    )  # fmt: skip
    value = rouge2 + effect[1] + generator.gauss(0, 0.0012)
    given: dict[str, Any] = {"model": model_facts, "dataset": dataset_facts(), "scores": scores(value)}
    if recipe == "full" and status == "finished":
        given["serving"] = served(joule / 9000, spread)
    spec = {"scratch": model, "vocabulary_size": 4096, "tokenizer": None}
    return record(
        f"{model}_samsum_{recipe}_s{seed}",
        cell(spec, recipe, seed),
        facts.pop("phases", trained_phases(joule, effect, spread)),
        number=number,
        status=status,
        **(given | facts),
    )


def baseline(name: str, *, number: int) -> Record:
    """One run of a training-free baseline."""
    phases = [
        phase("idle", 10.0, 960.0),
        phase("prepare", 3.9, 410.0),
        phase("predict", 0.4, 41.0, num_examples=819, examples_per_second=2047.0, memory_host_max_byte=610_000_000),
        phase("score", 1.1, 122.0),
        phase("gap", 0.2, 19.0),
    ]
    facts = ModelFacts(name=name, family="baseline", source="baseline")
    return record(
        f"{name}_samsum_s0", cell({"baseline": name, "options": {}}, "", 0, methods=[]), phases, number=number,
        model=facts, dataset=dataset_facts(tokens=False), scores=scores(BASELINES[name]),
    )  # fmt: skip


def failed(
    model: str, recipe: str, seed: int, kind: str, message: str, *, number: int, during: str = "train"
) -> Record:
    """A run that died in a phase, a third of the way through its training."""
    phases = [
        p for p in trained_phases(MODELS[model][2], EFFECTS[recipe], 1.0) if p.phase in ("idle", "prepare", "load")
    ]
    phases.append(phase("train", 31.0, 7300.0))
    status = "interrupted" if kind == "interrupted" else "failed"
    return trained(
        model, recipe, seed, number=number, status=status, phases=phases, scores=[], error_kind=kind,
        error_message=message, error_phase=during, warnings=["nvml: no reading for 3.0 s"],
    )  # fmt: skip


def study_records(num_seeds: int = 3) -> list[Record]:
    """The whole study; 24 runs with a result, 4 that brought none or were repeated."""

    def numbers() -> Iterator[int]:
        yield from range(36_000, 10_000_000, 240)

    clock = numbers()
    found = [baseline(name, number=next(clock)) for name in BASELINES]
    for model in MODELS:
        for recipe in RECIPES:
            found += [trained(model, recipe, seed, number=next(clock)) for seed in range(num_seeds)]
    oom = "CUDA out of memory. Tried to allocate 2.31 GiB; 80 GiB in all, 1.1 GiB free"
    found.append(failed("bart-mini", "full", 3, "out_of_memory_gpu", oom, number=next(clock)))
    found.append(failed("bart-mini", "frozen", 4, "divergence", "loss is NaN at step 112", number=next(clock)))
    found.append(failed("bart-tiny", "bf16", 0, "interrupted", "SIGTERM", number=35_000))
    again = trained("bart-tiny", "full", 0, number=next(clock))
    return sorted([*found, replace(again, attempt=2)], key=lambda r: r.run_id)
