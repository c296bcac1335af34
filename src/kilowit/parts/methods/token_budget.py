"""token_budget: batches of similar length, as many examples as fit a budget of tokens.

What it does   Shuffles, takes pools of `pool_batches` budgets, sorts each pool by source length in steps of 5 % and by
               target length within a step, and fills batches until the next example would pass `max_tokens` positions,
               padding included, or pad more than a twentieth. Batches are shuffled; each is one forward pass. Every
               example is taken once an epoch.
When to use    When memory decides how much fits: a batch of long examples then takes as much as one of short ones.
When not       When the number of examples per step must stay: it varies with their length here, and the number of
               steps with it. With packing, which computes no padding at all.
Trade-off      train.energy_total_joule x0.3-0.95 | train.wall_second x0.3-0.95 | rouge2 -0.01..+0.01
Options        max_tokens (4096 positions of sources and targets together, padding included), pool_batches (100)
Works with     all that the engine loop takes; train.batch_size is then that of validation and prediction.
               Conflicts with  balanced, gradient_accumulation, packing, sortish.
               (train.gradient_accumulation_steps works.)
Source         Ott et al. 2018, arXiv 1806.00187 (fairseq's max-tokens). Ranges ours, from the padding of random batches
               on SAMSum-like lengths (2.69-3.55x the useful FLOPs) and of these (below 1.05x in tokens).
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
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Block, Count

CONFLICTS_WITH: Final = {
    "balanced": "both decide which examples make a batch",
    "gradient_accumulation": "batches are as large as the tokens allow, and have no number of examples to divide",
    "packing": "packing computes no padding that batches of like lengths could save",
    "sortish": "both decide which examples make a batch",
}
FAMILIES: Final = None
ENGINES: Final = ("loop",)
MAX_PADDING: Final = 0.05  # of the positions of one batch
SOURCE_STEP: Final = 1.05
_OURS: Final = "ours: padded FLOPs of random batches 2.69-3.55x, of these about 1.05x; upper end: even lengths"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.3, 0.95, source=_OURS),
    Expectation("train.wall_second", 0.3, 0.95, source=_OURS),
    Expectation("rouge2", -0.01, 0.01, kind="difference", source="ours: an estimate, steps are of unequal size"),
)


class Options(Block):
    """How much fits."""

    max_tokens: Count = Field(4096, description="positions of a batch, sources and targets, padding included")
    pool_batches: Count = Field(100, description="budgets that are sorted together; larger pads less")


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Give the training data its batches."""
    batching = functools.partial(token_budget_batches, max_tokens=options.max_tokens, pool_batches=options.pool_batches)
    return replace(data, batching=batching)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the padding and the sizes of the first epoch's batches, as planned and as taken."""
    split = run.data.train
    batches = run.data.epoch_batches(run.settings.train.batch_size, run.seed, 0)
    planned = [index for batch in batches for index in batch]
    largest = max(num_positions(split.source_lengths, split.target_lengths, batch) for batch in batches)
    numbers = {
        "padding_fraction": run.num_padding_tokens / (run.num_padding_tokens + run.num_real_tokens),
        "largest_batch_tokens": largest,
        "num_batches_per_epoch": len(batches),
        "largest_batch_examples": max(map(len, batches)),
    }
    as_planned = bool(run.first_order) and list(run.first_order) == planned[: len(run.first_order)]
    longest = max(map(sum, zip(split.source_lengths, split.target_lengths, strict=True)))
    fits = largest <= max(options.max_tokens, longest)
    return Evidence(as_planned and fits and numbers["padding_fraction"] < MAX_PADDING, numbers)


def token_budget_batches(
    source_lengths: Sequence[int],
    target_lengths: Sequence[int],
    seed: str,
    max_tokens: int = 4096,
    pool_batches: int = 100,
) -> list[list[int]]:
    """Return batches that hold every index once; none but a single long example passes `max_tokens` positions."""
    random_source = random.Random(seed)
    shuffled = list(range(len(source_lengths)))
    random_source.shuffle(shuffled)

    def length_step(index: int) -> tuple[int, int]:
        return int(math.log(source_lengths[index] or 1, SOURCE_STEP)), target_lengths[index]

    batches: list[list[int]] = []
    for pool in _pools(shuffled, source_lengths, target_lengths, max_tokens * pool_batches):
        batch: list[int] = []
        for index in sorted(pool, key=length_step):
            grown = [*batch, index]
            positions = num_positions(source_lengths, target_lengths, grown)
            real = sum(source_lengths[i] + target_lengths[i] for i in grown)
            if batch and (positions > max_tokens or positions - real > MAX_PADDING * positions):
                batches.append(batch)
                grown = [index]
            batch = grown
        batches.append(batch)
    random_source.shuffle(batches)
    return batches


def _pools(
    order: Sequence[int], source_lengths: Sequence[int], target_lengths: Sequence[int], num_tokens: int
) -> list[list[int]]:
    """Cut an order into stretches of about so many tokens."""
    pools: list[list[int]] = []
    num_left = 0
    for index in order:
        if num_left <= 0:
            pools.append([])
            num_left = num_tokens
        pools[-1].append(index)
        num_left -= source_lengths[index] + target_lengths[index]
    return pools


def num_positions(source_lengths: Sequence[int], target_lengths: Sequence[int], batch: Sequence[int]) -> int:
    """Return the positions that a padded batch computes."""
    return len(batch) * (max(source_lengths[i] for i in batch) + max(target_lengths[i] for i in batch))
