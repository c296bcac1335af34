"""Padding-free rows: many pairs in one row of sources and one of targets, with the model's code as it is.

Every linear layer, norm and the vocabulary head then see real tokens only. Three things make the row right: attention
that never leaves a pair (registered with transformers as an attention function, which is told the bounds of the pairs
through the keyword arguments of `forward`), no mask, and positions that start anew with each pair (the position module
is exchanged on the instance; halves of BERT are told them; T5's bias is computed for one pair of the greatest length).
Loss and gradients are those of the padded batch. Only the worker imports this module: it needs torch.

Shapes: N tokens of the row, B pairs, L longest pair, H heads, D width of a head, S and T rows of sources and targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch.nn.functional import embedding, scaled_dot_product_attention
from torch.utils.flop_counter import register_flop_formula
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from kilowit.errors import PlanError
from kilowit.parts.short_attention import LONGEST_QUERY, num_score_flop, short_attention
from kilowit.parts.tokenized import TokenizedSplit

# Ways to attend within pairs, by the names under which transformers knows them.
IMPLEMENTATIONS: Final = {"fused": "kilowit_packed_fused", "padded": "kilowit_packed_padded"}


class PackedCollator:
    """Turns indices of a split into one packed batch.

    Args:
        shift_right: padded labels -> decoder inputs; ``model.prepare_decoder_input_ids_from_labels``.
    """

    def __init__(self, split: TokenizedSplit, pad_token_id: int, shift_right: Callable[[Any], Any]) -> None:
        self.split, self.pad_token_id, self.shift_right = split, pad_token_id, shift_right
        # Of the whole split: a compiled graph is not made anew for the longest pair of each batch.
        self.longest = (max(split.source_lengths), max(split.target_lengths))

    def __call__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return rows of ids, ``labels`` [1, T], positions, bounds of the pairs and their greatest lengths."""
        sources, targets = ([side[i] for i in indices] for side in (self.split.source_tokens, self.split.target_tokens))
        source_bounds_B, target_bounds_B = _bounds(sources), _bounds(targets)
        labels_T = _row(targets)
        target_positions_T = _positions(target_bounds_B)
        # The family's own shift works on rows that are padded.
        labels_BL = torch.full((len(indices), max(map(len, targets))), self.pad_token_id)
        pair_T = torch.repeat_interleave(target_bounds_B.diff())
        labels_BL[pair_T, target_positions_T] = labels_T
        return {
            "input_ids": _row(sources)[None],
            "decoder_input_ids": self.shift_right(labels_BL)[pair_T, target_positions_T][None],
            "labels": labels_T[None],
            "source_positions": _positions(source_bounds_B),
            "target_positions": target_positions_T,
            "source_bounds": source_bounds_B,
            "target_bounds": target_bounds_B,
            "source_longest": self.longest[0],
            "target_longest": self.longest[1],
        }


def _row(tokens: Sequence[Any]) -> Any:
    return torch.from_numpy(np.concatenate(tokens).astype(np.int64))


def _bounds(tokens: Sequence[Any]) -> Any:
    return torch.tensor([0, *np.cumsum([len(row) for row in tokens])], dtype=torch.int32)


def _positions(bounds_B: Any) -> Any:
    starts_N = torch.repeat_interleave(bounds_B[:-1], bounds_B.diff())
    return torch.arange(int(bounds_B[-1])) - starts_N


def implementation_for(model: Any, attention: Literal["fused", "padded"] | None = None) -> str:
    """Return the name of the attention to train with; None = fused, where there is no bias as T5's has.

    Raises:
        PlanError: fused kernels take no such bias.
    """
    is_biased = any(hasattr(module, "has_relative_attention_bias") for module in model.modules())
    if is_biased and attention == "fused":
        raise PlanError("no fused attention takes the position bias of T5", hint="Leave out attention: fused.")
    return IMPLEMENTATIONS[attention or ("padded" if is_biased else "fused")]


