"""Tiny models, random examples and a phase recorder, to run an engine in a fraction of a second."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kilowit.parts import load
from kilowit.parts.method import TrainingCallback
from kilowit.parts.tokenized import TokenizedSplit, TrainingData
from kilowit.run.engines.job import TrainJob
from kilowit.settings import Settings, TrainSettings

VOCABULARY_SIZE = 64
PAD, BOS, EOS = 1, 0, 2


@dataclass
class Figures:
    """What was counted and set in one phase."""

    counted: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def count(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.counted[name] = self.counted.get(name, 0) + number

    def set(self, **facts: Any) -> None:
        self.facts.update(facts)


@dataclass
class Phases:
    """Stands for the meter: keeps what phases and notes say, in order."""

    figures: dict[str, Figures] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[Figures]:
        self.opened.append(name)
        yield self.figures.setdefault(name, Figures())

    def note(self, kind: str, message: str, **facts: Any) -> None:
        self.notes.append((kind, facts))


def tiny_model(family: str, dropout: float = 0.0, seed: int = 0, width: int = 16) -> Any:
    """Two layers, width 16, vocabulary of 64."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        LlamaConfig,
        LlamaForCausalLM,
        PegasusConfig,
        PegasusForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(seed)
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "vocab_size": VOCABULARY_SIZE}
    if family == "llama":
        from kilowit.parts.causal_model import as_summarizer

        heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
        widths = {"hidden_size": width, "intermediate_size": 2 * width, "tie_word_embeddings": True}
        config = LlamaConfig(**widths, **heads, bos_token_id=BOS, **ids)
        return as_summarizer(LlamaForCausalLM(config), BOS)
    if family == "t5":
        return T5ForConditionalGeneration(
            T5Config(d_model=width, d_kv=width // 2, d_ff=2 * width, num_layers=2, num_heads=2, dropout_rate=dropout,
                     decoder_start_token_id=PAD, **ids)
        )  # fmt: skip
    sizes = {"d_model": width, "max_position_embeddings": 64, "dropout": dropout, "decoder_start_token_id": EOS}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 2 * width}
    if family == "bart":
        return BartForConditionalGeneration(BartConfig(**sizes, **ids, bos_token_id=BOS, forced_eos_token_id=EOS))
    return PegasusForConditionalGeneration(PegasusConfig(**sizes, **ids, forced_eos_token_id=EOS))


def random_split(num_examples: int, seed: int = 0, longest: int = 24) -> TokenizedSplit:
    """Sources of random tokens; each target copies the first third of its source."""
    generator = np.random.default_rng(seed)
    sources = [
        array("i", [*generator.integers(3, VOCABULARY_SIZE, int(length)).tolist(), EOS])
        for length in generator.integers(3, longest, num_examples)
    ]
    targets = [array("i", [*source[: max(1, len(source) // 3)], EOS]) for source in sources]
    return TokenizedSplit(
        ids=[str(i) for i in range(num_examples)],
        source_tokens=sources,
        target_tokens=targets,
        num_source_tokens_whole=[len(tokens) for tokens in sources],
        num_target_tokens_whole=[len(tokens) for tokens in targets],
    )


def train_job(
    family: str = "bart",
    *,
    model: Any = None,
    data: TrainingData | None = None,
    settings: Settings | None = None,
    callbacks: list[TrainingCallback] | None = None,
    phases: Phases | None = None,
    seed: int = 0,
    **train: Any,
) -> TrainJob:
    """A job on the CPU with 24 examples; keywords are train settings."""
    phases = phases or Phases()
    model = model if model is not None else tiny_model(family)
    defaults = {"num_epochs": 1.0, "batch_size": 4, "learning_rate": 1e-3, "num_validations": 0}
    return TrainJob(
        model=model,
        pad_token_id=PAD,
        dimensions=load("models", family).FAMILY.dimensions(model.config.to_dict()),
        data=data or TrainingData(random_split(24), random_split(8, seed=1)),
        settings=settings or Settings(train=TrainSettings(**{**defaults, **train})),
        seed=seed,
        device=torch.device("cpu"),
        callbacks=callbacks or [],
        phase=phases.phase,
        note=phases.note,
    )
