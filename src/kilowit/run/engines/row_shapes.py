"""Packed rows of a few shapes: what is recorded for one shape can be replayed for all rows that are filled up to it.

A row is filled with pairs of padding tokens, whose labels are ignored: attention never leaves a pair, so that loss and
gradients stay those of the row without them. No pair is empty, and none is longer than the longest of the split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, count
from typing import Any, Final, NamedTuple

import torch

from kilowit.run.batches import IGNORED

MULTIPLE: Final = 8  # of tokens in a row: what fills tensor cores
RECORDING_COST: Final = 3  # rows that could be computed while one more shape is recorded (BART-large, one H100; ours)
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

    The rows are cut in two, again and again, by the length of their sources or of their targets, each time where that
    saves the most padding, while it saves more than recording costs; each part's shape is as large as its rows.

    Args:
        sizes: of the rows that will come, at least one.
        longest: source and target of the split.
    """
    groups = [list(sizes)]
    cost = RECORDING_COST * sum(map(sum, sizes)) / len(sizes)
    while len(groups) < num_shapes:
        cuts = [_best_cut(group) for group in groups]
        saved, halves = max(cuts, key=lambda cut: cut[0])
        if saved <= cost:
            break
        groups = [group for group, cut in zip(groups, cuts, strict=True) if cut[1] is not halves] + halves
    longest = (max(2, longest[0]), max(2, longest[1]))
    return sorted({_shape_of(group, longest) for group in groups}, reverse=True)


def _best_cut(sizes: Sequence[Size]) -> tuple[int, list[list[Size]]]:
    """Return the tokens of padding that the best cut in two saves, and the two; 0 and nothing where none saves any."""
    whole = len(sizes) * (max(size[0] for size in sizes) + max(size[1] for size in sizes))
    best: tuple[int, list[list[Size]]] = (0, [])
    for side in (0, 1):
        ordered = sorted(sizes, key=lambda size: size[side])
        below, above = _computed(ordered), _computed(ordered[::-1])[::-1]
        for cut in range(1, len(ordered)):
            if (saved := whole - below[cut - 1] - above[cut]) > best[0]:
                best = (saved, [ordered[:cut], ordered[cut:]])
    return best


def _computed(sizes: Sequence[Size]) -> list[int]:
    """Return the tokens that the first 1, 2, ... rows take once they are filled up to one shape."""
    sources, targets = (accumulate(side, max) for side in zip(*sizes, strict=True))
    return [number * (source + target) for number, source, target in zip(count(1), sources, targets, strict=False)]


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