@contextmanager
def packed_rows(model: Any, implementation: str | None = None) -> Iterator[None]:
    """Let a BART, mBART, PEGASUS or T5, or two BERTs or RoBERTas, read packed batches; as it was afterwards.

    Parameters, their names and those of the state stay. Feed batches through `place_positions`.

    Args:
        implementation: of `IMPLEMENTATIONS`; None = as `implementation_for` chooses.
    """
    implementation = implementation or implementation_for(model)
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    tables = [(side, side.embed_positions) for side in _sides(model) if hasattr(side, "embed_positions")]
    biased = [m for m in model.modules() if hasattr(m, "has_relative_attention_bias")]
    had_bias = [m.has_relative_attention_bias for m in biased]
    # In transformers 5.17 set_attn_implementation does not reach T5's encoder and decoder: every config is set.
    for config in configs.values():
        config._attn_implementation = implementation
    for side, table in tables:
        side.embed_positions = PackedPositions(table)
    for module, has_bias in zip(biased, had_bias, strict=True):
        # Without a bias T5 makes zeros of targets x sources of the whole row: None in their place.
        module.compute_bias = _CompactBias(module) if has_bias else _no_bias
        module.has_relative_attention_bias = True
    try:
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        for side, table in tables:
            side.embed_positions = table
        for module, has_bias in zip(biased, had_bias, strict=True):
            del module.compute_bias
            module.has_relative_attention_bias = has_bias


def _sides(model: Any) -> tuple[Any, Any]:
    return model.get_encoder(), model.get_decoder()


