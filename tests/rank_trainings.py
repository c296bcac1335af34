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
from kilowit.parts.tokenized import TrainingData
from kilowit.run.engines import trainer
from kilowit.run.ranks import Rank
from kilowit.settings import Settings, TrainSettings
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


def run(name: str) -> dict[str, Any] | None:
    """Train one way; None on every rank but the first."""
    family, method, changes = WAYS[name]
    methods = () if method is None else (method,)
    if name.endswith("_bf16"):
        methods += (MethodCall("bf16"),)
    settings = plan_settings(Settings(train=TrainSettings(**{**TRAIN, **changes})), methods, family)
    phases = Phases()
    data = TrainingData(random_split(41), random_split(9, seed=1))
    job = train_job(family, model=tiny_model(family), data=data, settings=settings, phases=phases)
    result = trainer.train(job)
    if result.model is None:
        return None
    train, validate = phases.figures["train"], phases.figures["validate"]
    evidence = None
    if method is not None:
        seen = TrainedRun(
            model=result.model, optimizer=result.optimizer, settings=settings, seed=0, data=data, num_steps=0,
            first_order=(), num_padding_tokens=0, num_real_tokens=0, ranks=result.ranks,
        )  # fmt: skip
        evidence = vars(method.module.applied(seen, method.parsed_options))
    inputs = torch.arange(3, 15).reshape(2, 6)
    return {
        "losses": [train.facts["loss_first"], train.facts["loss_last"]],
        "validation": [validate.facts["loss_first"], validate.facts["loss_last"]],
        "num_steps": train.counted["num_steps"],
        "num_input_tokens": train.counted["num_input_tokens"],
        "weight_sum": sum(p.double().abs().sum().item() for p in result.model.parameters()),
        "tied": result.model.get_input_embeddings().weight is result.model.get_output_embeddings().weight,
        "evidence": evidence,
        "generated": result.model.generate(input_ids=inputs, num_beams=2, max_new_tokens=5).tolist(),
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
