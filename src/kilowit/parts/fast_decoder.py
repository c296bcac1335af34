"""One step of an encoder-decoder's decoder for all beams of many sources, without moving a cache.

Tensors: B sources, K beams, T target positions, S source positions, H heads, W head width, D model width, V vocabulary.

The beams of one source are queries of one attention. Over the source they read the same keys. Over what was written,
keys [B, H, T, K, W] hold what beam k wrote at position t, for good; which of them a beam may read is said by its line
of `ancestors` [B, K, T]: the beam that wrote its token at each position. Choosing beams reorders that table alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from kilowit.parts.fast_weights import DecoderWeights, Layer, Norm

# Up to so many rows MKL multiplies the vocabulary's matrix faster from the left than from the right: 8 ms, not 20, for
# 4 rows of bart-base on one thread (AMD EPYC, torch 2.13, 2026-11-23).
FEW_ROWS: Final = 8


@dataclass
class Segment:
    """Sources that were encoded together: their keys and values for every layer, and which positions are padding."""

    key_values: list[Any]  # a layer: [2, B, H, S, W]
    mask: Any  # [B, 1, 1, S], 0 or -inf; None = no padding

    @property
    def num_sources(self) -> int:
        """Return B."""
        return int(self.key_values[0].shape[1])

    def select(self, kept: Any) -> Segment:
        """Return the segment of some of its sources."""
        mask = None if self.mask is None else self.mask.index_select(0, kept)
        return Segment([pair.index_select(1, kept) for pair in self.key_values], mask)


class SelfCache:
    """Keys and values of what was written: [2, B, H, T, K, W] for every layer."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def select(self, kept: Any) -> None:
        """Keep some sources."""
        self.layers = [pair.index_select(1, kept) for pair in self.layers]


class FastDecoder:
    """A decoder over the weights of a model that transformers loaded."""

    def __init__(self, weights: DecoderWeights) -> None:
        self.weights = weights
        self.vocabulary_size = weights.vocabulary_size

    reads_all_positions = False  # it reads those that are written, where the step is known

    def empty_cache(self, num_sources: int, num_beams: int, num_positions: int) -> SelfCache:
        """Make room for what will be written: zeros, for what is masked must be finite."""
        like = self.weights.embeddings
        return SelfCache(
            [
                like.new_zeros(2, num_sources, layer.num_heads, num_positions, num_beams, layer.head_width)
                for layer in self.weights.layers
            ]
        )

    def key_values(self, states_BSD: Any) -> list[Any]:
        """Return the keys and values [2, B, H, S, W] of encoded sources, for every layer."""
        found = []
        for layer in self.weights.layers:
            joined = layer.cross_key_value(states_BSD).unflatten(-1, (2, layer.num_heads, layer.head_width))
            found.append(joined.permute(2, 0, 3, 1, 4).contiguous())
        return found

    def read_source(self, states_BSD: Any, mask_BS: Any) -> Segment:
        """Compute keys and values of encoded sources, once for all their beams and steps."""
        key_values = self.key_values(states_BSD)
        if bool(mask_BS.all()):
            return Segment(key_values, None)
        mask_BS = torch.zeros_like(mask_BS, dtype=states_BSD.dtype).masked_fill_(mask_BS == 0, -torch.inf)
        return Segment(key_values, mask_BS[:, None, None, :])

    def position_bias(self, num_positions: int) -> Any:
        """Return what is added to the scores of written positions [H, T, T], query by key; None = nothing."""
        read = self.weights.position_bias
        return None if read is None else read(num_positions)

    def self_mask(self, ancestors_BKT: Any, bias_HT: Any) -> Any:
        """Return what is added to the scores [B, K, T * K] of a step: -inf where a beam's line does not lead.

        Args:
            ancestors_BKT: who wrote each position of each beam's line; -1 where nothing is written.
            bias_HT: the position bias of this step's query; None = none.
        """
        num_sources, num_beams, num_positions = ancestors_BKT.shape
        beams_K = torch.arange(num_beams, device=ancestors_BKT.device, dtype=ancestors_BKT.dtype)
        is_read_BKTK = ancestors_BKT[..., None] == beams_K
        dtype = self.weights.embeddings.dtype
        mask = torch.zeros_like(is_read_BKTK, dtype=dtype).masked_fill_(~is_read_BKTK, -torch.inf)
        mask = mask[:, None] if bias_HT is None else mask[:, None] + bias_HT[None, :, None, :, None]
        return mask.reshape(num_sources, -1, num_beams, num_positions * num_beams)

    def step(
        self, tokens_BK: Any, step: Any, place: int | None, cache: SelfCache, segments: list[Segment], mask: Any
    ) -> Any:
        """Feed one token of each beam; return the logits [B * K, V filled up] of the next.

        Args:
            step: the position, a tensor [1], so that a CUDA graph can be replayed.
            place: the same as a number, where it is known.
            mask: of `self_mask`; it says how many written positions are read.
        """
        weights = self.weights
        states = self._embed(tokens_BK, step)
        for number, layer in enumerate(weights.layers):
            pair = cache.layers[number]
            read = _enter(states, layer.self_norm, weights.is_pre_norm)
            read = _read_written(read, layer, pair, step, place, mask)
            states = _leave(states + read, layer.self_norm, weights.is_pre_norm)
            read = _enter(states, layer.cross_norm, weights.is_pre_norm)
            read = _read_sources(read, layer, [(segment.key_values[number], segment.mask) for segment in segments])
            states = _leave(states + read, layer.cross_norm, weights.is_pre_norm)
            read = _feed_forward(_enter(states, layer.ffn_norm, weights.is_pre_norm), layer)
            states = _leave(states + read, layer.ffn_norm, weights.is_pre_norm)
        if weights.final_norm is not None:
            states = weights.final_norm(states)
        if weights.output_scale != 1.0:
            states = states * weights.output_scale
        states_RD = states.flatten(0, 1)
        if place is not None and states.device.type == "cpu" and 1 < len(states_RD) <= FEW_ROWS:
            return torch.mm(weights.head.weight, states_RD.T).T.contiguous() + weights.head.bias
        return weights.head(states_RD)

    def _embed(self, tokens_BK: Any, step: Any) -> Any:
        weights = self.weights
        states = functional.embedding(tokens_BK, weights.embeddings)
        if weights.embedding_scale != 1.0:
            states = states * weights.embedding_scale
        if weights.positions is not None:
            states = states + weights.positions.index_select(0, step)
        return states if weights.embedding_norm is None else weights.embedding_norm(states)


