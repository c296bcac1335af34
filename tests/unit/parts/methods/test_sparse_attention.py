"""Window attention against a dense mask, alone and inside the encoders that it is put into."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kilowit.errors import PartError
from kilowit.parts.attention_pattern import KeyLimit
from kilowit.parts.flop import forward_flop
from kilowit.parts.method import MethodCall, plan_settings
from kilowit.parts.methods import sparse_attention
from kilowit.parts.model import Dimensions
from kilowit.parts.window_attention import Window, num_pairs, use_window, window_attention, window_mask
from kilowit.settings import Settings
from tiny_training import tiny_model

FAMILIES = ["bart", "t5", "pegasus"]


def dense(states: list[torch.Tensor], window: int, num_global: int, real: Any, bias_HO: Any) -> torch.Tensor:
    length = states[0].shape[2]
    mask = window_mask(length, window, num_global)[None, None] & real[:, None, None, :]
    if bias_HO is not None:
        offsets = torch.arange(length)[None, :] - torch.arange(length)[:, None] + length - 1
        mask = bias_HO[:, offsets][None].masked_fill(~mask, float("-inf"))
    return scaled_dot_product_attention(*states, attn_mask=mask, scale=0.4)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(
    ("length", "window", "num_global"), [(5, 2, 1), (49, 16, 1), (50, 16, 1), (64, 16, 3), (101, 5, 2), (130, 20, 20)]
)
def test_blocks_give_output_and_gradients_of_the_dense_mask(
    length: int, window: int, num_global: int, has_bias: bool
) -> None:
    torch.manual_seed(length)
    states = [torch.randn(2, 3, length, 8, requires_grad=True) for _ in range(3)]
    bias = torch.randn(3, 2 * length - 1, requires_grad=True) if has_bias else None
    real = torch.arange(length)[None, :] < torch.tensor([[length], [max(1, length // 3)]])
    learned = [*states, bias] if has_bias else states
    weight = torch.randn(2, 3, length, 8) * real[:, None, :, None]  # what stands at padding is nobody's business
    results = []
    for attend in (
        lambda: window_attention(*states, window, num_global, real_BS=real, bias_HO=bias, scale=0.4),
        lambda: dense(states, window, num_global, real, bias),
    ):
        output = attend()
        assert torch.isfinite(output).all()
        results.append([output * real[:, None, :, None], *torch.autograd.grad((output * weight).sum(), learned)])
    for ours, expected in zip(*results, strict=True):
        assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("window", [3, 20])
def test_encoder_with_a_window_is_the_encoder_under_a_dense_mask(family: str, window: int) -> None:
    plain, sparse = tiny_model(family).eval(), tiny_model(family).eval()
    assert use_window(sparse, Window(window, 2)) == 2
    ids = torch.randint(3, 64, (2, 64))
    mask = torch.ones(2, 64, dtype=torch.long)
    mask[1, 40:] = 0
    allowed = window_mask(64, window, 2)[None, None] & mask.bool()[:, None, None, :]
    scores = torch.zeros(2, 1, 64, 64).masked_fill(~allowed, torch.finfo(torch.float32).min)
    with torch.no_grad():
        expected = plain.get_encoder()(input_ids=ids, attention_mask=scores)[0]
        ours = sparse.get_encoder()(input_ids=ids, attention_mask=mask)[0]
        without_mask = sparse.get_encoder()(input_ids=ids[:1])[0]
    real = mask.bool()[:, :, None]
    assert torch.allclose(ours * real, expected * real, atol=1e-5)
    assert torch.allclose(without_mask, expected[:1], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_window_that_sees_all_changes_no_logit_and_no_summary(family: str) -> None:
    plain, sparse = tiny_model(family).eval(), tiny_model(family).eval()
    use_window(sparse, Window(64, 1))
    ids = torch.randint(3, 64, (2, 50))
    with torch.no_grad():
        logits = [model(input_ids=ids, decoder_input_ids=ids[:, :9]).logits for model in (plain, sparse)]
        written = [model.generate(ids, num_beams=2, max_new_tokens=5) for model in (plain, sparse)]
    assert torch.allclose(*logits, atol=1e-5)
    assert torch.equal(*written)
    assert plain.config._attn_implementation == sparse.config._attn_implementation  # the decoder's own


@pytest.mark.parametrize(
    ("length", "window", "num_global"), [(1, 3, 1), (9, 2, 1), (30, 4, 3), (30, 40, 2), (20, 3, 9)]
)
def test_pairs_are_counted_as_the_mask_has_them(length: int, window: int, num_global: int) -> None:
    assert num_pairs(length, window, num_global) == int(window_mask(length, window, num_global).sum())


def test_flops_leave_out_the_keys_that_are_not_seen() -> None:
    sizes = {"encoder_layers": 2, "decoder_layers": 1, "d_model": 64, "d_attention": 64, "encoder_ffn": 128,
             "decoder_ffn": 128, "vocabulary_size": 100, "num_heads": 4}  # fmt: skip
    whole, sparse = Dimensions(**sizes), Dimensions(**sizes, encoder_pattern=KeyLimit(100))
    # Two layers, 2 FLOPs x 2 products x width 64 for each of the 1000 x (1000 - 100) pairs.
    assert forward_flop(whole, 1000, 10) - forward_flop(sparse, 1000, 10) == 2 * 4 * 64 * 1000 * 900
    assert forward_flop(whole, 90, 10) == forward_flop(sparse, 90, 10)


def test_method_notes_the_window_in_the_models_configuration_and_refuses_other_families() -> None:
    facts: dict[str, Any] = {}
    model = sparse_attention.on_model(tiny_model("bart"), sparse_attention.Options(window=8), facts)
    assert model.config.max_encoder_keys == 2 * 8 + 1 + 1
    assert facts["num_layers"] == 2
    with pytest.raises(PartError, match="does not work with led"):
        plan_settings(Settings(), (MethodCall("sparse_attention"),), "led")
