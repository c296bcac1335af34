"""FLOPs of one training step as torch counts them: the check on the formula, and the share of the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class StepFlop:
    """What one forward and backward pass over one batch took, padding included."""

    forward: int
    total: int

    @property
    def per_forward(self) -> float:
        """Total over forward: 3 when all is trained, less where gradients are left out."""
        return self.total / self.forward


def count_step(
    forward: Callable[[], Any], backward: Callable[[Any], None], device: torch.device, *, is_compiled: bool = False
) -> StepFlop:
    """Run one step under torch's FlopCounterMode.

    On a CPU the fused attention has no entry in torch's table and would count 0: the plain one is used for this step.
    What is compiled runs plainly for this step: torch compiles nothing, ever, that it first meets under the counter.
    """
    plain_calls = torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()
    plain_attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with plain_calls, plain_attention, FlopCounterMode(display=False) as counter:
        loss = forward()
        forward_flop = counter.get_total_flops()
        backward(loss)
        total_flop = counter.get_total_flops()
    return StepFlop(forward_flop, total_flop)
