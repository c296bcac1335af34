"""Attention of short queries on CUDA: the context and the gradients of attention pair by pair."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from kilowit.parts.short_attention import LONGEST_QUERY, num_score_flop, short_attention

HEADS, WIDTH = 4, 64


def test_flops_are_those_of_the_pairs_alone() -> None:
    bounds = torch.tensor([0, 3, 5], dtype=torch.int32), torch.tensor([0, 10, 14], dtype=torch.int32)
    assert num_score_flop(torch.empty(5, HEADS, WIDTH), *bounds) == 2 * (3 * 10 + 2 * 4) * HEADS * WIDTH


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("causal", [False, True])
def test_context_gradients_and_flops_are_those_of_pairs_apart_on_a_gpu(causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query_lengths = torch.randint(1, LONGEST_QUERY, (9,), generator=generator).tolist()
    key_lengths = query_lengths if causal else torch.randint(1, 300, (9,), generator=generator).tolist()
    bounds = [torch.tensor([0, *lengths]).cumsum(0).int().cuda() for lengths in (query_lengths, key_lengths)]

    def draw(lengths: list[int]) -> torch.Tensor:
        drawn = torch.randn(sum(lengths), HEADS, WIDTH, generator=generator)
        return drawn.to("cuda", torch.bfloat16).requires_grad_()

    sides = [draw(query_lengths), draw(key_lengths), draw(key_lengths)]
    gradient = torch.randn_like(sides[0])
    with FlopCounterMode(display=False) as counter:
        ours = short_attention(*sides, *bounds, max(query_lengths), max(key_lengths), causal, 0.125)[0]
        found = torch.autograd.grad(ours, sides, gradient)
    parts = [
        scaled_dot_product_attention(
            *(side.float()[slice(*at)].transpose(0, 1)[None] for side, at in zip(sides, (q, k, k), strict=True)),
            is_causal=causal,
            scale=0.125,
        )[0].transpose(0, 1)
        for q, k in zip(*(pairwise(side.tolist()) for side in bounds), strict=True)
    ]
    theirs = torch.cat(parts)
    expected = torch.autograd.grad(theirs, sides, gradient.float())
    torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=0.02)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=0, atol=0.06)
    assert counter.get_total_flops() == 6 * num_score_flop(sides[0], *bounds)
