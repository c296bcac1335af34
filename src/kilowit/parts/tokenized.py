"""Text as token ids, and the order in which training takes it. Plain Python: methods look at it without torch."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

# (source lengths, target lengths, batch size, seed) -> a permutation of all indices, cut into batches as it comes.
# The seed is a text that differs from epoch to epoch.
BatchOrder = Callable[[Sequence[int], Sequence[int], int, str], list[int]]
# (source lengths, target lengths, seed) -> batches of unequal numbers of examples, each example in one of them.
Batching = Callable[[Sequence[int], Sequence[int], str], list[list[int]]]


@dataclass(frozen=True)
class TokenizedSplit:
    """Parallel columns of one split: ids of tokens, special tokens included, cut to the settings' maxima.

    Token ids are packed (4 bytes each): lists of Python integers would take nine times the memory.
    """

    ids: Sequence[str]
    source_tokens: Sequence[array[int]]
    target_tokens: Sequence[array[int]]
    num_source_tokens_whole: Sequence[int]  # before cutting
    num_target_tokens_whole: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def source_lengths(self) -> list[int]:
        """Tokens of each source, as cut."""
        return [len(tokens) for tokens in self.source_tokens]

    @cached_property
    def target_lengths(self) -> list[int]:
        """Tokens of each target, as cut."""
        return [len(tokens) for tokens in self.target_tokens]


def random_order(source_lengths: Sequence[int], target_lengths: Sequence[int], batch_size: int, seed: str) -> list[int]:
    """Shuffle evenly: the order of plain fine-tuning."""
    order = list(range(len(source_lengths)))
    random.Random(seed).shuffle(order)
    return order


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, validated on, and in which order."""

    train: TokenizedSplit
    validation: TokenizedSplit
    order: BatchOrder = random_order
    batching: Batching | None = None  # in place of `order` and the batch size; the engine loop knows it
    is_packed: bool = False  # batches are one row of sources and one of targets, without padding; the engine loop
    packed_attention: Literal["fused", "padded"] | None = None  # within the pairs of a row; None = by the family
    num_row_shapes: int | None = None  # full rows are filled up to so many shapes, and recorded; None = as they come

    def epoch_order(self, batch_size: int, seed: int, epoch: int) -> list[int]:
        """Return the order of one epoch's training examples; the same on every machine."""
        return self.order(self.train.source_lengths, self.train.target_lengths, batch_size, f"{seed}/{epoch}")

    def epoch_batches(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """Return one epoch's batches, each a list of indices of training examples."""
        if self.batching is not None:
            return self.batching(self.train.source_lengths, self.train.target_lengths, f"{seed}/{epoch}")
        order = self.epoch_order(batch_size, seed, epoch)
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def num_padded_tokens(lengths: Sequence[int], order: Sequence[int], batch_size: int) -> int:
    """Count the positions computed when each batch of `order` is padded to its own longest example."""
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
