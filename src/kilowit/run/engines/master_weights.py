"""Weights in bfloat16 for the passes, in float32 for the optimizer: a step too small for bfloat16 is not lost."""

from __future__ import annotations

from typing import Any, Final

import torch

ALIGNMENT: Final = 64  # numbers; where a master begins in a row of them, so that copies can be wide
LONGEST_ROW: Final = 2**30  # numbers; kernels over many tensors count what is in one of them in 32 bits


class MasterWeights:
    """Turns a model to bfloat16 and keeps the trained weights in float32, in the place of `groups` for the optimizer.

    A step is `take_gradients`, clipping and the optimizer on the masters, `write_back`; `give_back` ends it all.

    Args:
        model: in float32; its parameters stay the same objects.
        groups: the optimizer's parameter groups; their parameters are exchanged for the masters, in place.
        in_rows: lay the masters of a group end to end, as one parameter or a few: for an optimizer that treats each
            number alone.
    """

    def __init__(self, model: Any, groups: list[dict[str, Any]], *, in_rows: bool = False) -> None:
        self.model = model
        self.weights = [parameter for group in groups for parameter in group["params"]]
        self.masters: list[Any] = []  # one for each weight
        self.gradients: list[Any] = []  # of the masters, where they lie; in rows alone
        self.rows: list[Any] = []
        for group in groups:
            if in_rows:
                group["params"] = [self._row(weights) for weights in _cut(group["params"])]
            else:
                group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]
                self.masters += group["params"]
        untrained = [
            *((name, p) for name, p in model.named_parameters() if not p.requires_grad),
            *model.named_buffers(),
        ]
        self.frozen = {name: value.detach().clone() for name, value in untrained}
        model.to(torch.bfloat16)

    def _row(self, weights: list[Any]) -> Any:
        """Return one parameter that holds the masters of `weights`, and keep where each and its gradient lie."""
        starts, end = [], 0
        for weight in weights:
            starts.append(end)
            end += weight.numel() + -weight.numel() % ALIGNMENT
        row = torch.nn.Parameter(torch.zeros(end, device=weights[0].device))
        row.grad = torch.zeros_like(row)
        for start, weight in zip(starts, weights, strict=True):
            place = slice(start, start + weight.numel())
            self.masters.append(row.detach()[place].view_as(weight))
            self.gradients.append(row.grad[place].view_as(weight))
        torch._foreach_copy_(self.masters[-len(weights) :], [weight.detach() for weight in weights])
        self.rows.append(row)
        return row

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def take_gradients(self) -> None:
        """Give the masters the gradients in float32 and let go of those in bfloat16."""
        if self.rows:
            self._take_in_rows()
            return
        pairs = [(w, m) for w, m in zip(self.weights, self.masters, strict=True) if w.grad is not None]
        gradients = [torch.empty_like(master) for _, master in pairs]
        torch._foreach_copy_(gradients, [weight.grad for weight, _ in pairs])
        for (weight, master), gradient in zip(pairs, gradients, strict=True):
            master.grad, weight.grad = gradient, None

    def _take_in_rows(self) -> None:
        pairs = [(w, g) for w, g in zip(self.weights, self.gradients, strict=True) if w.grad is not None]
        if len(pairs) < len(self.weights):  # no gradient is a gradient of 0 here
            torch._foreach_zero_([row.grad for row in self.rows])
        torch._foreach_copy_([gradient for _, gradient in pairs], [weight.grad for weight, _ in pairs])
        for weight, _ in pairs:
            weight.grad = None

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def write_back(self) -> None:
        """Round the masters into the weights."""
        torch._foreach_copy_(self.weights, self.masters)
        if not self.rows:
            for master in self.masters:
                master.grad = None

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def give_back(self) -> None:
        """Turn the model to float32 again, with the masters, and what was frozen, as its weights."""
        self.model.float()
        torch._foreach_copy_(self.weights, self.masters)
        now = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        for name, value in self.frozen.items():
            now[name].copy_(value)


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
