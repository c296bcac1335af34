"""One side of benchmarks/train.py, in its own process: the data, the model, the engine, and what it took."""

from __future__ import annotations

import argparse
import dataclasses
import resource
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kilowit import Meter
from train_data import ENCODER, MAX_SOURCE, MAX_TARGET, VOCABULARY_SIZE, Examples, examples

NUM_PROFILED_STEPS = 6
NUM_PROFILED_ROWS = 45
LEARNING_RATE = {"large": 5e-5, "mini": 1e-4, "tiny": 1e-3, "minilm": 3e-4}


@dataclass
class Result:
    """What one side took, and what it learned."""

    name: str
    seed: int
    num_examples: int  # seen in training
    wall_second: float
    cpu_second: float  # of the process, all threads
    energy_joule: float  # of the GPU on CUDA, else of the host
    energy_source: str
    peak_memory_byte: int  # CUDA's allocator, else the resident peak of the process
    loss_first: float
    loss_last: float
    validation_loss: float
    padding_fraction: float  # of the positions computed in training
    parts: dict[str, float] = field(default_factory=dict)  # seconds of the parts of the steps, and of the warm-up

    @property
    def samples_per_second(self) -> float:
        """Training examples a second, all that happened counted."""
        return self.num_examples / self.wall_second

    @property
    def cpu_second_per_sample(self) -> float:
        """Processor time of one training example, all threads."""
        return self.cpu_second / self.num_examples

    @property
    def joule_per_sample(self) -> float:
        """Energy of one training example."""
        return self.energy_joule / self.num_examples

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


class Trained(NamedTuple):
    """What a training says of itself."""

    num_examples: int
    losses: tuple[float, float]  # first and last
    padding_fraction: float
    parts: dict[str, float]


@dataclass
class Side:
    """What both engines start from."""

    model: Any
    family: str
    pad_token_id: int
    train: Any  # TokenizedSplit
    validation: Any
    settings: Any
    options: argparse.Namespace


def run_side(options: argparse.Namespace) -> Result | None:
    """Prepare, and train by the side's engine under the meter; or print a profile of some steps and return None."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    side = _prepare(options)
    side.model.to(options.device)
    on_cuda = options.device == "cuda"
    train = (_stock if options.side in ("stock", "group_by_length") else _ours)(side)
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    if options.profile:
        return _profiled(train)
    with Meter(synchronize=torch.cuda.synchronize if on_cuda else None) as meter:
        began_second, began_cpu_second = time.perf_counter(), time.process_time()
        with meter.phase("train"):
            trained = train()
        wall_second, cpu_second = time.perf_counter() - began_second, time.process_time() - began_cpu_second
    figures = next(row for row in meter.result.phases if row.phase == "train")
    energy = figures.energy_gpu_joule if on_cuda else figures.energy_total_joule
    peak = torch.cuda.max_memory_allocated() if on_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Result(
        options.side, options.seed, trained.num_examples, wall_second, cpu_second, energy or float("nan"),
        str((figures.energy_gpu_source if on_cuda else figures.energy_cpu_source) or "none"), peak,
        *trained.losses, _validation_loss(side), trained.padding_fraction, trained.parts,
    )  # fmt: skip


def _profiled(train: Any) -> None:
    """Print where the time of some steps goes, kernel by kernel."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    on_cuda = torch.cuda.is_available()
    with torch.profiler.profile(activities=activities) as profile:
        began_second = time.perf_counter()
        train()
        if on_cuda:
            torch.cuda.synchronize()
        wall_second = time.perf_counter() - began_second

    def millisecond(row: Any) -> float:
        return float(row.self_device_time_total if on_cuda else row.self_cpu_time_total) / 1000

    device = torch.autograd.DeviceType.CUDA if on_cuda else torch.autograd.DeviceType.CPU
    rows = [row for row in profile.key_averages() if row.device_type == device]  # else kernels count with their callers
    rows.sort(key=millisecond, reverse=True)
    total = sum(map(millisecond, rows))
    print(f"{NUM_PROFILED_STEPS} steps and their warm-up: {total:.1f} ms on the device, one after another, and")
    print(f"{wall_second * 1000:.1f} ms by the wall, the profiler's own time in it; self ms, calls, name")
    for row in rows[:NUM_PROFILED_ROWS]:
        print(f"{millisecond(row):9.1f} {row.count:7d}  {row.key[:120]}")


