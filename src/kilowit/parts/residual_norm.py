"""Dropout, residual sum and layer norm in one pass over memory, with the layers' code as it is: for recorded passes.

BART's layers write ``norm(residual + dropout(states))`` as three calls, each of which reads and writes all states. Here
dropout inside a layer returns a promise, the sum with it another, and a norm that is given a promised sum computes all
three at once; whatever else asks for a promise gets the tensor that it stands for. The kernels are in
`residual_norm_kernels`. Only the worker imports this module: it needs torch.

Shapes: N rows, all leading dimensions together; W their width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch.nn.functional import dropout, layer_norm
from torch.overrides import TorchFunctionMode

# states [..., W], residual [..., W], weight [W], bias [W], probability, epsilon
# -> layer_norm(residual + dropout(states)), [..., W].
FusedNorm = Callable[[Any, Any, Any, Any, float, float], Any]
# In these nothing but the norm reads a sum. (mBART and PEGASUS, whose norms come first, go on with the sum.)
_LAYERS: Final = ("BartEncoderLayer", "BartDecoderLayer")
_SUMS: Final = (torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.add)


@contextmanager
def fused_residuals(model: Any, fused_norm: FusedNorm) -> Iterator[None]:
    """Let BART's layers compute dropout, sum and norm at once; as they were afterwards. Other models stay."""
    layers = residual_layers(model)
    for layer in layers:
        layer.forward = partial(_promising, layer.forward, fused_norm)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def residual_layers(model: Any) -> list[Any]:
    """Return the layers that compute the norm of a residual sum, and nothing else of it."""
    return [module for module in model.modules() if type(module).__name__ in _LAYERS]


def _promising(forward: Callable[..., Any], fused_norm: FusedNorm, *args: Any, **kwargs: Any) -> Any:
    with _PromisedDropout(fused_norm):
        outputs = forward(*args, **kwargs)
    return tuple(map(settled, outputs)) if isinstance(outputs, tuple) else settled(outputs)


def settled(value: Any) -> Any:
    """Return the tensor that a promise stands for; anything else as it is."""
    return value.settle() if isinstance(value, _Promise) else value


class _PromisedDropout(TorchFunctionMode):  # type: ignore[misc]
    def __init__(self, fused_norm: FusedNorm) -> None:
        super().__init__()
        self.fused_norm = fused_norm

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is dropout and (promised := _promised(self.fused_norm, *args, **kwargs or {})) is not None:
            return promised
        return func(*args, **kwargs or {})


def _promised(
    fused_norm: FusedNorm, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False
) -> _Dropped | None:
    return _Dropped(input, p, fused_norm) if training and 0 < p < 1 and not inplace else None


class _Promise:
    """Stands for a tensor that nothing has asked for yet."""

    def __init__(self) -> None:
        self.tensor: Any = None

    def settle(self) -> Any:
        if self.tensor is None:
            self.tensor = self._compute()
        return self.tensor

    def _compute(self) -> Any:
        raise AssertionError("each promise knows what it stands for")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settle(), name)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _SUMS and len(args) == 2 and not kwargs:
            first, second = args
            dropped, other = (second, first) if isinstance(second, _Dropped) else (first, second)
            if isinstance(dropped, _Dropped) and dropped.tensor is None and not isinstance(other, _Dropped):
                return _Summed(dropped, settled(other))
        if func is layer_norm and isinstance(args[0], _Summed):
            return args[0].normalized(*args[1:], **kwargs or {})
        given = {name: settled(value) for name, value in (kwargs or {}).items()}
        return func(*map(settled, args), **given)


class _Dropped(_Promise):
    """Of states with dropout."""

    def __init__(self, states: Any, probability: float, fused_norm: FusedNorm) -> None:
        super().__init__()
        self.states, self.probability, self.fused_norm = states, probability, fused_norm

    def _compute(self) -> Any:
        return torch.dropout(self.states, self.probability, True)  # which nothing intercepts

    def __add__(self, other: Any) -> Any:
        return torch.add(self, other)

    __radd__ = __add__


class _Summed(_Promise):
    """Of a residual sum."""

    def __init__(self, dropped: _Dropped, residual: Any) -> None:
        super().__init__()
        self.dropped, self.residual, self.is_spent = dropped, residual, False

    def _compute(self) -> Any:
        assert not self.is_spent, "nothing but the norm reads a sum in these layers"
        return self.residual + self.dropped.settle()

    def normalized(self, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
        states, residual = self.dropped.states, self.residual
        is_plain = weight is None or bias is None or states.shape != residual.shape or states.dtype != residual.dtype
        if is_plain or self.tensor is not None or self.dropped.tensor is not None:
            return layer_norm(self.settle(), shape, weight, bias, eps)
        self.is_spent = True  # its dropout is drawn, and was not kept
        return self.dropped.fused_norm(states, residual, weight, bias, self.dropped.probability, eps)
