"""balanced: batches of equal numbers of tokens, as well as of examples.

What it does   Sorts the examples from long to short, each length first changed at random by up to `jitter`, and deals
               them out in rounds: in each round every batch gets one example, and the batch that has the fewest tokens
               the longest; rounds look at sources and at targets in turn. Then batches and the examples in them are
               shuffled. Every example is taken once an epoch, and each batch holds short and long ones in the shares of
               the corpus. What does not fill a batch is the last, short one, drawn at random.
When to use    With packing, whose rows are then of one length: cuda_graph needs one shape where it needed six. Over
               several ranks, none of which waits for another's longer batch. Wherever the largest batch decides memory.
When not       Padded batches: they hold the longest examples of all, as random ones do; take sortish there.
Trade-off      train.energy_total_joule x0.85-1.02 | train.wall_second x0.85-1.02 | rouge2 -0.005..+0.005 (beside
               the same recipe without it)
Options        jitter (0.5): 0 deals the same lengths together each epoch; up to 1
Works with     all others.   Conflicts with  sortish, token_budget.
Source         Graham 1969, doi 10.1137/0117039 (longest first to the least loaded). SAMSum with BART's tokens, batches
               of 128, 3 epochs: sources of a batch 18,910-18,974 tokens beside 15,992-23,122 in random batches; filled
               up to one shape they pad 0.2 % beside 17.4 %, and 3.2 % with six shapes (ours, counted). BART-base, batch
               32, beside cuda_graph with up to three shapes, one H100, two seeds: time x0.95 and x0.93, energy x0.91
               and x0.93, memory x0.91 and x0.90 (docs/results/cuda-graph).
"""

from __future__ import annotations

import functools
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.tokenized import TrainingData, random_order
from kilowit.settings import Block

CONFLICTS_WITH: Final = ("sortish", "token_budget")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: time x0.94, energy x0.92 of recorded rows, BART-base, one H100; nothing saved elsewhere"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.85, 1.02, source=_OURS),
    Expectation("train.wall_second", 0.85, 1.02, source=_OURS),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="ours: an estimate, the multiset is unchanged"),
)


class Options(Block):
    """How far chance decides."""

    jitter: float = Field(0.5, ge=0, le=1, description="random change of a length before sorting, as a share of it")


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Give the training data its order."""
    return replace(data, order=functools.partial(balanced_order, jitter=options.jitter))


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show how far the first epoch's batches differ in tokens, beside those of a random order."""
    split, batch_size = run.data.train, run.settings.train.batch_size
    lengths = (split.source_lengths, split.target_lengths)
    ours = run.data.epoch_order(batch_size, run.seed, 0)
    shuffled = random_order(*lengths, batch_size, f"{run.seed}/0")
    numbers = {
        "batch_tokens_spread_fraction": spread_fraction(*lengths, ours, batch_size),
        "random_order_spread_fraction": spread_fraction(*lengths, shuffled, batch_size),
    }
    taken_as_given = bool(run.first_order) and list(run.first_order) == ours[: len(run.first_order)]
    is_even = numbers["batch_tokens_spread_fraction"] <= numbers["random_order_spread_fraction"]
    return Evidence(taken_as_given and is_even, numbers)


def balanced_order(
    source_lengths: Sequence[int],
    target_lengths: Sequence[int],
    batch_size: int,
    seed: str,
    jitter: float = 0.5,
) -> list[int]:
    """Return a permutation of all indices whose consecutive batches hold like numbers of tokens.

    Only the last batch can be short, as in any order.
    """
    chance = random.Random(seed)
    order = list(range(len(source_lengths)))
    chance.shuffle(order)
    num_batches = len(order) // batch_size
    full, rest = order[: num_batches * batch_size], order[num_batches * batch_size :]
    sides = (source_lengths, target_lengths)
    means = [statistics.fmean(side) or 1.0 for side in sides] if order else [1.0, 1.0]

    def about_length(index: int) -> float:
        length = sum(side[index] / mean for side, mean in zip(sides, means, strict=True))
        return length * chance.uniform(1 - jitter, 1 + jitter)

    full.sort(key=about_length, reverse=True)
    batches: list[list[int]] = [[] for _ in range(num_batches)]
    tokens = [[0] * num_batches for _ in sides]
    for turn in range(batch_size):
        side = turn % 2
        dealt = sorted(full[turn * num_batches : (turn + 1) * num_batches], key=lambda index: -sides[side][index])
        for number, index in zip(sorted(range(num_batches), key=tokens[side].__getitem__), dealt, strict=True):
            batches[number].append(index)
            for each, lengths in zip(tokens, sides, strict=True):
                each[number] += lengths[index]
    chance.shuffle(batches)
    for batch in batches:
        chance.shuffle(batch)
    return [index for batch in batches for index in batch] + rest


def spread_fraction(
    source_lengths: Sequence[int], target_lengths: Sequence[int], order: Sequence[int], batch_size: int
) -> float:
    """Return the tokens by which the largest full batch exceeds the smallest, as a share of the mean."""
    starts = range(0, len(order) - batch_size + 1, batch_size)
    sums = [sum(source_lengths[i] + target_lengths[i] for i in order[start : start + batch_size]) for start in starts]
    return (max(sums) - min(sums)) / statistics.fmean(sums) if sums else 0.0
