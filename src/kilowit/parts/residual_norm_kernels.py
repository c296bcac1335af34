"""Layer norm of a residual and states with dropout, forward and backward, in Triton, which torch brings for CUDA.

Which numbers are dropped is drawn anew in the backward pass, from the seed of the forward pass, and never kept.
What it saves on an H100 is in docs/results/train-frugal.md.

Shapes: N rows, all leading dimensions together; W their width.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import torch
import triton
import triton.language as tl

# The parameters of kernels have no types: Triton reads annotations, and knows none but its own.
NUM_ROUNDS: Final = 7  # of Philox: enough for BigCrush (Salmon et al. 2011, doi 10.1145/2063384.2063405)
NUM_WARPS: Final = 4
PROGRAMS_PER_PROCESSOR: Final = 8  # of the backward pass: each sums the gradients of weight and bias over its rows
LARGEST_SEED: Final = 2**31 - 1
_ALIGNED_ROWS: Final = 8  # Triton compiles anew for addresses that are no multiples of 16; recorded rows are such


@triton.jit  # type: ignore[untyped-decorator]
def drawn_row(seed, row, BLOCK: tl.constexpr, ROUNDS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Draw a row of numbers in [0, 1): Philox gives four at once."""
    a, b, c, d = tl.rand4x(seed, row * (BLOCK // 4) + tl.arange(0, BLOCK // 4), ROUNDS)
    return tl.reshape(tl.join(tl.join(a, b), tl.join(c, d)), (BLOCK,))


@triton.jit(do_not_specialize=["probability", "epsilon"])  # type: ignore[untyped-decorator]
def forward_kernel(  # type: ignore[no-untyped-def]
    states, residual, weight, bias, seed, norm, total, means, scales,
    probability, epsilon, WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Compute a row; `means` and `scales` (1 / standard deviation) are for the backward pass."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    at = row * WIDTH + column
    kept = drawn_row(tl.load(seed), row, BLOCK, ROUNDS) >= probability
    value = tl.load(states + at, mask=inside, other=0.0).to(tl.float32) / (1 - probability)
    value = tl.load(residual + at, mask=inside, other=0.0).to(tl.float32) + tl.where(kept, value, 0.0)
    value = value.to(total.dtype.element_ty).to(tl.float32)  # as the backward pass will read it
    mean = tl.sum(value) / WIDTH
    away = tl.where(inside, value - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(away * away) / WIDTH + epsilon)
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(total + at, value, mask=inside)
    tl.store(norm + at, away * scale * gain + shift, mask=inside)
    tl.store(means + row, mean)
    tl.store(scales + row, scale)


@triton.jit(do_not_specialize=["num_rows", "probability"])  # type: ignore[untyped-decorator]
def backward_kernel(  # type: ignore[no-untyped-def]
    d_norm, total, weight, seed, means, scales, d_states, d_residual,
    d_weights, d_biases, num_rows, probability,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Compute every n-th row, with n programs, and their part of the gradients of weight and bias."""
    program = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    start = tl.load(seed)
    d_gain = tl.zeros((BLOCK,), dtype=tl.float32)
    d_shift = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(program, num_rows, tl.num_programs(0)):
        at = row * WIDTH + column
        gradient = tl.load(d_norm + at, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(total + at, mask=inside, other=0.0).to(tl.float32)
        scale = tl.load(scales + row)
        unit = tl.where(inside, (value - tl.load(means + row)) * scale, 0.0)
        d_gain += gradient * unit
        d_shift += gradient
        scaled = gradient * gain
        along = tl.sum(scaled * unit) / WIDTH
        d_value = (scaled - unit * along - tl.sum(scaled) / WIDTH) * scale
        kept = drawn_row(start, row, BLOCK, ROUNDS) >= probability
        tl.store(d_residual + at, d_value, mask=inside)
        tl.store(d_states + at, tl.where(kept, d_value / (1 - probability), 0.0), mask=inside)
    tl.store(d_weights + program * WIDTH + column, d_gain, mask=inside)
    tl.store(d_biases + program * WIDTH + column, d_shift, mask=inside)


class ResidualNorms:
    """The kernels for bfloat16, compiled beside what the host does until they are asked for.

    Args:
        width: of the rows, which hold fewer than 2**31 numbers together.
        device: a CUDA device.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.width, self.device = width, torch.empty(0, device=device).device  # with its number
        self.constants = {"WIDTH": width, "BLOCK": triton.next_power_of_2(width), "ROUNDS": NUM_ROUNDS}
        self.num_programs = PROGRAMS_PER_PROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count
        self.compiling = threading.Thread(target=self._compile, daemon=True)
        self.compiling.start()

    def _compile(self) -> None:
        """Launch both once: Triton compiles a kernel, and what calls it, as it is first launched."""
        with torch.cuda.device(self.device), torch.cuda.stream(stream := torch.cuda.Stream(self.device)):
            rows = torch.zeros((_ALIGNED_ROWS, self.width), dtype=torch.bfloat16, device=self.device)
            seed = torch.zeros(1, dtype=torch.int32, device=self.device)
            _, total, means, scales = self.forward(rows, rows, rows[0], rows[0], seed, 0.5, 1e-5)
            self.backward(rows, total, means, scales, rows[0], seed, 0.5)
            stream.synchronize()

    def load(self) -> None:
        """Wait for the kernels: what is recorded must find them loaded."""
        self.compiling.join()

    def norm(self, states: Any, residual: Any, weight: Any, bias: Any, probability: float, epsilon: float) -> Any:
        """Return ``layer_norm(residual + dropout(states))``, [..., W]."""
        return _ResidualNorm.apply(states, residual, weight, bias, probability, epsilon, self)

    def forward(
        self, states: Any, residual: Any, weight: Any, bias: Any, seed: Any, probability: float, epsilon: float
    ) -> tuple[Any, Any, Any, Any]:
        """Return the norm and what `backward` reads: the sum, [..., W], and means and scales of the rows, [N]."""
        norm, total = torch.empty_like(states), torch.empty_like(states)
        num_rows = states.numel() // self.width
        means, scales = (states.new_empty(num_rows, dtype=torch.float32) for _ in range(2))
        forward_kernel[(num_rows,)](
            states, residual, weight, bias, seed, norm, total, means, scales, probability, epsilon,
            **self.constants, num_warps=NUM_WARPS,
        )  # fmt: skip
        return norm, total, means, scales

    def backward(
        self, d_norm: Any, total: Any, means: Any, scales: Any, weight: Any, seed: Any, probability: float
    ) -> tuple[Any, Any, Any, Any]:
        """Return the gradients of states, residual, weight and bias."""
        d_states, d_residual = torch.empty_like(total), torch.empty_like(total)
        num_programs = min(len(means), self.num_programs)
        parts = total.new_empty((2, num_programs, self.width), dtype=torch.float32)
        backward_kernel[(num_programs,)](
            d_norm, total, weight, seed, means, scales, d_states, d_residual, *parts, len(means), probability,
            **self.constants, num_warps=NUM_WARPS,
        )  # fmt: skip
        d_weight, d_bias = parts.sum(dim=1).to(weight.dtype)
        return d_states, d_residual, d_weight, d_bias


class _ResidualNorm(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, states: Any, residual: Any, weight: Any, bias: Any, probability: float, epsilon: float,
        kernels: ResidualNorms,
    ) -> Any:  # fmt: skip
        seed = torch.randint(LARGEST_SEED, (1,), dtype=torch.int32, device=states.device)
        norm, *kept = kernels.forward(
            states.contiguous(), residual.contiguous(), weight, bias, seed, probability, epsilon
        )
        ctx.save_for_backward(*kept, weight, seed)
        ctx.kernels, ctx.probability = kernels, probability
        return norm

    @staticmethod
    def backward(ctx: Any, d_norm: Any) -> tuple[Any, ...]:
        gradients = ctx.kernels.backward(d_norm.contiguous(), *ctx.saved_tensors, ctx.probability)
        return (*gradients, None, None, None)
