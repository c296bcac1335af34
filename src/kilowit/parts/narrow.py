"""Make an encoder-decoder slimmer: fewer attention heads and feed-forward units in every layer.

The matrices become really smaller; every layer keeps as many, so that one configuration describes them all. Used by the
method ``prune``; knows the layers of BART, PEGASUS and T5.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from kilowit.parts.shrink import config_key

_FFN_KEYS: Final = {"encoder": ("encoder_ffn_dim", "d_ff"), "decoder": ("decoder_ffn_dim", "d_ff")}
_SELF, _CROSS = ("self_attn", "SelfAttention"), ("encoder_attn", "EncDecAttention")
_PROJECTIONS: Final = (("q_proj", "k_proj", "v_proj", "out_proj"), ("q", "k", "v", "o"))
_FFN: Final = ((("fc1",), "fc2"), (("wi",), "wo"), (("wi_0", "wi_1"), "wo"))


def narrow(model: Any, heads_kept_fraction: float, ffn_kept_fraction: float) -> Any:
    """Return a copy with the heaviest heads and feed-forward units of every layer.

    A head weighs the norm of its value rows times that of its output columns, a unit the product of the norms of its
    rows and columns: what bounds its part in the residual stream. No data is read.

    Args:
        heads_kept_fraction: in (0, 1], of the heads of each attention; likewise `ffn_kept_fraction` of the units.
    """
    slim = copy.deepcopy(model)
    for side in ("encoder", "decoder"):
        stack = getattr(slim, f"get_{side}")()
        if ffn_kept_fraction < 1:
            width = _narrow_ffns(stack, ffn_kept_fraction)
            for config in (slim.config, stack.config):
                setattr(config, config_key(config, _FFN_KEYS[side]), width)
        if heads_kept_fraction < 1:
            _narrow_attentions(stack, heads_kept_fraction)
    if heads_kept_fraction < 1:
        parts = (slim, slim.get_encoder(), slim.get_decoder())
        for config in {id(part.config): part.config for part in parts}.values():  # BART's are one
            _write_heads(config, heads_kept_fraction)
    return slim


def load_narrowed(folder: Path, config: Any) -> Any:
    """Load a saved BART or PEGASUS whose attentions are narrower than the model: transformers alone cannot build it.

    Raises:
        OSError, SafetensorError: no ``model.safetensors``, or not the weights of this configuration.
    """
    from safetensors.torch import load_model
    from transformers import AutoModelForSeq2SeqLM, GenerationConfig

    whole = copy.deepcopy(config)
    num_heads = config.encoder_attention_heads
    whole.encoder_attention_heads = whole.decoder_attention_heads = config.d_model * num_heads // config.d_attention
    slim = narrow(AutoModelForSeq2SeqLM.from_config(whole), num_heads / whole.encoder_attention_heads, 1.0)
    load_model(slim, folder / "model.safetensors")
    if (folder / "generation_config.json").is_file():  # config.json may say no cache, as training left it
        slim.generation_config = GenerationConfig.from_pretrained(folder)
    return slim


def num_kept(number: int, fraction: float) -> int:
    """Return how many of `number` heads or units a fraction leaves: rounded, at least one.

    >>> num_kept(12, 0.75), num_kept(2, 0.1)
    (9, 1)
    """
    return max(1, round(number * fraction))


def matrix_weights(model: Any) -> dict[str, Any]:
    """Return the weight of every linear layer by its name, without the vocabulary head."""
    import torch

    head = model.get_output_embeddings()
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def _narrow_ffns(stack: Any, fraction: float) -> int:
    """Narrow every feed-forward of a stack; return the width that is left."""
    width = 0
    for module in stack.modules():
        for inner, outer in _FFN:
            if all(hasattr(module, name) for name in (*inner, outer)):
                width = num_kept(getattr(module, outer).in_features, fraction)
                _narrow_ffn(module, inner, outer, width)
    return width


def _narrow_ffn(module: Any, inner: Sequence[str], outer: str, width: int) -> None:
    weight = getattr(module, outer).weight.detach().norm(dim=0)
    for name in inner:
        weight = weight * getattr(module, name).weight.detach().norm(dim=1)
    kept = weight.topk(width).indices.sort().values
    for name in inner:
        setattr(module, name, _cut(getattr(module, name), rows=kept))
    setattr(module, outer, _cut(getattr(module, outer), columns=kept))


def _attentions(stack: Any, names: Sequence[str]) -> Iterator[Any]:
    return (module for name, module in stack.named_modules() if name.rpartition(".")[2] in names)


def _narrow_attentions(stack: Any, fraction: float) -> None:
    """Narrow every attention of a stack.

    T5 adds one bias per head to the scores of all self-attentions of a stack: they must all keep the same heads.
    """
    import torch

    own, cross = list(_attentions(stack, _SELF)), list(_attentions(stack, _CROSS))
    weights = [_head_weights(attention) for attention in own]
    tables = [attention for attention in own if hasattr(attention, "relative_attention_bias")]
    if tables:
        weights = [torch.stack(weights).sum(dim=0)] * len(own)
    for attention, weight in zip((*own, *cross), (*weights, *map(_head_weights, cross)), strict=True):
        kept = weight.topk(num_kept(len(weight), fraction)).indices.sort().values
        _narrow_attention(attention, kept)
        if attention in tables:
            table = attention.relative_attention_bias.weight.detach()[:, kept].clone()
            attention.relative_attention_bias = torch.nn.Embedding.from_pretrained(table, freeze=False)


def _projections(attention: Any) -> tuple[str, str, str, str]:
    return next(names for names in _PROJECTIONS if hasattr(attention, names[0]))


def _head_key(attention: Any) -> str:
    return config_key(attention, ("num_heads", "n_heads"))


def _head_weights(attention: Any) -> Any:
    _, _, value, output = _projections(attention)
    num_heads = getattr(attention, _head_key(attention))
    values_HX = getattr(attention, value).weight.detach().reshape(num_heads, -1)
    outputs_HX = getattr(attention, output).weight.detach().T.reshape(num_heads, -1)
    return values_HX.norm(dim=1) * outputs_HX.norm(dim=1)


def _narrow_attention(attention: Any, kept: Any) -> None:
    import torch

    *inner, output = _projections(attention)
    key = _head_key(attention)
    head_width = getattr(attention, output).in_features // getattr(attention, key)
    positions = (kept[:, None] * head_width + torch.arange(head_width, device=kept.device)).flatten()
    for name in inner:
        setattr(attention, name, _cut(getattr(attention, name), rows=positions))
    setattr(attention, output, _cut(getattr(attention, output), columns=positions))
    setattr(attention, key, len(kept))
    if hasattr(attention, "inner_dim"):  # T5
        attention.inner_dim = len(positions)


def _cut(linear: Any, rows: Any = None, columns: Any = None) -> Any:
    """Return a linear layer with these outputs (`rows`) or inputs (`columns`) alone."""
    import torch

    weight, bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    small = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    small.weight = torch.nn.Parameter(weight.clone())
    if bias is not None:
        small.bias = torch.nn.Parameter(bias.clone())
    return small


def _write_heads(config: Any, fraction: float) -> None:
    """Write the number of heads that is left, and, for BART, how wide an attention then is."""
    if hasattr(config, "d_kv"):  # T5: an attention is as wide as its heads
        config.num_heads = num_kept(config.num_heads, fraction)
        return
    head_width = config.d_model // config.encoder_attention_heads
    for key in ("encoder_attention_heads", "decoder_attention_heads"):
        setattr(config, key, num_kept(getattr(config, key), fraction))
    config.d_attention = config.encoder_attention_heads * head_width
