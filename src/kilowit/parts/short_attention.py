"""Attention within pairs for short queries, on CUDA: torch's memory-efficient kernels, without cutting the keys.

Flash kernels compute tiles of 128 queries and add gradients of theirs in float32 besides. On one H100, 128 dialogues of
SAMSum's lengths, 16 heads of 64, bfloat16, forward and backward: 233 against 416 us a cross attention, 103 against 284
a decoder's own; an encoder's, with 150 queries a pair, is no faster so (torch 2.11; ours). By itself torch cuts the
keys of so few queries in parts, and takes 372 us for the first.

Shapes: N tokens of the row, H heads, D width of a head, B pairs.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch.utils.flop_counter import register_flop_formula

LONGEST_QUERY: Final = 128  # tokens; beyond, flash kernels fill their tiles
_LOG_SUM_MULTIPLE: Final = 32  # queries that the kernel's sums are padded to
_CAUSAL, _FULL = 1, 0  # custom_mask_type


@torch.library.custom_op("kilowit::short_attention", mutates_args=())  # type: ignore[untyped-decorator]
def short_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_bounds: torch.Tensor,
    key_bounds: torch.Tensor,
    longest_query: int,
    longest_key: int,
    causal: bool,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend within pairs: [N, H, D] -> the context, [N, H, D], and the log of the sums, [B, H, longest]."""
    context, log_sums, *_ = torch.ops.aten._efficient_attention_forward(
        query[None], key[None], value[None], None, query_bounds, key_bounds, longest_query, longest_key, 0.0,
        _CAUSAL if causal else _FULL, True, scale=scale,
    )  # fmt: skip
    return context[0], log_sums


@short_attention.register_fake  # type: ignore[untyped-decorator]
def _(query: Any, key: Any, value: Any, query_bounds: Any, key_bounds: Any, longest_query: int, *_: Any) -> Any:
    padded = _LOG_SUM_MULTIPLE * math.ceil(longest_query / _LOG_SUM_MULTIPLE)
    sums = query.new_empty((len(query_bounds) - 1, query.shape[1], padded), dtype=torch.float32)
    return query.new_empty(query.shape), sums


@torch.library.custom_op("kilowit::short_attention_backward", mutates_args=())  # type: ignore[untyped-decorator]
def short_attention_backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    context: torch.Tensor,
    log_sums: torch.Tensor,
    query_bounds: torch.Tensor,
    key_bounds: torch.Tensor,
    longest_query: int,
    longest_key: int,
    causal: bool,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of query, key and value."""
    unused = query.new_empty((), dtype=torch.int64)  # the state of dropout, of which there is none
    sides = (side[None] for side in (gradient.contiguous(), query, key, value))
    d_query, d_key, d_value, _ = torch.ops.aten._efficient_attention_backward(
        *sides, None, context[None], query_bounds, key_bounds, longest_query, longest_key, log_sums, 0.0,
        unused, unused, _CAUSAL if causal else _FULL, False, scale=scale, num_splits_key=1,
    )  # fmt: skip
    return d_query[0], d_key[0], d_value[0]


@short_attention_backward.register_fake  # type: ignore[untyped-decorator]
def _(gradient: Any, query: Any, key: Any, value: Any, *_: Any) -> Any:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any]) -> None:
    query, key, value, query_bounds, key_bounds, *ctx.rest = inputs
    ctx.save_for_backward(query, key, value, *output, query_bounds, key_bounds)


def _backward(ctx: Any, gradient: Any, _: Any) -> Any:
    return (*short_attention_backward(gradient, *ctx.saved_tensors, *ctx.rest), *[None] * 6)


short_attention.register_autograd(_backward, setup_context=_save)


def num_score_flop(query: Any, query_bounds: Any, key_bounds: Any) -> int:
    """One product of queries and keys over all pairs, dense as torch counts causal attention too."""
    pairs = (query_bounds.diff().long() * key_bounds.diff().long()).sum().item()
    return int(2 * pairs * query.shape[1] * query.shape[2])


@register_flop_formula(torch.ops.kilowit.short_attention, get_raw=True)  # type: ignore[untyped-decorator]
def _forward_flop(query: Any, key: Any, value: Any, query_bounds: Any, key_bounds: Any, *_: Any, **__: Any) -> int:
    return 2 * num_score_flop(query, query_bounds, key_bounds)


@register_flop_formula(torch.ops.kilowit.short_attention_backward, get_raw=True)  # type: ignore[untyped-decorator]
def _backward_flop(gradient: Any, query: Any, *rest: Any, **__: Any) -> int:
    return 4 * num_score_flop(query, rest[4], rest[5])  # as of the plain attention, whose weights are kept