def _enter(states: Any, norm: Norm, is_pre_norm: bool) -> Any:
    return norm(states) if is_pre_norm else states


def _leave(states: Any, norm: Norm, is_pre_norm: bool) -> Any:
    return states if is_pre_norm else norm(states)


def _read_written(states_BKD: Any, layer: Layer, pair: Any, step: Any, place: int | None, mask: Any) -> Any:
    """Add this step's keys and values to the cache and attend to the line of each beam."""
    joined = layer.self_qkv(states_BKD).unflatten(-1, (3, layer.num_heads, layer.head_width))
    query_BHKW, new_2BHKW = joined[:, :, 0].transpose(1, 2), joined[:, :, 1:].permute(2, 0, 3, 1, 4)
    if place is None:
        pair.index_copy_(3, step, new_2BHKW.unsqueeze(3))
    else:
        pair[:, :, :, place] = new_2BHKW
    if place is not None:  # else the mask covers all positions
        pair = pair[:, :, :, : mask.shape[-1] // states_BKD.shape[1]]
    keys, values = pair.flatten(3, 4).unbind()
    read_BHKW = functional.scaled_dot_product_attention(
        query_BHKW, keys, values, attn_mask=mask, scale=layer.score_scale
    )
    return layer.self_out(read_BHKW.transpose(1, 2).flatten(2))


def _read_sources(states_BKD: Any, layer: Layer, parts: list[tuple[Any, Any]]) -> Any:
    """Attend to the source, segment by segment: each has its own length."""
    query_BHKW = layer.cross_query(states_BKD).unflatten(-1, (layer.num_heads, layer.head_width)).transpose(1, 2)
    # one segment is not split: a graph that is compiled for any number of sources could not
    sizes = [pair.shape[1] for pair, _ in parts]
    queries = [query_BHKW] if len(parts) == 1 else query_BHKW.split(sizes)
    read = [
        functional.scaled_dot_product_attention(query, pair[0], pair[1], attn_mask=mask, scale=layer.score_scale)
        for query, (pair, mask) in zip(queries, parts, strict=True)
    ]
    read_BHKW = read[0] if len(read) == 1 else torch.cat(read)
    return layer.cross_out(read_BHKW.transpose(1, 2).flatten(2))


def _feed_forward(states: Any, layer: Layer) -> Any:
    inner = layer.activation(layer.ffn_in[0](states))
    if len(layer.ffn_in) == 2:
        inner = inner * layer.ffn_in[1](states)
    return layer.ffn_out(inner)
