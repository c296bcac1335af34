"""The memory of one training step: counted as it runs, and as the plan says it. Models are built without a corpus."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import torch

from kilowit.parts import catalogue
from kilowit.parts.model import LoadedModel
from kilowit.parts.tokenized import TokenizedSplit, TrainingData
from kilowit.plan.memory import train_byte
from kilowit.plan.workload import workload
from kilowit.run.rehearsal import Rehearsal
from kilowit.settings import Settings, TrainSettings
from kilowit.study import Study
from tiny_training import train_job

BATCH_SIZE = 4
LENGTHS = ((128, 32), (512, 64))


def build(name: str, max_tokens: int) -> Any:
    """Build a named size with random weights, as the worker does."""
    from kilowit.parts.causal_model import as_summarizer
    from kilowit.parts.pretrained import auto_class

    torch.manual_seed(0)
    family = catalogue.scratch_family(name)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    model = auto_class(family).from_config(family.build_config({**family.sizes[name], **ids}, max_tokens))
    if family.default_prompt:
        as_summarizer(model, 3)
    if family.name in ("led", "bigbird_pegasus"):  # prepared by their attention; others by their tokenizer
        assert family.prepare is not None
        family.prepare(LoadedModel(model, None, family, "", name))
    return model


def counted_byte(name: str, num_source: int, num_target: int) -> int:
    """Return the bytes of all tensors that live at once in a step over a full batch, and of AdamW's state."""
    sources = [array("i", [5] * num_source)] * BATCH_SIZE
    targets = [array("i", [6] * num_target)] * BATCH_SIZE
    lengths = [num_source] * BATCH_SIZE, [num_target] * BATCH_SIZE
    split = TokenizedSplit([str(i) for i in range(BATCH_SIZE)], sources, targets, *lengths)
    job = train_job(
        catalogue.scratch_family(name).name, model=build(name, max(num_source, num_target)),
        data=TrainingData(split, split), settings=Settings(train=TrainSettings(batch_size=BATCH_SIZE)),
    )  # fmt: skip
    byte = Rehearsal(job)(BATCH_SIZE, limit_byte=10**12)
    assert byte is not None
    return byte


def planned_byte(name: str, num_source: int, num_target: int, folder: Path) -> float:
    """Return what the plan says of the same step on a CPU, without framework and fragmentation."""
    row = json.dumps({"document": "word " * 50, "summary": "a word"}) + "\n"
    splits = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation", "test")}
    for path in splits.values():
        Path(path).write_text(row, encoding="utf-8")
    train = {"batch_size": BATCH_SIZE, "max_source_tokens": num_source, "max_target_tokens": num_target}
    study = {
        "name": "step", "models": [{"scratch": name}], "datasets": [{"name": "local_files", **splits}], "train": train,
    }  # fmt: skip
    (cell,) = Study.parse(json.dumps(study), folder=folder).cells
    return train_byte(workload(cell), on_gpu=False).likely
