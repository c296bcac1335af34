"""The weights of a decoder as `FastDecoder` reads them: one shape for BART, PEGASUS and T5, projections joined.

Nothing of transformers' code is copied or replaced: its modules are read, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from kilowit.errors import PartError

VOCABULARY_MULTIPLE: Final = 128  # columns of logits are filled up to it: whole tiles for matrix products and top-k


@dataclass(frozen=True)
class Linear:
    """A matrix [outputs, inputs] and its bias."""

    weight: Any
    bias: Any  # None = none

    def __call__(self, states: Any) -> Any:
        """Return the states projected."""
        return functional.linear(states, self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """A layer norm, or T5's root mean square norm where there is no bias."""

    weight: Any
    bias: Any
    epsilon: float

    def __call__(self, states: Any) -> Any:
        """Return the states normed over their last dimension."""
        shape = self.weight.shape
        if self.bias is None:
            return functional.rms_norm(states, shape, self.weight, self.epsilon)
        return functional.layer_norm(states, shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class Layer:
    """One layer of a decoder."""

    num_heads: int
    head_width: int
    score_scale: float
    self_norm: Norm
    self_qkv: Linear
    self_out: Linear
    cross_norm: Norm
    cross_query: Linear
    cross_key_value: Linear
    cross_out: Linear
    ffn_norm: Norm
    ffn_in: tuple[Linear, ...]  # two where the feed-forward is gated: the first goes through the activation
    ffn_out: Linear
    activation: Callable[[Any], Any]


@dataclass(frozen=True)
class DecoderWeights:
    """All that turns written tokens and a read source into the next tokens' logits."""

    layers: tuple[Layer, ...]
    is_pre_norm: bool  # the norm comes before a block (PEGASUS, T5) or after its residual (BART)
    embeddings: Any  # [V, D]
    embedding_scale: float
    positions: Any  # [T, D]; None = T5, which has a bias in its place
    position_bias: Callable[[int], Any] | None  # T -> [H, T, T], query by key
    embedding_norm: Norm | None
    final_norm: Norm | None
    output_scale: float
    head: Linear  # [V filled up to VOCABULARY_MULTIPLE, D]; what is added has logits of -inf
    vocabulary_size: int


def read_decoder(model: Any) -> DecoderWeights:
    """Read the decoder of a BART, PEGASUS or T5 in memory.

    Raises:
        PartError: another architecture, or layers that are not plain matrices (8-bit, LoRA).
    """
    kind = model.config.model_type
    if kind in ("t5", "mt5"):
        return _read_t5(model)
    if kind in ("bart", "pegasus"):
        return _read_bart(model)
    raise PartError(f'torch_fast does not decode "{kind}"', hint="Take the runtime torch.")


def _read_bart(model: Any) -> DecoderWeights:
    decoder = model.get_decoder()
    table = decoder.embed_positions
    # BART's embedding scales by itself, PEGASUS's decoder does
    scale_holder = decoder.embed_tokens if hasattr(decoder.embed_tokens, "embed_scale") else decoder
    embedding_norm = getattr(decoder, "layernorm_embedding", None)
    final_norm = getattr(decoder, "layer_norm", None)
    return DecoderWeights(
        layers=tuple(_bart_layer(layer) for layer in decoder.layers),
        is_pre_norm=model.config.model_type != "bart",
        embeddings=decoder.embed_tokens.weight.detach(),
        embedding_scale=float(scale_holder.embed_scale),
        positions=table.weight.detach()[getattr(table, "offset", 0) :],
        position_bias=None,
        embedding_norm=None if embedding_norm is None else _norm(embedding_norm),
        final_norm=None if final_norm is None else _norm(final_norm),
        output_scale=1.0,
        head=_head(model.lm_head, model.final_logits_bias[0]),
        vocabulary_size=model.lm_head.out_features,
    )


def _bart_layer(layer: Any) -> Layer:
    own, cross = layer.self_attn, layer.encoder_attn
    return Layer(
        num_heads=own.num_heads,
        head_width=own.head_dim,
        score_scale=own.scaling,
        self_norm=_norm(layer.self_attn_layer_norm),
        self_qkv=_joined(own.q_proj, own.k_proj, own.v_proj),
        self_out=_joined(own.out_proj),
        cross_norm=_norm(layer.encoder_attn_layer_norm),
        cross_query=_joined(cross.q_proj),
        cross_key_value=_joined(cross.k_proj, cross.v_proj),
        cross_out=_joined(cross.out_proj),
        ffn_norm=_norm(layer.final_layer_norm),
        ffn_in=(_joined(layer.fc1),),
        ffn_out=_joined(layer.fc2),
        activation=layer.activation_fn,
    )


def _read_t5(model: Any) -> DecoderWeights:
    decoder, config = model.get_decoder(), model.config
    # transformers 5.17 asks whether the embeddings are tied, 5.23 has a setting of its own
    is_scaled = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)
    attention = decoder.block[0].layer[0].SelfAttention
    return DecoderWeights(
        layers=tuple(_t5_layer(block.layer) for block in decoder.block),
        is_pre_norm=True,
        embeddings=decoder.embed_tokens.weight.detach(),
        embedding_scale=1.0,
        positions=None,
        position_bias=lambda length: attention.compute_bias(length, length)[0].detach(),
        embedding_norm=None,
        final_norm=_norm(decoder.final_layer_norm),
        output_scale=config.d_model**-0.5 if is_scaled else 1.0,
        head=_head(model.lm_head, None),
        vocabulary_size=model.lm_head.out_features,
    )


