"""low_resource: learn from a part of the training pairs.

What it does   Keeps `num_examples` training pairs, or a `fraction` of them, and leaves validation and test whole. Pairs
               are ranked by a hash of `seed` and their id, and the first are kept: with the same seed a smaller choice
               is a part of every larger one, on every machine and in any order of the file.
When to use    To see what the last thousand pairs are worth in joules, or where labelled pairs are few.
When not       Together with train.num_steps: the number of steps then stays, and only the repeats grow.
Trade-off      train.energy_total_joule x0.001-1.0 | rouge2 -0.15..+0.005; the energy is in proportion to the pairs
Options        num_examples or fraction (one of them), seed (0)
Works with     all others; put it before sortish in the recipe or after, it is the same.   Conflicts with  nothing.
Source         Zhang et al. 2019, arXiv 1912.08777, section 6.3: PEGASUS-large with 10 to 10,000 pairs. Energy: ours, by
               arithmetic.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.tokenized import TokenizedSplit, TrainingData
from kilowit.settings import Block, Count

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.001, 1.0, source="ours: steps in proportion to the pairs"),
    Expectation("rouge2", -0.15, 0.005, kind="difference", source="arXiv 1912.08777, table 8 and figure 6; ends ours"),
)


class Options(Block):
    """How much to keep, and which."""

    num_examples: Count | None = Field(None, description="training pairs to keep")
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="share of the training pairs")
    seed: int = Field(0, description="chooses the pairs; the same in all cells, whatever their own seed")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.num_examples is None) == (self.fraction is None):
            raise ValueError("give num_examples or fraction, one of them")
        return self

    def num_kept(self, num_whole: int) -> int:
        """Return how many of `num_whole` pairs stay; at least one."""
        return self.num_examples or max(1, math.floor((self.fraction or 0) * num_whole))


def on_data(data: TrainingData, options: Options, facts: dict[str, Any]) -> TrainingData:
    """Leave out training pairs.

    Raises:
        PartError: there are no more of them than are to be kept.
    """
    num_whole = len(data.train)
    num_kept = options.num_kept(num_whole)
    if num_kept >= num_whole:
        raise PartError(
            f'method "low_resource" is to keep {num_kept} of {num_whole} training pairs',
            hint="It would leave out nothing: choose a smaller number.",
        )
    chosen = subset(data.train.ids, num_kept, options.seed)
    facts.update(num_whole_examples=num_whole, num_kept_examples=num_kept)
    return replace(data, train=rows(data.train, chosen))


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show how many pairs there were, and how many were left to train on."""
    split = run.data.train
    again = subset(split.ids, len(split), options.seed)
    numbers = {**run.facts, "num_distinct_examples_taken": len(set(run.first_order))}
    is_cut = len(split) == run.facts["num_kept_examples"] < run.facts["num_whole_examples"]
    return Evidence(is_cut and again == list(range(len(split))), numbers)


def subset(ids: Sequence[str], num_kept: int, seed: int) -> list[int]:
    """Return the indices of the examples that are kept, in their own order.

    >>> set(subset("abcdef", 2, 0)) <= set(subset("abcdef", 4, 0))
    True
    """
    ranks = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in ids]
    return sorted(sorted(range(len(ids)), key=lambda i: (ranks[i], i))[:num_kept])


def rows(split: TokenizedSplit, indices: Sequence[int]) -> TokenizedSplit:
    """Return a split of these examples alone."""
    return TokenizedSplit(
        ids=[split.ids[i] for i in indices],
        source_tokens=[split.source_tokens[i] for i in indices],
        target_tokens=[split.target_tokens[i] for i in indices],
        num_source_tokens_whole=[split.num_source_tokens_whole[i] for i in indices],
        num_target_tokens_whole=[split.num_target_tokens_whole[i] for i in indices],
    )
