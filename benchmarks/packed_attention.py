"""Does torch's varlen_attn train packed rows on this GPU: right, in a compiled layer too, and how fast?

    python benchmarks/packed_attention.py          # half a minute on one NVIDIA GPU, Ampere or newer

One layer's attention of BART-large over a packed row of SAMSum-like lengths: output and gradients beside those of the
padded reference in float32, plain and inside torch.compile, and the milliseconds of a forward and backward pass. Ends
with 1 if a result differs by more than bfloat16 rounding explains, or if compiling breaks the graph.
"""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

from bars import Bar, at_most, report
from train_data import MAX_SOURCE, MAX_TARGET, simulated

NUM_HEADS, WIDTH = 16, 64
NUM_PAIRS = 128
NUM_TIMED = 20
BOUND = 0.02  # of the largest value: bfloat16 keeps 8 bits, sums over a few hundred of them


def main() -> int:
    """Check and time the encoder's, the decoder's and the cross-attention."""
    import torch

    from kilowit.parts.packed import attend_fused, attend_padded

    if not torch.cuda.is_available():
        print("no CUDA device: nothing to check here (the CPU's attention is held by tests/unit/parts/test_packed.py)")
        return 0
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}", flush=True)
    split = simulated(NUM_PAIRS, 1000, seed=0)
    lengths = {"source": split.source_lengths, "target": split.target_lengths}
    zero = torch.zeros(1, dtype=torch.int32)
    bounds: dict[str, Any] = {
        f"{side}_bounds": torch.cat([zero, torch.tensor(rows).cumsum(0).int()]).cuda() for side, rows in lengths.items()
    }
    bounds |= {"source_longest": MAX_SOURCE, "target_longest": MAX_TARGET}
    found: list[Bar] = []
    for name, in_decoder, causal in (("encoder", False, False), ("decoder", True, True), ("cross", True, False)):
        module = SimpleNamespace(is_decoder=in_decoder, is_causal=causal)
        num_queries = sum(lengths["target" if in_decoder else "source"])
        num_keys = sum(lengths["target" if causal else "source"])
        torch.manual_seed(0)
        sides = [torch.randn(1, NUM_HEADS, n, WIDTH, device="cuda") for n in (num_queries, num_keys, num_keys)]
        expected = passes(partial(attend_padded, module), [side.clone() for side in sides], bounds)
        ways = {
            "plain": partial(attend_fused, module),
            "compiled": torch.compile(partial(attend_fused, module), fullgraph=True, dynamic=True),
            "padded": partial(attend_padded, module),
        }
        for way, attend in ways.items():
            try:
                half = [side.bfloat16() for side in sides]
                error = max(map(relative_error, passes(attend, half, bounds), expected))
                found.append(
                    at_most(f"{name}, {way}: error ({milliseconds(attend, half, bounds):.2f} ms)", error, BOUND, "")
                )
            except Exception as problem:  # a kernel that is missing is an answer, and the others are asked all the same
                print(f"{name}, {way}: {type(problem).__name__}: {str(problem)[:800]}", flush=True)
                found.append(Bar(f"{name}, {way}: runs", "no", "yes", False))
    return report("varlen_attn in bfloat16 beside the padded attention in float32", found)


def passes(attend: Any, sides: list[Any], bounds: dict[str, Any]) -> list[Any]:
    """Return the context and the gradients of query, key and value."""
    import torch

    sides = [side.detach().requires_grad_() for side in sides]
    context = attend(*sides, None, **bounds)[0]
    weight = torch.linspace(-1, 1, context.numel(), device=context.device).view_as(context)
    return [context.detach(), *torch.autograd.grad((context.float() * weight).sum(), sides)]


def relative_error(ours: Any, expected: Any) -> float:
    """Return the largest difference, in shares of the largest value."""
    return float((ours.float() - expected.float()).abs().max() / expected.abs().max())


def milliseconds(attend: Any, sides: list[Any], bounds: dict[str, Any]) -> float:
    """Return the time of a forward and a backward pass, by the device's clock."""
    import torch

    passes(attend, sides, bounds)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(NUM_TIMED):
        passes(attend, sides, bounds)
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / NUM_TIMED


if __name__ == "__main__":
    sys.exit(main())