def _t5_layer(layer: Any) -> Layer:
    own, cross, dense = layer[0].SelfAttention, layer[1].EncDecAttention, layer[2].DenseReluDense
    gates = (dense.wi_0, dense.wi_1) if hasattr(dense, "wi_0") else (dense.wi,)
    return Layer(
        num_heads=own.n_heads,
        head_width=own.key_value_proj_dim,
        score_scale=1.0,
        self_norm=_norm(layer[0].layer_norm),
        self_qkv=_joined(own.q, own.k, own.v),
        self_out=_joined(own.o),
        cross_norm=_norm(layer[1].layer_norm),
        cross_query=_joined(cross.q),
        cross_key_value=_joined(cross.k, cross.v),
        cross_out=_joined(cross.o),
        ffn_norm=_norm(layer[2].layer_norm),
        ffn_in=tuple(_joined(gate) for gate in gates),
        ffn_out=_joined(dense.wo),
        activation=dense.act,
    )


def _joined(*modules: Any) -> Linear:
    """Join projections of one input into one matrix product."""
    for module in modules:
        if type(module) is not torch.nn.Linear:
            raise PartError(
                f"torch_fast reads plain matrices, this model has {type(module).__name__}",
                hint="Take the runtime torch, or merge what was added to the model.",
            )
    if len(modules) == 1:
        bias = modules[0].bias
        return Linear(modules[0].weight.detach(), None if bias is None else bias.detach())
    weight = torch.cat([module.weight.detach() for module in modules])
    return Linear(weight, None if modules[0].bias is None else torch.cat([module.bias.detach() for module in modules]))


def _norm(module: Any) -> Norm:
    bias = getattr(module, "bias", None)
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    return Norm(module.weight.detach(), None if bias is None else bias.detach(), epsilon)


def _head(module: Any, logits_bias: Any) -> Linear:
    """Fill the head up with rows that are never chosen; there is at least one, which bans can be thrown on."""
    weight_VD = module.weight.detach()
    num_added = VOCABULARY_MULTIPLE - weight_VD.shape[0] % VOCABULARY_MULTIPLE
    bias_V = weight_VD.new_zeros(len(weight_VD)) if logits_bias is None else logits_bias.to(weight_VD.dtype)
    if module.bias is not None:
        bias_V = bias_V + module.bias.detach()
    filled_VD = functional.pad(weight_VD, (0, 0, 0, num_added))
    return Linear(filled_VD, functional.pad(bias_V, (0, num_added), value=-torch.inf))
