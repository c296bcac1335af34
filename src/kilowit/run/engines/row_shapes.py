"""Packed rows of a few shapes: what is recorded for one shape can be replayed for all rows that are filled up to it.

A row is filled with pairs of padding tokens, whose labels are ignored: attention never leaves a pair, so that loss and
gradients stay those of the row without them. No pair is empty, and none is longer than the longest of the split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch

from kilowit.run.batches import IGNORED

MULTIPLE: Final = 8  # of tokens in a row: what fills tensor cores
Size = tuple[int, int]  # tokens of the sources and of the targets of a row


class RowShape(NamedTuple):
    """What all rows of one shape have in common."""

    num_sources: int  # tokens
    num_targets: int
    num_fillers: int  # pairs of padding
    longest: Size  # of a pair

    def holds(self, size: Size) -> bool:
        """Whether a row can be filled up to this shape by pairs that are neither empty nor too long."""
        missing = (self.num_sources - size[0], self.num_targets - size[1])
        return all(
            self.num_fillers <= side <= self.num_fillers * longest
            for side, longest in zip(missing, self.longest, strict=True)
        )


def row_shapes(sizes: Sequence[Size], num_shapes: int, longest: Size) -> list[RowShape]:
    """Return at most `num_shapes` shapes, the largest first, such that one holds each of the sizes.

    The range of source lengths is cut into equal parts; each part's shape is as large as the largest row in it.

    Args:
        sizes: of the rows that will come, at least one.
        longest: source and target of the split.
    """
    smallest = min(num_sources for num_sources, _ in sizes)
    width = (max(num_sources for num_sources, _ in sizes) - smallest) // num_shapes + 1
    groups: dict[int, list[Size]] = {}
    for size in sizes:
        groups.setdefault((size[0] - smallest) // width, []).append(size)
    longest = (max(2, longest[0]), max(2, longest[1]))
    return sorted({_shape_of(group, longest) for group in groups.values()}, reverse=True)


def _shape_of(sizes: Sequence[Size], longest: Size) -> RowShape:
    sides = [[size[side] for size in sizes] for side in (0, 1)]
    # Each filler takes a token at least and `longest` at most, the rounding to MULTIPLE included.
    num_fillers = max(
        math.ceil((max(side) - min(side) + MULTIPLE - 1) / (most - 1))
        for side, most in zip(sides, longest, strict=True)
    )
    num_sources, num_targets = (MULTIPLE * math.ceil((max(side) + num_fillers) / MULTIPLE) for side in sides)
    return RowShape(num_sources, num_targets, num_fillers, longest)


def filled(batch: dict[str, Any], shape: RowShape, pad_token_id: int) -> dict[str, Any]:
    """Return a packed batch, on the host, filled up to `shape`, which holds it."""
    whole = dict(batch)
    for side, num_tokens in (("source", shape.num_sources), ("target", shape.num_targets)):
        lengths = _cut(num_tokens - len(batch[f"{side}_positions"]), shape.num_fillers)
        bounds_B, positions_N = batch[f"{side}_bounds"], batch[f"{side}_positions"]
        whole[f"{side}_bounds"] = torch.cat([bounds_B, (bounds_B[-1] + lengths.cumsum(0)).to(bounds_B.dtype)])
        ranges = [torch.arange(int(length), dtype=positions_N.dtype) for length in lengths]
        whole[f"{side}_positions"] = torch.cat([positions_N, *ranges])
    for name, num_tokens, value in (
        ("input_ids", shape.num_sources, pad_token_id),
        ("decoder_input_ids", shape.num_targets, pad_token_id),
        ("labels", shape.num_targets, IGNORED),
    ):
        missing = num_tokens - batch[name].shape[1]
        whole[name] = torch.nn.functional.pad(batch[name], (0, missing), value=value)
    whole["source_longest"], whole["target_longest"] = shape.longest
    return whole


def _cut(num_tokens: int, num_parts: int) -> Any:
    """Cut a length into parts as equal as can be, [num_parts]."""
    return torch.tensor([num_tokens // num_parts + (part < num_tokens % num_parts) for part in range(num_parts)])
