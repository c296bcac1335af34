"""Dropout, residual sum and norm in one call: BART's layers ask for it, and learn what they learned before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import dropout, layer_norm
from transformers import BartConfig, BartForConditionalGeneration, PegasusConfig, PegasusForConditionalGeneration

from kilowit.parts.lean_linear import lean_linears
from kilowit.parts.residual_norm import fused_residuals, residual_layers

SIZES = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32,
}  # fmt: skip
WIDTH = 1024


class Called:
    """A norm of torch's own calls that counts how often it was asked for."""

    def __init__(self) -> None:
        self.number = 0

    def norm(self, states: Any, residual: Any, weight: Any, bias: Any, probability: float, epsilon: float) -> Any:
        self.number += 1
        return layer_norm(residual + dropout(states, probability), weight.shape, weight, bias, epsilon)


def loss_and_gradients(model: Any) -> list[Any]:
    torch.manual_seed(1)
    ids = torch.randint(3, 50, (2, 9))
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids[:, :5].contiguous()).loss
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("activation_dropout", [0.0, 0.2])
@pytest.mark.parametrize("linear", ["lean", "stock"])
def test_barts_layers_ask_for_each_norm_once_and_compute_the_same(activation_dropout: float, linear: str) -> None:
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig(**SIZES, dropout=0.3, activation_dropout=activation_dropout))
    model.train()
    expected, called = loss_and_gradients(model), Called()
    with fused_residuals(model, called.norm):
        if linear == "lean":
            with lean_linears(model):
                found = loss_and_gradients(model)
        else:
            found = loss_and_gradients(model)
    assert called.number == 2 * 2 + 2 * 3
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not any("forward" in vars(layer) for layer in residual_layers(model))


def test_nothing_is_asked_for_where_nothing_is_dropped() -> None:
    model, called = BartForConditionalGeneration(BartConfig(**SIZES, dropout=0.3)), Called()
    with fused_residuals(model.eval(), called.norm):
        loss_and_gradients(model)
    assert called.number == 0


def test_layers_that_go_on_with_the_sum_stay_as_they_are() -> None:
    model = PegasusForConditionalGeneration(PegasusConfig(**SIZES))
    assert residual_layers(model) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("width", [768, WIDTH])
@pytest.mark.parametrize("num_rows", [7, 3001])
def test_the_kernels_compute_what_torch_does_with_the_same_numbers_dropped_on_a_gpu(width: int, num_rows: int) -> None:
    from kilowit.parts.residual_norm_kernels import ResidualNorms

    norms = ResidualNorms(width, torch.device("cuda"))
    norms.load()

    def draw(*shape: int) -> Any:
        return torch.randn(shape, device="cuda").to(torch.bfloat16).requires_grad_()

    torch.manual_seed(0)
    sides = [draw(1, num_rows, width), draw(1, num_rows, width), draw(width), draw(width)]
    gradient = torch.randn_like(sides[0])
    norm = norms.norm(*sides, 0.25, 1e-5)
    found = torch.autograd.grad(norm, sides, gradient)
    kept = found[0] != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    states, residual, weight, bias = (side.detach().double().requires_grad_() for side in sides)
    theirs = layer_norm(residual + states * kept / 0.75, (width,), weight, bias, 1e-5)
    expected = torch.autograd.grad(theirs, (states, residual, weight, bias), gradient.double())
    torch.testing.assert_close(norm.double(), theirs, rtol=0.01, atol=0.05)
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), other, rtol=0.02, atol=0.05 * other.abs().mean().item() + 0.02)