def _prepare(options: argparse.Namespace) -> Side:
    from kilowit.settings import Settings

    found = examples(options, VOCABULARY_SIZE[options.size])
    model, family = _model(options, found)
    epochs = options.stock_epochs if options.side in ("stock", "group_by_length") else options.epochs
    settings = Settings().with_train(
        num_epochs=epochs, num_steps=NUM_PROFILED_STEPS if options.profile else None, batch_size=options.batch,
        learning_rate=LEARNING_RATE[options.size],
        max_source_tokens=MAX_SOURCE, max_target_tokens=MAX_TARGET, num_validations=0,
    )  # fmt: skip
    return Side(model, family, found.pad_token_id, found.train, found.validation, settings, options)


def _model(options: argparse.Namespace, found: Examples) -> tuple[Any, str]:
    """Return the model that all sides start from, and its family."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    from kilowit.parts.catalogue import packaged_folder
    from kilowit.parts.models import bart
    from kilowit.parts.warm_start import warm_start

    ids = {name: getattr(found, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    torch.manual_seed(options.seed)
    if options.size == "minilm":
        return warm_start("bert2bert", packaged_folder(ENCODER), ids), "bert2bert"
    sizes = bart.SIZES[f"bart-{options.size}"] | {**ids, "vocab_size": found.vocabulary_size}
    with torch.device(options.device):  # drawing the weights of bart-large on a CPU takes half a minute
        return AutoModelForSeq2SeqLM.from_config(bart.build_config(sizes, MAX_SOURCE)), "bart"


def _stock(side: Side) -> Any:
    """The stock trainer as its users call it: dynamic padding, random order, fused AdamW, bf16 on CUDA."""
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    options, settings = side.options, side.settings.train
    rows = [
        {"input_ids": list(source), "labels": list(target), "attention_mask": [1] * len(source), "length": len(source)}
        for source, target in zip(side.train.source_tokens, side.train.target_tokens, strict=True)
    ]
    grouped = options.side == "group_by_length"
    arguments = Seq2SeqTrainingArguments(
        output_dir=tempfile.gettempdir(), seed=options.seed,
        num_train_epochs=settings.num_epochs, max_steps=settings.num_steps or -1,
        per_device_train_batch_size=settings.batch_size, learning_rate=settings.learning_rate, weight_decay=0.0,
        bf16=options.device == "cuda", use_cpu=options.device == "cpu", report_to=[], disable_tqdm=True,
        save_strategy="no", eval_strategy="no", logging_steps=max(1, len(rows) // settings.batch_size // 10),
        logging_first_step=True, dataloader_pin_memory=options.device == "cuda", remove_unused_columns=not grouped,
        train_sampling_strategy="group_by_length" if grouped else "random",
    )  # fmt: skip

    collate = DataCollatorForSeq2Seq(_Padder(side.pad_token_id), model=side.model, label_pad_token_id=-100)

    num_real = num_positions = 0

    def without_length(features: list[dict[str, Any]]) -> Any:
        nonlocal num_real, num_positions
        batch = collate([{key: value for key, value in f.items() if key != "length"} for f in features])
        num_real += sum(len(f["input_ids"]) + len(f["labels"]) for f in features)
        num_positions += batch["input_ids"].numel() + batch["labels"].numel()
        return batch

    def train() -> Trained:
        trainer = Seq2SeqTrainer(model=side.model, args=arguments, train_dataset=rows, data_collator=without_length)
        trainer.train()
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        num_examples = int(len(rows) * settings.num_epochs)
        return Trained(num_examples, (losses[0], losses[-1]), 1 - num_real / num_positions, {})

    return train


class _Padder:
    """The little of a tokenizer that the stock collator asks for."""

    padding_side = "right"

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id
        self.deprecation_warnings: dict[str, bool] = {}

    def pad(self, features: Any, return_tensors: str | None = None, **_: Any) -> dict[str, Any]:
        """Pad ids and masks to the longest."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        def padded(key: str, value: int) -> Any:
            rows = [torch.tensor(feature[key]) for feature in features]
            return pad_sequence(rows, batch_first=True, padding_value=value)

        return {"input_ids": padded("input_ids", self.pad_token_id), "attention_mask": padded("attention_mask", 0)} | (
            {"labels": padded("labels", -100)} if "labels" in features[0] else {}
        )


