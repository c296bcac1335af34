"""The loss in chunks: torch's own value, gradients and FLOPs, and never the logits of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from kilowit.errors import PartError
from kilowit.parts.fused_loss import fused_loss_sum
from kilowit.parts.method import MethodCall, plan_settings
from kilowit.parts.methods import fused_loss
from kilowit.parts.tokenized import TrainingData
from kilowit.run.engines import loop
from kilowit.settings import Settings
from tiny_training import Phases, random_split, tiny_model, train_job

VOCABULARY_SIZE, WIDTH = 37, 8


def sides(num_tokens: int, seed: int, dtype: Any = torch.float32) -> tuple[Any, Any, Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_tokens, WIDTH, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(VOCABULARY_SIZE, WIDTH, generator=generator).to(dtype).requires_grad_()
    bias = torch.randn(1, VOCABULARY_SIZE, generator=generator)
    return hidden, head, torch.randint(VOCABULARY_SIZE, (num_tokens,), generator=generator), bias


def whole(hidden: Any, head: Any, labels: Any, bias: Any, smoothing: float) -> Any:
    logits = (hidden @ head.T).float() + bias
    return cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.sampled_from([0.0, 0.1, 0.6]), st.integers(0, 5))
def test_sum_and_gradients_are_torchs_for_any_chunk(num_tokens: int, rows: int, smoothing: float, seed: int) -> None:
    hidden, head, labels, bias = sides(num_tokens, seed)
    expected = torch.autograd.grad(3 * whole(hidden, head, labels, bias, smoothing), (hidden, head))
    total = fused_loss_sum(hidden, head, labels, bias_V=bias, label_smoothing=smoothing, num_rows=rows)
    found = torch.autograd.grad(3 * total, (hidden, head))
    assert total.item() == pytest.approx(whole(hidden, head, labels, bias, smoothing).item(), rel=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_side_that_is_not_trained_gets_no_gradient_and_the_other_its_own(frozen: int) -> None:
    hidden, head, labels, bias = sides(9, 0)
    trained = (hidden, head)[1 - frozen]
    (expected,) = torch.autograd.grad(whole(hidden, head, labels, bias, 0.0), trained)
    (hidden, head)[frozen].requires_grad_(False)
    fused_loss_sum(hidden, head, labels, bias_V=bias, num_rows=4).backward()
    assert torch.allclose(trained.grad, expected, atol=1e-5)
    assert (hidden, head)[frozen].grad is None


def test_products_are_bfloat16_under_autocast_and_with_bfloat16_weights() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        hidden, head, labels, bias = sides(30, 1, dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32):
            expected = whole(hidden, head, labels, bias, 0.0)
            total = fused_loss_sum(hidden, head, labels, bias_V=bias, num_rows=8)
        total.backward()
        assert total.dtype == torch.float32
        assert total.item() == pytest.approx(expected.item(), rel=1e-3)
        assert hidden.grad is not None
        assert hidden.grad.dtype == head.grad.dtype == dtype


def test_flops_are_those_of_the_head_forward_and_backward() -> None:
    hidden, head, labels, _ = sides(10, 0)
    with FlopCounterMode(display=False) as counter:
        total = fused_loss_sum(hidden, head, labels, num_rows=4)
        forward = counter.get_total_flops()
        total.backward()
    product = 2 * 10 * VOCABULARY_SIZE * WIDTH
    assert (forward, counter.get_total_flops()) == (product, 3 * product)


@pytest.mark.parametrize("family", ["bart", "pegasus", "t5"])
@pytest.mark.parametrize("packed", [False, True])
def test_training_learns_the_same_whatever_the_chunk_and_never_runs_the_head_whole(family: str, packed: bool) -> None:
    def train(chunk: int | None) -> tuple[Phases, dict[str, Any]]:
        phases, facts = Phases(), dict[str, Any]()
        data = TrainingData(random_split(24), random_split(8, seed=1), is_packed=packed)
        wanted = Settings().with_train(num_steps=5, batch_size=4, learning_rate=1e-2, label_smoothing=0.1)
        calls = () if chunk is None else (MethodCall("fused_loss", {"chunk_tokens": chunk}),)
        callbacks = fused_loss.callbacks(fused_loss.Options(), facts) if chunk else []
        asked = plan_settings(wanted, calls, family)
        loop.train(
            train_job(family, model=tiny_model(family), data=data, settings=asked, callbacks=callbacks, phases=phases)
        )
        return phases, facts

    (expected, _), (found, facts) = train(None), train(7)
    for phase in ("train", "validate"):
        for name in ("loss_first", "loss_last"):
            assert found.figures[phase].facts[name] == pytest.approx(expected.figures[phase].facts[name], abs=2e-5)
    assert facts["num_whole_logits"] == 0
    assert facts["largest_chunk_tokens"] == 7
    shares = [dict(phases.notes)["flop_check"]["total_per_forward"] for phases in (expected, found)]
    assert shares[1] == pytest.approx(shares[0], rel=0.02)


@pytest.mark.parametrize("other", ["distill", "label_smoothing", "lora"])
def test_methods_that_look_at_the_logits_are_refused_beside_it(other: str) -> None:
    with pytest.raises(PartError, match=r"logits|head"):
        plan_settings(Settings(), (MethodCall("fused_loss"), MethodCall(other)), "bart")
