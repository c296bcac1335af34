"""Weights in bfloat16 for the passes, in float32 for the optimizer: a step too small for bfloat16 is not lost."""

from __future__ import annotations

from typing import Any

import torch


class MasterWeights:
    """Turns a model to bfloat16 and keeps the trained weights in float32, in the place of `groups` for the optimizer.

    A step is `take_gradients`, clipping and the optimizer on the masters, `write_back`; `give_back` ends it all.

    Args:
        model: in float32; its parameters stay the same objects.
        groups: the optimizer's parameter groups; their parameters are exchanged for the masters, in place.
    """

    def __init__(self, model: Any, groups: list[dict[str, Any]]) -> None:
        self.model = model
        self.weights = [parameter for group in groups for parameter in group["params"]]
        self.masters: list[Any] = []  # one for each weight
        for group in groups:
            group["params"] = self._make(group["params"])
        untrained = [
            *((name, p) for name, p in model.named_parameters() if not p.requires_grad),
            *model.named_buffers(),
        ]
        self.frozen = {name: value.detach().clone() for name, value in untrained}
        model.to(torch.bfloat16)

    def _make(self, weights: list[Any]) -> list[Any]:
        """Make the masters of a group and return what the optimizer steps on."""
        masters = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
        self.masters += masters
        return masters

    def take_gradients(self) -> None:
        """Give the masters the gradients in float32 and let go of those in bfloat16."""
        pairs = [(w, m) for w, m in zip(self.weights, self.masters, strict=True) if w.grad is not None]
        gradients = [torch.empty_like(master) for _, master in pairs]
        torch._foreach_copy_(gradients, [weight.grad for weight, _ in pairs])
        for (weight, master), gradient in zip(pairs, gradients, strict=True):
            master.grad, weight.grad = gradient, None

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def write_back(self) -> None:
        """Round the masters into the weights."""
        torch._foreach_copy_(self.weights, self.masters)
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
