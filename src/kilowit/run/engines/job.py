"""What an engine is given and what it gives back. Knows neither engine nor cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from kilowit.parts.flop import forward_flop
from kilowit.parts.method import TrainingCallback
from kilowit.parts.model import Dimensions
from kilowit.parts.ranks import RankFacts
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Settings


@dataclass(frozen=True)
class TrainJob:
    """A model, its data and settings, and where to report.

    `phase(name)` opens a metered phase; `note(kind, message, **facts)` writes a line to the ledger.
    """

    model: Any  # transformers.PreTrainedModel, on `device` (to be sharded: on the host)
    pad_token_id: int
    dimensions: Dimensions
    data: TrainingData
    settings: Settings
    seed: int
    device: torch.device
    callbacks: list[TrainingCallback]
    phase: Callable[[str], AbstractContextManager[Any]]
    note: Callable[..., None]

    @property
    def num_rehearsals(self) -> int:
        """Batches of other shapes that the warm-up has to run, as the methods ask."""
        return max((callback.num_rehearsals for callback in self.callbacks), default=0)


@dataclass(frozen=True)
class TrainResult:
    """What training left besides the weights."""

    model: Any  # transformers.PreTrainedModel, whole; None on every rank but the first
    optimizer: Any  # torch.optim.Optimizer
    counts: TrainCounts
    ranks: tuple[RankFacts, ...] = ()


@dataclass
class TrainCounts:
    """What training went through, added up step by step from the order of the examples."""

    dimensions: Dimensions
    source_lengths: list[int]
    target_lengths: list[int]
    batch_size: int  # of one rank
    num_steps: int = 0
    num_examples: int = 0
    num_source_tokens: int = 0
    num_target_tokens: int = 0
    num_padded_tokens: int = 0  # positions computed, sources and targets, real and padding
    forward_flop: float = 0.0  # of the real tokens, by formula
    first_order: list[int] = field(default_factory=list)  # indices taken in the first epoch

    def add_step(self, indices: list[int], *, is_first_epoch: bool) -> None:
        """Add one optimizer step over `indices`, all accumulated batches together."""
        size = self.batch_size
        batches = [indices[start : start + size] for start in range(0, len(indices), size)]
        self.add_batches(batches, is_first_epoch=is_first_epoch)

    def add_batches(
        self, batches: list[list[int]], *, is_first_epoch: bool, is_packed: bool = False, num_filling: int = 0
    ) -> None:
        """Add one optimizer step over some batches; packed ones compute no padding but `num_filling` tokens."""
        self.num_steps += 1
        self.num_padded_tokens += num_filling
        for batch in batches:
            sources, targets = [self.source_lengths[i] for i in batch], [self.target_lengths[i] for i in batch]
            num_real = sum(sources) + sum(targets)
            self.num_examples += len(batch)
            self.num_source_tokens += sum(sources)
            self.num_target_tokens += sum(targets)
            self.num_padded_tokens += num_real if is_packed else len(batch) * (max(sources) + max(targets))
            self.forward_flop += sum(map(self._forward_flop, sources, targets))
            if is_first_epoch:
                self.first_order += batch

    def _forward_flop(self, num_source_tokens: int, num_target_tokens: int) -> float:
        return forward_flop(self.dimensions, num_source_tokens, num_target_tokens)


def book(phase: Any, counts: TrainCounts, flop_per_forward: float, losses: list[float]) -> None:
    """Put on the phase train what the steps so far have taken."""
    phase.count(
        num_examples=counts.num_examples,
        num_input_tokens=counts.num_source_tokens,
        num_output_tokens=counts.num_target_tokens,
        num_steps=counts.num_steps,
        flop_total=counts.forward_flop * flop_per_forward,
    )
    phase.set(flop_source="formula")
    if losses:
        phase.set(loss_first=losses[0], loss_last=losses[-1])


def validation_steps(number: int, num_steps: int) -> frozenset[int]:
    """Spread validations evenly; the last is at the end."""
    return frozenset(math.ceil(num_steps * i / number) for i in range(1, number + 1))
