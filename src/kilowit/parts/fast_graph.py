"""The step of a small batch as a CUDA graph: launched once, not kernel by kernel, which is what a step then costs.

Tensors: B sources, S source positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from kilowit.parts.fast_batch import DecodeBatch
from kilowit.parts.fast_decoder import FastDecoder, Segment
from kilowit.parts.fast_search import TokenRules

GRAPH_ROWS: Final = 256  # beams in all; above it the GPU computes longer than Python takes to launch a step
SOURCE_MULTIPLE: Final = 64  # source lengths are rounded up to it, so that few graphs serve all lengths
NUM_GRAPHS: Final = 16  # kept; the one that was not used for longest makes room


class GraphedBatch:
    """A decode batch of fixed shape, captured once and filled again and again."""

    def __init__(self, decoder: FastDecoder, rules: TokenRules, num_sources: int, length: int, pool: Any) -> None:
        """Capture the step.

        Args:
            length: of the longest source, rounded up to `SOURCE_MULTIPLE`.
            pool: graph memory that is shared: no two of these graphs ever run at once.
        """
        like = decoder.weights.embeddings
        key_values = [
            like.new_zeros(2, num_sources, layer.num_heads, length, layer.head_width)
            for layer in decoder.weights.layers
        ]
        self.segment = Segment(key_values, like.new_zeros(num_sources, 1, 1, length))
        self.batch = DecodeBatch(decoder, rules, [self.segment], range(num_sources))
        self.graph = torch.cuda.CUDAGraph()
        self._capture(pool)

    def _capture(self, pool: Any) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries make their workspaces in the first runs: not within a capture
            for _ in range(2):
                self.batch.restart()
                self.batch.advance()
        torch.cuda.current_stream().wait_stream(side)
        self.batch.restart()
        with torch.cuda.graph(self.graph, pool=pool):
            self.batch.advance()

    def fill(self, segment: Segment, places: Sequence[int]) -> DecodeBatch:
        """Take in encoded sources and begin anew."""
        for own, new in zip(self.segment.key_values, segment.key_values, strict=True):
            own.copy_(new)
        if segment.mask is None:
            self.segment.mask.zero_()
        else:
            self.segment.mask.copy_(segment.mask)
        self.batch.places = list(places)
        self.batch.restart()
        return self.batch

    def advance(self, place: int) -> None:
        """Write one more token of every beam; the step is counted on the device."""
        self.graph.replay()