def _ours(side: Side) -> Any:
    """Our engine with the methods of a recipe, as the worker would run it."""
    import torch

    from kilowit import parts as kinds
    from kilowit.parts.method import MethodCall, choose_engine, plan_settings
    from kilowit.parts.tokenized import TrainingData
    from kilowit.run.engines import load_engine
    from kilowit.run.engines.job import TrainJob

    calls = tuple(
        MethodCall(item) if isinstance(item, str) else MethodCall(*next(iter(item.items())))
        for item in _methods(side.options.side)
    )
    settings = plan_settings(side.settings, calls, side.family)
    data, model, callbacks = TrainingData(side.train, side.validation), side.model, []
    for call in calls:
        facts: dict[str, Any] = {}
        if hasattr(call.module, "on_data"):
            data = call.module.on_data(data, call.parsed_options, facts)
        if hasattr(call.module, "on_model"):
            model = call.module.on_model(model, call.parsed_options, facts)
        if hasattr(call.module, "callbacks"):
            callbacks += call.module.callbacks(call.parsed_options, facts)
    parts: dict[str, float] = {}
    dimensions = kinds.load("models", side.family).dimensions

    def note(kind: str, message: str, **facts: Any) -> None:
        if kind == "step_parts":
            parts.update(facts)

    figures = _Figures()
    job = TrainJob(
        model, side.pad_token_id, dimensions(model.config.to_dict()), data, settings, side.options.seed,
        torch.device(side.options.device), callbacks, figures.phase, note,
    )  # fmt: skip
    engine = load_engine(choose_engine(settings, calls))

    def train() -> Trained:
        counts = engine(job).counts
        parts["warmup_second"] = round(figures.seconds.get("warmup", 0.0), 2)
        losses = (figures.facts["loss_first"], figures.facts["loss_last"])
        num_real = counts.num_source_tokens + counts.num_target_tokens
        return Trained(counts.num_examples, losses, 1 - num_real / counts.num_padded_tokens, parts)

    return train


def _methods(recipe: str) -> list[Any]:
    """Return the methods of a packaged recipe, or of a list such as ``bf16,packing`` or ``compile:region=model``."""
    from kilowit import parts
    from kilowit.parts.recipe import packaged_methods

    if recipe in parts.names("recipes"):
        return packaged_methods(recipe)
    methods: list[Any] = []
    for text in filter(None, recipe.split(",")):
        name, _, option = text.partition(":")
        key, _, value = option.partition("=")
        methods.append({name: {key: int(value) if value.isdigit() else value}} if option else name)
    return methods


class _Figures:
    """Stands for a phase: keeps the losses, and the wall time of each phase."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    def phase(self, name: str) -> Any:
        """Time a phase."""
        from contextlib import contextmanager

        @contextmanager
        def timed() -> Any:
            began = time.perf_counter()
            yield self
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return timed()

    def count(self, **_: float) -> None:
        """Count nothing: the engine's own counts are read."""

    def set(self, **facts: Any) -> None:
        """Keep what is said of the phase."""
        self.facts.update(facts)


def _validation_loss(side: Side) -> float:
    """Return the token mean over the validation split in fp32, the same way for every side."""
    import torch

    from kilowit.run.batches import Collator
    from kilowit.run.engines.loss import token_loss_sum

    model = side.model.eval()
    collate = Collator(side.validation, side.pad_token_id, model.prepare_decoder_input_ids_from_labels)
    lengths, total = side.validation.source_lengths, 0.0
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    with torch.no_grad():
        for start in range(0, len(order), 32):
            batch = {k: v.to(side.options.device) for k, v in collate(order[start : start + 32]).items()}
            total += float(token_loss_sum(model, batch, 0.0)[0])
    return total / sum(side.validation.target_lengths)
