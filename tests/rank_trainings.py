"""Run under torchrun: train the same tiny model in several ways, one after the other; the first rank tells how it went.

usage: python -m torch.distributed.run --standalone --nproc-per-node 2 rank_trainings.py OUT NAME...
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from kilowit.parts.method import MethodCall, TrainedRun, plan_settings
from kilowit.parts.model import num_members_of
from kilowit.parts.tokenized import TrainingData
from kilowit.run.engines import trainer
from kilowit.run.generate import generation_config
from kilowit.run.phases import callbacks_of
from kilowit.run.ranks import Rank
from kilowit.settings import PredictSettings, Settings, TrainSettings
from tiny_training import Phases, random_split, tiny_model, train_job

# 41 examples in batches of 8: the last batch of an epoch is one example, and the second rank's share of it empty.
TRAIN = {"num_epochs": 2.0, "batch_size": 8, "learning_rate": 1e-2, "num_validations": 2, "warmup_steps": 2}
WAYS: dict[str, tuple[str, MethodCall | None, dict[str, Any]]] = {
    "alone": ("bart", None, {}),
    "alone_accumulated": ("bart", None, {"gradient_accumulation_steps": 2}),
    "alone_t5": ("t5", None, {}),
    "ddp": ("bart", MethodCall("ddp"), {}),
    "ddp_accumulated": ("bart", MethodCall("ddp"), {"gradient_accumulation_steps": 2}),
    "fsdp": ("bart", MethodCall("fsdp"), {}),
    "fsdp_accumulated": (
        "bart", MethodCall("fsdp", {"reshard_after_forward": False}), {"gradient_accumulation_steps": 2},
    ),
    "fsdp_t5": ("t5", MethodCall("fsdp"), {}),
    "alone_llama": ("llama", None, {}),
    "fsdp_llama": ("llama", MethodCall("fsdp"), {}),
    "zero1": ("bart", MethodCall("zero", {"stage": 1}), {}),
    "zero2_accumulated": ("bart", MethodCall("zero", {"stage": 2}), {"gradient_accumulation_steps": 2}),
    "zero3": ("bart", MethodCall("zero", {"stage": 3, "parameter_persistence_threshold": 0}), {}),
    "zero3_buckets": (
        "bart", MethodCall("zero", {"stage": 3, "allgather_bucket_size": 4096, "reduce_bucket_size": 4096,
                                    "parameter_persistence_threshold": 100}), {},
    ),
    "offload2": ("bart", MethodCall("zero_offload", {"num_processes": 2}), {}),
    "offload3": ("bart", MethodCall("zero_offload", {"num_processes": 2, "stage": 3}), {}),
    "zero2_bf16": ("bart", MethodCall("zero"), {}),
}  # fmt: skip
# Methods that change model, optimizer or batch, beside plain training (`alone_`) and over ranks.
CHANGES = {
    "adam8bit": MethodCall("adam8bit"),
    "batch": MethodCall("gradient_accumulation", {"num_parts": 2}),
    "lora": MethodCall("lora", {"r": 2}),
    "soup": MethodCall("ensemble", {"kind": "checkpoint_soup", "members": 2}),
    "members": MethodCall("ensemble", {"members": 2}),
    "zeros": MethodCall("prune", {"kind": "magnitude", "sparsity": 0.5, "train_first": False}),
    "parts": MethodCall("prune", {"decoder_layers": 1}),
    "student": MethodCall("distill", {"kind": "knowledge_distillation", "decoder_layers": 1, "train_first": False}),
}


class Bench:
    """What a method that changes the model has at hand: the engine, on the data of these trainings."""

    def __init__(self, settings: Settings, data: TrainingData, family: str) -> None:
        self.settings, self.data, self.family = settings, data, family
        self.seed, self.has_random_weights = 0, True

    def train(self, model: Any) -> float | None:
        """Train a model in place, in as many processes as the settings say."""
        trainer.train(train_job(self.family, model=model, data=self.data, settings=self.settings))
        return None

    def train_member(self, method: str, seed: int) -> Any:
        """Train a model of another seed."""
        model = tiny_model(self.family, seed=seed)
        self.train(model)
        return model


def way(name: str) -> tuple[str, tuple[MethodCall, ...], dict[str, Any]]:
    """Return family, methods and settings of a name such as ``ddp`` or ``ddp+lora``."""
    spread, _, change = name.partition("+")
    family, method, changes = WAYS[spread]
    methods = () if method is None else (method,)
    if change:
        methods, changes = (*methods, CHANGES[change]), {**changes, "num_epochs": 1.0}
    return family, methods + ((MethodCall("bf16"),) if name.endswith("_bf16") else ()), changes


def run(name: str) -> dict[str, Any] | None:
    """Train one way; None on every rank but the first."""
    family, methods, changes = way(name)
    settings = plan_settings(Settings(train=TrainSettings(**{**TRAIN, **changes})), methods, family)
    phases, data = Phases(), TrainingData(random_split(41), random_split(9, seed=1))
    model = tiny_model(family, width=64 if name.endswith("+adam8bit") else 16)  # smaller matrices stay in fp32
    notebooks: dict[str, dict[str, Any]] = {call.name: {} for call in methods}
    for function in ("compress", "on_model"):
        for call in methods:
            if hasattr(call.module, function):
                bench = (Bench(settings, data, family),) if function == "compress" else ()
                model = getattr(call.module, function)(model, call.parsed_options, notebooks[call.name], *bench)
    result = trainer.train(
        train_job(
            family, model=model, data=data, settings=settings, phases=phases, callbacks=callbacks_of(methods, notebooks)
        )
    )
    model = result.model
    if model is None:
        return None
    evidence = {}
    for call in methods:
        seen = TrainedRun(
            model=model, optimizer=result.optimizer, settings=settings, seed=0, data=data,
            num_steps=result.counts.num_steps, first_order=(), num_padding_tokens=0, num_real_tokens=0,
            facts=notebooks[call.name], ranks=result.ranks,
        )  # fmt: skip
        evidence[call.name] = vars(call.module.applied(seen, call.parsed_options))
    for call in methods:
        if hasattr(call.module, "on_trained"):
            model = call.module.on_trained(model, call.parsed_options, notebooks[call.name])
    return {**figures_of(model, phases), "evidence": evidence}


def figures_of(model: Any, phases: Phases) -> dict[str, Any]:
    """Return what two ways of one training are compared by."""
    train, validate = phases.figures["train"], phases.figures["validate"]
    inputs = torch.arange(3, 15).reshape(2, 6)
    how = generation_config(model, PredictSettings(num_beams=2, max_new_tokens=5))
    ids = model.generate(input_ids=inputs, attention_mask=torch.ones_like(inputs), generation_config=how)
    return {
        "losses": [train.facts["loss_first"], train.facts["loss_last"]],
        "validation": [validate.facts["loss_first"], validate.facts["loss_last"]],
        "num_steps": train.counted["num_steps"],
        "num_input_tokens": train.counted["num_input_tokens"],
        "weight_sum": sum(p.double().abs().sum().item() for p in model.parameters()),
        "tied": num_members_of(model) > 1
        or model.get_input_embeddings().weight is model.get_output_embeddings().weight,
        "generated": ids.tolist(),
    }


def main(out: Path, names: list[str]) -> None:
    rank = Rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), out.parent)
    rank.join()
    results = {name: run(name) for name in names}
    if rank.is_first:
        out.write_text(json.dumps(results), encoding="utf-8")
    rank.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
