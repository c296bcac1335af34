"""sortish: batches of examples of similar length, in random order.

What it does   Shuffles, takes pools of `pool_batches` batches, sorts each pool by source length in steps of 10 % and
               by target length within a step, cuts it into batches and shuffles the batches. Every example is taken
               once an epoch, as before. The batch with the longest source comes first: what does not fit fails at once.
When to use    Whenever lengths vary and batches are padded: nearly always.
When not       Fixed-length inputs; batches of one.
Trade-off      train.energy_total_joule x0.35-0.9 | train.wall_second x0.35-0.9 | rouge2 -0.005..+0.005
Options        pool_batches (50): larger pads less, smaller is more random
Works with     all others.   Conflicts with  balanced, token_budget. (The Trainer's own sortish_sampler is dead code.)
Source         fastai SortishSampler (Howard et al. 2020, arXiv 2002.04688). Padded work on SAMSum-like lengths, batch
               16: 2.69x the useful FLOPs in random order, 1.11-1.21x sorted (ours, simulated); CPU throughput 6.2 to
               12.7 samples/s (ours).
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.tokenized import TrainingData, num_padded_tokens, random_order
from kilowit.settings import Block, Count

CONFLICTS_WITH: Final = ("balanced", "token_budget")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
SOURCE_STEP: Final = 1.1  # sources within 10 % count as equally long, so that targets can be sorted too
_OURS: Final = "ours: 2.69x to 1.11-1.21x padded FLOPs simulated, throughput x2.05 on a CPU; upper end: even lengths"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.35, 0.9, source=_OURS),
    Expectation("train.wall_second", 0.35, 0.9, source=_OURS),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="ours: an estimate, the multiset is unchanged"),
)


class Options(Block):
    """How far to sort."""

    pool_batches: Count = Field(50, description="batches that are sorted together")


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Give the training data its order."""
    return replace(data, order=functools.partial(sortish_order, pool_batches=options.pool_batches))


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the order that the first epoch really took, and its padding beside that of a random order."""
    split, batch_size = run.data.train, run.settings.train.batch_size
    shuffled = random_order(split.source_lengths, split.target_lengths, batch_size, "0")
    random_fraction = padding_fraction(split.source_lengths, split.target_lengths, shuffled, batch_size)
    taken_fraction = padding_fraction(split.source_lengths, split.target_lengths, run.first_order, batch_size)
    numbers = {
        "padding_fraction": run.num_padding_tokens / (run.num_padding_tokens + run.num_real_tokens),
        "first_epoch_padding_fraction": taken_fraction,
        "random_order_padding_fraction": random_fraction,
    }
    ours = run.data.epoch_order(batch_size, run.seed, 0)
    taken_as_given = list(run.first_order) == ours[: len(run.first_order)]
    # A few steps are no sample of the padding: it is compared when the epoch is whole.
    pads_less = len(run.first_order) < len(split) or taken_fraction <= random_fraction
    return Evidence(bool(run.first_order) and taken_as_given and pads_less, numbers)


def sortish_order(
    source_lengths: Sequence[int],
    target_lengths: Sequence[int],
    batch_size: int,
    seed: str,
    pool_batches: int = 50,
) -> list[int]:
    """Return a permutation of all indices whose consecutive batches hold examples of similar length.

    Only the last batch can be short, as in any order.
    """
    random_source = random.Random(seed)
    shuffled = list(range(len(source_lengths)))
    random_source.shuffle(shuffled)
    pool_size = pool_batches * batch_size

    def length_step(index: int) -> tuple[int, int]:
        return int(math.log(source_lengths[index] or 1, SOURCE_STEP)), target_lengths[index]

    batches = []
    for start in range(0, len(shuffled), pool_size):
        pool = sorted(shuffled[start : start + pool_size], key=length_step)
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    short = [batch for batch in batches if len(batch) < batch_size]
    full = [batch for batch in batches if len(batch) == batch_size]
    random_source.shuffle(full)
    longest = max(source_lengths, default=0)
    full.sort(key=lambda batch: all(source_lengths[i] < longest for i in batch))
    return [index for batch in full + short for index in batch]


def padding_fraction(
    source_lengths: Sequence[int], target_lengths: Sequence[int], order: Sequence[int], batch_size: int
) -> float:
    """Return the share of computed positions, of sources and targets together, that hold no token."""
    padded = num_padded_tokens(source_lengths, order, batch_size) + num_padded_tokens(target_lengths, order, batch_size)
    real = sum(source_lengths[i] + target_lengths[i] for i in order)
    return 1 - real / padded
