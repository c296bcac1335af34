"""Masters laid end to end: the same steps as masters apart."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from kilowit.run.engines import master_weights
from kilowit.run.engines.master_weights import MasterWeights


def trained(model: Any, *, in_rows: bool) -> Any:
    decayed, plain = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    master = MasterWeights(model, groups, in_rows=in_rows)
    optimizer = torch.optim.AdamW(groups, lr=1e-2, fused=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        inputs = torch.randn(6, 5, generator=generator).bfloat16()
        model(inputs).float().square().sum().backward()
        master.take_gradients()
        optimizer.step()
        master.write_back()
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    master.give_back()
    return [len(group["params"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("longest_row", [2**30, 80])
def test_masters_in_rows_take_the_steps_of_masters_apart(longest_row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_weights, "LONGEST_ROW", longest_row)
    torch.manual_seed(0)
    apart = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 3))
    in_rows = copy.deepcopy(apart)
    assert trained(apart, in_rows=False) == [2, 2]
    assert trained(in_rows, in_rows=True) == ([1, 1] if longest_row > 80 else [2, 2])
    for ours, theirs in zip(in_rows.parameters(), apart.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
