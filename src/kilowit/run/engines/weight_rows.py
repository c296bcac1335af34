"""Weights, gradients and masters laid end to end: an optimizer that treats each number alone steps in one launch."""

from __future__ import annotations

from typing import Any, Final

import torch

from kilowit.run.engines.master_weights import MasterWeights

ALIGNMENT: Final = 64  # numbers; where a weight begins in a row, so that copies can be wide
LONGEST_ROW: Final = 2**30  # numbers; kernels count what is in a row in 32 bits


class WeightRows(MasterWeights):
    """Masters in rows, which are the optimizer's parameters; beside each, ``weights`` and ``gradients`` in bfloat16.

    The model's weights are views of the rows: the optimizer writes them itself, and `write_back` has nothing to do. A
    weight without a gradient has one of zeros here.
    """

    def __init__(self, model: Any, groups: list[dict[str, Any]]) -> None:
        self.rows: list[Any] = []
        self.gradients: list[Any] = []  # one for each weight, where it lies
        places: list[Any] = []
        self._places = places
        super().__init__(model, groups)
        for weight, place in zip(self.weights, places, strict=True):
            place.copy_(weight.detach())
            weight.data = place

    def _make(self, weights: list[Any]) -> list[Any]:
        rows = [self._row(part) for part in _cut(weights)]
        self.rows += rows
        return rows

    def _row(self, weights: list[Any]) -> Any:
        starts, length = [], 0
        for weight in weights:
            starts.append(length)
            length += weight.numel() + -weight.numel() % ALIGNMENT
        row = torch.nn.Parameter(torch.zeros(length, device=weights[0].device))
        row.weights, row.gradients = (torch.zeros_like(row, dtype=torch.bfloat16).detach() for _ in range(2))
        for start, weight in zip(starts, weights, strict=True):
            sides = (self.masters, row.detach()), (self.gradients, row.gradients), (self._places, row.weights)
            for found, side in sides:
                found.append(side[start : start + weight.numel()].view_as(weight))
            self.masters[-1].copy_(weight.detach())
        return row

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def take_gradients(self) -> None:
        """Lay the gradients in their rows and let go of them where they were."""
        pairs = [(w, place) for w, place in zip(self.weights, self.gradients, strict=True) if w.grad is not None]
        if len(pairs) < len(self.weights):
            torch._foreach_zero_([row.gradients for row in self.rows])
        torch._foreach_copy_([place for _, place in pairs], [weight.grad for weight, _ in pairs])
        for weight, _ in pairs:
            weight.grad = None

    def write_back(self) -> None:
        """Do nothing: the optimizer has written the weights."""


def _cut(weights: list[Any]) -> list[list[Any]]:
    """Cut a list where a row of it would be too long."""
    rows: list[list[Any]] = []
    length = LONGEST_ROW
    for weight in weights:
        length += weight.numel() + ALIGNMENT
        if length > LONGEST_ROW:
            rows.append([])
            length = weight.numel() + ALIGNMENT
        rows[-1].append(weight)
    return rows