def place_positions(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Hand the positions of a packed batch to the model's position modules; return the arguments of its forward."""
    batch = dict(batch)
    if model.config.model_type == "encoder-decoder":
        return _told_to_each_half(model, batch)
    for side, name in zip(_sides(model), ("source", "target"), strict=True):
        positions_N = batch.pop(f"{name}_positions")
        if isinstance(table := getattr(side, "embed_positions", None), PackedPositions):
            table.positions_N = positions_N
    for module in model.modules():
        if isinstance(bias := getattr(module, "compute_bias", None), _CompactBias):
            bias.longest = batch["target_longest" if module.is_decoder else "source_longest"]
    return batch


def _told_to_each_half(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """An encoder and a decoder that were models of their own: what the decoder is told begins with ``decoder_``."""
    bounds = {name: batch[name] for name in batch if name.endswith(("_bounds", "_longest"))}
    batch |= {f"decoder_{name}": value for name, value in bounds.items()}
    for side, name, prefix in zip(_sides(model), ("source", "target"), ("", "decoder_"), strict=True):
        # RoBERTa's table begins with the positions of padding and of what is before it.
        first = getattr(side.base_model.embeddings, "padding_idx", -1) + 1
        batch[f"{prefix}position_ids"] = batch.pop(f"{name}_positions")[None] + first
    return batch


class PackedPositions(torch.nn.Module):  # type: ignore[misc]
    """Stands for a table of positions, learned or sinusoidal; reads the positions that were placed."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.weight, self.offset = table.weight, getattr(table, "offset", 0)
        self.positions_N: Any = None

    def forward(self, *_: Any, **__: Any) -> Any:
        """Return the rows of the table, [1, N, width]."""
        return embedding(self.positions_N + self.offset, self.weight)[None]


class _CompactBias:
    """T5's bias depends on distances alone: that of one pair of the greatest length, [1, H, L, L], serves all."""

    def __init__(self, module: Any) -> None:
        self.module, self.longest = module, 0

    def __call__(self, query_length: int, key_length: int, device: Any = None, **_: Any) -> Any:
        return type(self.module).compute_bias(self.module, self.longest, self.longest, device=device)


def _no_bias(*_: Any, **__: Any) -> None:
    return None


class _Row(NamedTuple):
    """What an attention module is called with: [N, H, D] each, and where the pairs begin and end."""

    query: Any
    key: Any
    value: Any
    query_bounds: Any
    key_bounds: Any
    longest: tuple[int, int]  # queries and keys of a pair
    causal: bool
    scale: float


def _row_of(module: Any, query: Any, key: Any, value: Any, scaling: float | None, bounds: dict[str, Any]) -> _Row:
    # BERT's attention to the source does not say whose it is; its configuration does.
    in_decoder = bool((module if hasattr(module, "is_decoder") else module.config).is_decoder)
    causal = in_decoder and bool(getattr(module, "is_causal", False))
    query_side, key_side = ("target" if in_decoder else "source"), ("target" if causal else "source")
    # Not side[0]: the gradient of a choice is a new tensor of zeros with a copy in it.
    query_NHD, key_NHD, value_NHD = (side.squeeze(0).transpose(0, 1) for side in (query, key, value))
    return _Row(
        query=query_NHD,
        key=key_NHD,
        value=value_NHD,
        query_bounds=bounds[f"{query_side}_bounds"],
        key_bounds=bounds[f"{key_side}_bounds"],
        longest=(bounds[f"{query_side}_longest"], bounds[f"{key_side}_longest"]),
        causal=causal,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
    )


def attend_fused(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0,
    scaling: float | None = None, **bounds: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Attend within pairs; query, key and value are [1, H, N, D]. No dropout of attention weights.

    On CUDA torch's varlen_attn, which computes in half precision only, or `short_attention`; on a CPU its fused
    attention, pair by pair.
    """
    row = _row_of(module, query, key, value, scaling, bounds)
    if query.is_cuda:
        context = _attend_on_cuda(row)
    else:
        context = packed_attention(
            row.query, row.key, row.value, row.query_bounds, row.key_bounds, row.causal, row.scale
        )[0]
    return context[None], None


def _attend_on_cuda(row: _Row) -> Any:
    sides = [side.contiguous() for side in (row.query, row.key, row.value)]
    if row.longest[0] <= LONGEST_QUERY:
        return short_attention(*sides, row.query_bounds, row.key_bounds, *row.longest, row.causal, row.scale)[0]
    from torch.nn.attention.varlen import varlen_attn

    window = (-1, 0) if row.causal else (-1, -1)
    return varlen_attn(*sides, row.query_bounds, row.key_bounds, *row.longest, scale=row.scale, window_size=window)


def attend_padded(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0,
    scaling: float | None = None, position_bias: Any = None, **bounds: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Attend within pairs, padded for the attention alone: with T5's bias, in any precision, with dropout."""
    row = _row_of(module, query, key, value, scaling, bounds)
    (num_queries, num_heads, width), device = row.query.shape, query.device
    offsets = [torch.arange(length, device=device)[None] for length in row.longest]
    starts = (row.query_bounds[:-1, None], row.key_bounds[:-1, None])
    places = [start + offset for start, offset in zip(starts, offsets, strict=True)]  # [B, L]
    allowed = (places[1] < row.key_bounds[1:, None])[:, None, None, :]
    if row.causal:
        allowed = allowed & (offsets[0].transpose(0, 1) >= offsets[1])
    mask = torch.zeros(allowed.shape, dtype=query.dtype, device=device).masked_fill(~allowed, -torch.inf)
    if position_bias is not None:
        mask = position_bias.to(query.dtype) + mask
    padded_query, padded_key, padded_value = (
        side[place.clamp(max=len(side) - 1)].transpose(1, 2)
        for side, place in ((row.query, places[0]), (row.key, places[1]), (row.value, places[1]))
    )
    context_BHLD = scaled_dot_product_attention(
        padded_query, padded_key, padded_value, attn_mask=mask, dropout_p=dropout, scale=row.scale
    )
    rows = torch.arange(num_queries, device=device, dtype=row.query_bounds.dtype)
    pair_N = torch.searchsorted(row.query_bounds[1:].contiguous(), rows, right=True)
    flat = context_BHLD.transpose(1, 2).reshape(-1, num_heads, width)
    return flat[pair_N * row.longest[0] + rows - row.query_bounds[pair_N]][None], None


# One operator, so that a compiled graph is neither broken by the loop over pairs nor made anew for each batch.
@torch.library.custom_op("kilowit::packed_attention", mutates_args=())  # type: ignore[untyped-decorator]
def packed_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_bounds: torch.Tensor,
    key_bounds: torch.Tensor,
    causal: bool,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend within pairs on a CPU: [N, H, D] -> the context, [N, H, D], and the log of the sums, [N, H].

    In float32 whatever comes: in bfloat16 torch's fused backward pass took 3.8 times as long (torch 2.13, AMD EPYC
    with AVX-512 BF16, 2026-11-23).
    """
    context = torch.empty(query.shape, dtype=query.dtype)
    query, key, value = query.float(), key.float(), value.float()
    log_sums = torch.empty(query.shape[:2], dtype=torch.float32)
    for queries, keys in _pairs(query_bounds, key_bounds):
        sides = (_heads_first(query[queries]), _heads_first(key[keys]), _heads_first(value[keys]))
        out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*sides, 0.0, causal, scale=scale)
        context[queries], log_sums[queries] = out[0].transpose(0, 1), log_sum[0].transpose(0, 1)
    return context, log_sums


@packed_attention.register_fake  # type: ignore[untyped-decorator]
def _(query: Any, key: Any, value: Any, query_bounds: Any, key_bounds: Any, causal: bool, scale: float) -> Any:
    return query.new_empty(query.shape), query.new_empty(query.shape[:2], dtype=torch.float32)


@torch.library.custom_op("kilowit::packed_attention_backward", mutates_args=())  # type: ignore[untyped-decorator]
def packed_attention_backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    context: torch.Tensor,
    log_sums: torch.Tensor,
    query_bounds: torch.Tensor,
    key_bounds: torch.Tensor,
    causal: bool,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of query, key and value."""
    d_query, d_key, d_value = (torch.empty(side.shape, dtype=side.dtype) for side in (query, key, value))
    gradient, query, key, value = gradient.float(), query.float(), key.float(), value.float()
    context = context.float()
    for queries, keys in _pairs(query_bounds, key_bounds):
        sides = (
            gradient[queries], query[queries], key[keys], value[keys], context[queries],
        )  # fmt: skip
        gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *map(_heads_first, sides), log_sums[queries].transpose(0, 1)[None], 0.0, causal, scale=scale
        )
        d_query[queries], d_key[keys], d_value[keys] = (side[0].transpose(0, 1) for side in gradients)
    return d_query, d_key, d_value


@packed_attention_backward.register_fake  # type: ignore[untyped-decorator]
def _(gradient: Any, query: Any, key: Any, value: Any, *_: Any) -> Any:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _heads_first(side_LHD: Any) -> Any:
    return side_LHD.transpose(0, 1)[None]


def _pairs(query_bounds: Any, key_bounds: Any) -> Iterator[tuple[slice, slice]]:
    for queries, keys in zip(pairwise(query_bounds.tolist()), pairwise(key_bounds.tolist()), strict=True):
        yield slice(*queries), slice(*keys)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any]) -> None:
    query, key, value, query_bounds, key_bounds, ctx.causal, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, *output, query_bounds, key_bounds)


