"""Cross entropy from hidden states, without ever holding the logits of a whole batch.

The vocabulary head and the loss are taken together, some rows at a time, and the gradients at once with them: what is
kept for the backward pass is as large as the states and the head, not rows x vocabulary. One operator for torch, so
that its FLOPs are counted as what they are. Only the worker imports this module: it needs torch.

Shapes: N target tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.nn.functional import pad
from torch.utils.flop_counter import register_flop_formula

WIDTH_MULTIPLE: Final = 64  # words; half precision alone is padded up to it


def fused_loss_sum(
    hidden_ND: Any, head_VD: Any, labels_N: Any, *, bias_V: Any = None, label_smoothing: float = 0.0, num_rows: int
) -> Any:
    """Return the summed cross entropy of ``hidden @ head.T + bias``, 0-d, as torch's cross_entropy defines it.

    Args:
        labels_N: the tokens to predict; negative: none.
        num_rows: logits that are held at once, rows of them.

    Under autocast the products are in its format, as those of a linear layer would be. Its gradient cannot be
    differentiated again.
    """
    device = hidden_ND.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_ND, head_VD = hidden_ND.to(dtype), head_VD.to(dtype)
    bias_V = head_VD.new_zeros(0) if bias_V is None else bias_V.detach()
    needed = [torch.is_grad_enabled() and side.requires_grad for side in (hidden_ND, head_VD)]
    total, _, _ = fused_cross_entropy(hidden_ND, head_VD, bias_V, labels_N, label_smoothing, num_rows, *needed)
    return total


@torch.library.custom_op("kilowit::fused_cross_entropy", mutates_args=())  # type: ignore[untyped-decorator]
def fused_cross_entropy(
    hidden: torch.Tensor,
    head: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor,
    label_smoothing: float,
    num_rows: int,
    needs_hidden: bool,
    needs_head: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sum and its gradients by hidden and head; those that are not needed are empty.

    A negative label is no target: its row adds nothing, and nothing asks the device how many there are.

    The gradient of a smoothed loss by the logits is softmax - (1 - e) one-hot - e / V, with e the smoothing.
    """
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    d_hidden = torch.empty_like(hidden) if needs_hidden else hidden.new_empty(0)
    d_head: Any = None
    num_words = len(head)
    head, bias = _widened(head, bias)
    for start in range(0, len(labels), num_rows):
        states, targets = hidden[start : start + num_rows], labels[start : start + num_rows, None]
        is_target, targets = targets >= 0, targets.clamp(min=0)
        logits = torch.addmm(bias.flatten(), states, head.T) if bias.numel() else states @ head.T
        log_probability = logits.log_softmax(dim=1, dtype=torch.float32)
        losses = (label_smoothing - 1) * log_probability.gather(1, targets)
        if label_smoothing:
            losses -= label_smoothing * log_probability[:, :num_words].mean(dim=1, keepdim=True)
        total += (losses * is_target).sum()
        if not (needs_hidden or needs_head):
            continue
        own = log_probability.gather(1, targets).exp_() + (label_smoothing - 1)
        if label_smoothing:
            gradient = log_probability.exp_()
            gradient[:, :num_words] -= label_smoothing / num_words
            own, gradient = own - label_smoothing / num_words, gradient.to(logits.dtype)
        else:
            gradient = torch.exp(log_probability, out=logits)
        gradient.scatter_(1, targets, own.to(gradient.dtype))
        if needs_hidden:
            d_hidden[start : start + num_rows] = (gradient @ head) * is_target
        if needs_head:
            product = gradient.T @ (states * is_target)
            d_head = product if len(labels) <= num_rows else product.float() if d_head is None else d_head.add_(product)
    if d_head is None:
        return total, d_hidden, head.new_zeros((num_words, head.shape[1]) if needs_head else 0)
    return total, d_hidden, d_head[:num_words].to(head.dtype)


def _widened(head: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return head and bias with words that are never predicted, up to a width that tensor cores can read.

    BART's vocabulary of 50,265 is odd: on an H100 its three products took 9.7 ms, a third of all other products of a
    step together (torch 2.11, bfloat16, 3,600 targets; ours, profiled).
    """
    missing = -len(head) % WIDTH_MULTIPLE
    bias = bias.to(head.dtype)
    if head.element_size() != 2 or not missing:
        return head, bias
    bias = bias.flatten() if bias.numel() else head.new_zeros(len(head))
    return pad(head, (0, 0, 0, missing)), pad(bias, (0, missing), value=-torch.inf)


@fused_cross_entropy.register_fake  # type: ignore[untyped-decorator]
def _(
    hidden: Any, head: Any, bias: Any, labels: Any, smoothing: float, rows: int, hidden_too: bool, head_too: bool
) -> Any:
    d_hidden = torch.empty_like(hidden) if hidden_too else hidden.new_empty(0)
    return (
        hidden.new_empty((), dtype=torch.float32),
        d_hidden,
        torch.empty_like(head) if head_too else head.new_empty(0),
    )


@torch.library.custom_op("kilowit::fused_cross_entropy_backward", mutates_args=())  # type: ignore[untyped-decorator]
def fused_cross_entropy_backward(
    gradient: torch.Tensor, d_hidden: torch.Tensor, d_head: torch.Tensor, num_flop: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both gradients times that of the sum; `num_flop` is what they took, with the forward pass."""
    return d_hidden * gradient, d_head * gradient


@fused_cross_entropy_backward.register_fake  # type: ignore[untyped-decorator]
def _(gradient: Any, d_hidden: Any, d_head: Any, num_flop: int) -> Any:
    return torch.empty_like(d_hidden), torch.empty_like(d_head)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any, Any]) -> None:
    _, d_hidden, d_head = output
    ctx.needs = inputs[6:]
    ctx.num_flop = sum(ctx.needs) * 2 * len(inputs[3]) * inputs[1].numel()
    ctx.save_for_backward(d_hidden, d_head)


def _backward(ctx: Any, gradient: Any, *_: Any) -> Any:
    gradients = fused_cross_entropy_backward(gradient, *ctx.saved_tensors, ctx.num_flop)
    asked = [side if is_needed else None for side, is_needed in zip(gradients, ctx.needs, strict=True)]
    return (*asked, None, None, None, None, None, None)


fused_cross_entropy.register_autograd(_backward, setup_context=_save)


@register_flop_formula(torch.ops.kilowit.fused_cross_entropy)  # type: ignore[untyped-decorator]
def _forward_flop(hidden_shape: Any, head_shape: Any, *_: Any, **__: Any) -> int:
    return int(2 * hidden_shape[0] * head_shape[0] * head_shape[1])


@register_flop_formula(torch.ops.kilowit.fused_cross_entropy_backward)  # type: ignore[untyped-decorator]
def _backward_flop(gradient: Any, hidden_shape: Any, head_shape: Any, num_flop: int, *_: Any, **__: Any) -> int:
    return num_flop
