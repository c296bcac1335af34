"""Linear layers that pass back leanly: outputs and gradients are torch's, and the model is as it was afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from kilowit.parts.lean_linear import LeanLinears, lean_linears
from kilowit.parts.packed import PackedCollator, packed_rows, place_positions
from kilowit.run.engines.loss import token_loss_sum
from tiny_training import PAD, random_split, tiny_model


@pytest.mark.parametrize("shape", [(7, 4), (2, 7, 4)])
def test_layers_of_one_input_give_back_what_torch_sums_up(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs, weights, biases = draw(*shape), [draw(5, 4), draw(3, 4), draw(6, 4)], [draw(5), None, draw(6)]
    wanted = [side for side in (inputs, *weights, *biases) if side is not None]
    found = []
    for outputs in (
        LeanLinears.apply(inputs, *(side for pair in zip(weights, biases, strict=True) for side in pair)),
        [linear(inputs, weight, bias) for weight, bias in zip(weights, biases, strict=True)],
    ):
        found.append(torch.autograd.grad(sum(output.square().sum() for output in outputs), wanted))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("family", ["bart", "pegasus", "t5"])
@pytest.mark.parametrize("frozen", [None, "encoder", "decoder"])
def test_a_model_has_the_loss_and_the_gradients_that_it_had(family: str, frozen: str | None) -> None:
    model, split = tiny_model(family).eval(), random_split(6)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen is None or f"{frozen}." not in name)
    batch = PackedCollator(split, PAD, model.prepare_decoder_input_ids_from_labels)([3, 1, 5])
    found: list[tuple[float, dict[str, Any]]] = []

    def take() -> None:
        model.zero_grad()
        loss = token_loss_sum(model, place_positions(model, batch), 0.0)[0]
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), gradients))

    with packed_rows(model):
        take()
        with lean_linears(model):
            take()
        take()
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        torch.testing.assert_close(gradients, found[0][1], rtol=1e-4, atol=1e-5)
    assert not any("forward" in vars(module) for module in model.modules())


def test_layers_that_read_one_input_are_computed_together() -> None:
    model, calls = tiny_model("bart").eval(), []
    original = LeanLinears.apply

    def count(inputs: Any, *parameters: Any) -> Any:
        calls.append(len(parameters) // 2)
        return original(inputs, *parameters)

    with pytest.MonkeyPatch.context() as patch, lean_linears(model):
        patch.setattr(LeanLinears, "apply", staticmethod(count))
        model(input_ids=torch.ones(1, 5, dtype=torch.long), decoder_input_ids=torch.ones(1, 3, dtype=torch.long))
    assert calls.count(3) == model.config.encoder_layers + model.config.decoder_layers
    assert calls.count(2 * model.config.decoder_layers) == 1  # keys and values of what the encoder says
