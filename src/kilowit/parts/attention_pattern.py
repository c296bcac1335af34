"""What sparse encoder attention computes: positions and pairs of positions, as the kernels of transformers take them.

These kernels cut the source into blocks, pad it to whole blocks, and multiply whole blocks: what is computed is more
than what the papers count. Each pattern is exact to the blocks; masks and gathers, below 1 %, are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class PatternCost(NamedTuple):
    """What one encoder layer computes for a source; averages over the layers where these differ."""

    attention_positions: float  # rows through the four projections of the attention
    ffn_positions: float  # rows through the feed-forward
    pairs: float  # queries x keys, and as many weights x values


class AttentionPattern(Protocol):
    """A way to attend within the source."""

    def cost(self, num_source_tokens: float) -> PatternCost:
        """Return what one layer computes for one source of so many tokens."""
        ...


def padded(num_tokens: float, multiple: int) -> float:
    """Round up to whole blocks.

    >>> padded(147, 64)
    192.0
    """
    return float(math.ceil(num_tokens / multiple) * multiple)


@dataclass(frozen=True)
class SlidingWindow:
    """Longformer's window and one global token, as LED computes them: everything is padded to whole windows."""

    window: int  # tokens, half on each side

    def cost(self, num_source_tokens: float) -> PatternCost:
        """Count scores in chunks of a window that overlap by half, values in chunks of one and a half."""
        n, half = padded(num_source_tokens, self.window), self.window / 2
        scores = (n / half - 1) * self.window**2
        values = n * 3 * half
        pairs = (scores + values) / 2 + 2 * n  # the global token is seen by all and sees all
        return PatternCost(1.5 * n, n, pairs)  # 6 matrices a position: keys and values are projected twice


@dataclass(frozen=True)
class KeyLimit:
    """Attention that shows each token at most so many keys, as the method sparse_attention computes it."""

    num_keys: int

    def cost(self, num_source_tokens: float) -> PatternCost:
        """Count a limited number of keys for every token."""
        n = num_source_tokens
        return PatternCost(n, n, n * min(n, self.num_keys))


def key_limit(num_keys: int | None) -> KeyLimit | None:
    """Return the pattern of `max_encoder_keys` in a config.json; None = every token sees every other."""
    return None if num_keys is None else KeyLimit(num_keys)


@dataclass(frozen=True)
class BlockSparse:
    """BigBird: global first and last block, three blocks of window, random blocks; full attention when short."""

    block_size: int
    num_random_blocks: int

    @property
    def max_full_tokens(self) -> int:
        """Up to so many tokens attention is full: 704 with blocks of 64 and 3 at random."""
        return (5 + 2 * self.num_random_blocks) * self.block_size

    def cost(self, num_source_tokens: float) -> PatternCost:
        """Count full attention when short, else blocks."""
        n = float(num_source_tokens)
        if n <= self.max_full_tokens:
            return PatternCost(n, n, n * n)
        n = padded(n, self.block_size)
        num_blocks, random = n / self.block_size, self.num_random_blocks
        seen = 2 * num_blocks + 2 * (4 + random) + (num_blocks - 4) * (5 + random)  # blocks: outermost, next, inner
        return PatternCost(n, n, seen * self.block_size**2)


@dataclass(frozen=True)
class StaggeredBlocks:
    """PEGASUS-X: attention within blocks and to global tokens; every other layer's blocks are shifted by half."""

    block_size: int
    num_global_tokens: int
    is_staggered: bool

    def cost(self, num_source_tokens: float) -> PatternCost:
        """Count whole blocks, a shifted layer having one more, and the global tokens beside them."""
        n, num_global = padded(num_source_tokens, self.block_size), self.num_global_tokens
        shifted = n + (self.block_size / 2 if self.is_staggered else 0)  # half of the layers have one block more
        local = shifted * (self.block_size + num_global)
        return PatternCost(shifted + num_global, n + num_global, local + num_global * (num_global + shifted))


@dataclass(frozen=True)
class LocalBlocks:
    """LongT5: each block sees itself and its neighbours; transient-global adds one summed token a small block."""

    block_size: int
    global_block_size: int | None  # None: local only

    def cost(self, num_source_tokens: float) -> PatternCost:
        """Count three blocks a block, and the transient tokens: summed up, projected to keys and values, attended."""
        n = float(num_source_tokens)
        num_global = n // self.global_block_size if self.global_block_size else 0.0
        pairs = padded(n, self.block_size) * (3 * self.block_size + num_global) + n * num_global / 2
        return PatternCost(n + num_global / 2, n, pairs)
