"""Weights laid end to end: the same steps as masters apart; and the optimizer that steps on rows is AdamW."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from kilowit.run.engines import weight_rows
from kilowit.run.engines.master_weights import MasterWeights
from kilowit.run.engines.weight_rows import WeightRows

LEARNING_RATE = 1e-2


def groups_of(model: Any) -> list[dict[str, Any]]:
    decayed, plain = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]


def small_model(device: str = "cpu") -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 3)).to(device)


def pass_back(model: Any, number: int) -> None:
    """Give gradients that do not depend on the weights: what differs then is the step."""
    generator = torch.Generator().manual_seed(number)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.grad = torch.randn(weight.shape, generator=generator).to(weight.device, weight.dtype)


def train_apart(model: Any, max_norm: float) -> None:
    groups = groups_of(model)
    master = MasterWeights(model, groups)
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    for number in range(4):
        pass_back(model, number)
        master.take_gradients()
        if max_norm:
            torch.nn.utils.clip_grad_norm_(master.masters, max_norm)
        optimizer.step()
        master.write_back()
    master.give_back()


def train_rows(model: Any, step: Callable[[list[dict[str, Any]]], Callable[[], None]]) -> None:
    groups = groups_of(model)
    master = WeightRows(model, groups)
    take_step = step(groups)
    for number in range(4):
        pass_back(model, number)
        master.take_gradients()
        assert all(weight.grad is None for weight in model.parameters())
        take_step()
        master.write_back()
    assert all(weight.dtype == torch.bfloat16 for weight in model.parameters())
    master.give_back()


def torchs_step(groups: list[dict[str, Any]]) -> Callable[[], None]:
    optimizer, rows = torch.optim.AdamW(groups, lr=LEARNING_RATE), [row for group in groups for row in group["params"]]

    def take() -> None:
        for row in rows:
            row.grad = row.gradients.float()
        optimizer.step()
        for row in rows:
            row.weights.copy_(row.detach())

    return take


@pytest.mark.parametrize("longest_row", [2**30, 80])
def test_rows_take_the_steps_of_masters_apart(longest_row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_rows, "LONGEST_ROW", longest_row)
    apart, in_rows = small_model(), small_model()
    train_apart(apart, 0.0)
    train_rows(in_rows, torchs_step)
    for ours, theirs in zip(in_rows.parameters(), apart.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_weight_without_a_gradient_has_one_of_zeros_and_not_that_of_the_step_before() -> None:
    model = small_model()
    master = WeightRows(model, groups_of(model))
    pass_back(model, 0)
    master.take_gradients()
    assert all(place.abs().sum() > 0 for place in master.gradients)
    for weight in list(model.parameters())[:2]:
        weight.requires_grad_(False)
    pass_back(model, 1)
    master.take_gradients()
    first = {weight.data_ptr(): place for weight, place in zip(master.weights, master.gradients, strict=True)}
    assert [bool(first[p.data_ptr()].any()) for p in model.parameters()] == [False, False, True, True]


def test_rows_are_cut_before_they_are_too_long() -> None:
    model = small_model()
    copied = copy.deepcopy(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_rows, "LONGEST_ROW", 80)
        groups = groups_of(model)
        WeightRows(model, groups)
    assert [len(group["params"]) for group in groups] == [2, 2]
    groups = groups_of(copied)
    WeightRows(copied, groups)
    assert [len(group["params"]) for group in groups] == [1, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("max_norm", [0.0, 0.3])
def test_the_optimizer_of_rows_is_torchs_on_a_gpu(max_norm: float) -> None:
    from kilowit.run.engines.row_adamw import RowAdamW

    apart, in_rows = small_model("cuda"), small_model("cuda")
    train_apart(apart, max_norm)
    train_rows(in_rows, lambda groups: RowAdamW(groups, LEARNING_RATE, (0.9, 0.999), 1e-8, max_norm).step)
    for ours, theirs in zip(in_rows.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