def _backward(ctx: Any, gradient: Any, _: Any) -> Any:
    query, key, value, context, log_sums, query_bounds, key_bounds = ctx.saved_tensors
    gradients = packed_attention_backward(
        gradient, query, key, value, context, log_sums, query_bounds, key_bounds, ctx.causal, ctx.scale
    )
    return (*gradients, None, None, None, None)


packed_attention.register_autograd(_backward, setup_context=_save)


@register_flop_formula(torch.ops.kilowit.packed_attention, get_raw=True)  # type: ignore[untyped-decorator]
def _forward_flop(query: Any, key: Any, value: Any, query_bounds: Any, key_bounds: Any, *_: Any, **__: Any) -> int:
    return 2 * num_score_flop(query, query_bounds, key_bounds)


@register_flop_formula(torch.ops.kilowit.packed_attention_backward, get_raw=True)  # type: ignore[untyped-decorator]
def _backward_flop(gradient: Any, query: Any, *rest: Any, **__: Any) -> int:
    return 4 * num_score_flop(query, rest[4], rest[5])  # as of the plain attention, whose weights are kept


for _name, _attend in (("fused", attend_fused), ("padded", attend_padded)):
    AttentionInterface.register(IMPLEMENTATIONS[_name], _attend)
    AttentionMaskInterface.register(IMPLEMENTATIONS[_name], _no_bias)
