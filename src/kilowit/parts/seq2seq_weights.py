"""The weights of an encoder-decoder under names of our own, so that one exporter does for every family it knows.

Reads the state dicts of BART, PEGASUS, BigBird-PEGASUS with full attention, T5 and mT5, pruned ones too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from kilowit.errors import PartError

FAMILIES: Final = ("bart", "bigbird_pegasus", "mt5", "pegasus", "t5")
BART_OFFSET: Final = 2  # rows that BART's position table has before position 0
LAYER_NORM_EPSILON: Final = 1e-5  # torch.nn.LayerNorm's


class Linear(NamedTuple):
    """A linear layer: weight [out, in], bias [out] or None."""

    weight: Any
    bias: Any = None


class Norm(NamedTuple):
    """A layer norm; root mean square where it has no bias."""

    weight: Any
    bias: Any = None


@dataclass(frozen=True)
class Attention:
    """The four projections of an attention; queries come scaled."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear


@dataclass(frozen=True)
class Layer:
    """One layer; `cross` and its norm are the decoder's."""

    attention: Attention
    attention_norm: Norm
    cross: Attention | None
    cross_norm: Norm | None
    inner: tuple[Linear, ...]  # two where the second's product gates the first's activation
    outer: Linear
    ffn_norm: Norm


@dataclass(frozen=True)
class Stack:
    """The layers of one side, with what comes before and after them."""

    layers: tuple[Layer, ...]
    num_heads: int
    positions: Any  # [P, D], or None
    distance_bias: Any  # [H, 2 x furthest + 1] added to scores by distance, clipped; or None
    embedding_norm: Norm | None
    final_norm: Norm | None


@dataclass(frozen=True)
class Seq2Seq:
    """A whole model."""

    encoder: Stack
    decoder: Stack
    embeddings: Any  # [V, D], scaled
    head: Linear
    norms_first: bool
    activation: Literal["gelu", "gelu_new", "relu"]
    epsilon: float


def read_weights(model: Any) -> Seq2Seq:
    """Return a transformers model's weights as float32 arrays.

    Raises:
        PartError: a family or a variant of one that is not known here.
    """
    config = model.config.to_dict()
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in model.state_dict().items()}
    kind = config["model_type"]
    if config.get("max_encoder_keys") or config.get("attention_type", "original_full") != "original_full":
        raise PartError(f"no export of a {kind} with sparse attention", hint="Take the runtime torch.")
    if kind in ("t5", "mt5"):
        return _t5(config, arrays)
    if kind in ("bart", "pegasus", "bigbird_pegasus"):
        return _bart(config, arrays)
    raise PartError(f'no export of model type "{kind}"', hint=f"Known: {', '.join(FAMILIES)}.")


def _attention(arrays: Mapping[str, Any], names: tuple[str, str, str, str], scale: float) -> Attention:
    def linear(name: str, factor: float = 1.0) -> Linear:
        bias = arrays.get(f"{name}.bias")
        return Linear(
            arrays[f"{name}.weight"] * np.float32(factor), None if bias is None else bias * np.float32(factor)
        )

    query, key, value, output = names
    return Attention(linear(query, scale), linear(key), linear(value), linear(output))


def _bart(config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Seq2Seq:
    kind = config["model_type"]
    if config["activation_function"] not in ("gelu", "gelu_new", "relu"):
        raise PartError(f"no export of the activation {config['activation_function']}", hint="Take the runtime torch.")
    scale = math.sqrt(config["d_model"]) if config.get("scale_embedding") else 1.0
    return Seq2Seq(
        encoder=_bart_stack("encoder", config, arrays),
        decoder=_bart_stack("decoder", config, arrays),
        embeddings=arrays["model.shared.weight"] * np.float32(scale),
        head=Linear(arrays["lm_head.weight"], arrays["final_logits_bias"][0]),
        norms_first=kind != "bart",
        activation=config["activation_function"],
        epsilon=LAYER_NORM_EPSILON,
    )


def _bart_stack(side: str, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Stack:
    kind, num_heads = config["model_type"], int(config[f"{side}_attention_heads"])
    prefix = f"model.{side}."

    def norm(name: str) -> Norm | None:
        weight = arrays.get(f"{prefix}{name}.weight")
        return None if weight is None else Norm(weight, arrays[f"{prefix}{name}.bias"])

    def attention(name: str) -> Attention:
        inner = ("q_proj", "k_proj", "v_proj", "out_proj")
        if kind == "bigbird_pegasus" and side == "encoder":
            inner = ("self.query", "self.key", "self.value", "output")
        query, key, value, output = (f"{prefix}{name}.{part}" for part in inner)
        width = arrays[f"{query}.weight"].shape[0] // num_heads
        return _attention(arrays, (query, key, value, output), width**-0.5)

    def linear(name: str) -> Linear:
        return Linear(arrays[f"{prefix}{name}.weight"], arrays[f"{prefix}{name}.bias"])

    layers = tuple(
        Layer(
            attention(f"layers.{i}.self_attn"),
            _present(norm(f"layers.{i}.self_attn_layer_norm")),
            attention(f"layers.{i}.encoder_attn") if side == "decoder" else None,
            norm(f"layers.{i}.encoder_attn_layer_norm"),
            (linear(f"layers.{i}.fc1"),),
            linear(f"layers.{i}.fc2"),
            _present(norm(f"layers.{i}.final_layer_norm")),
        )
        for i in range(int(config[f"{side}_layers"]))
    )
    positions = arrays[f"{prefix}embed_positions.weight"][BART_OFFSET if kind == "bart" else 0 :]
    early, late = norm("layernorm_embedding"), norm("layer_norm")
    if kind == "bigbird_pegasus":  # its norm of that name comes after the layers
        early, late = None, early
    return Stack(layers, num_heads, positions, None, early, late)


def _present(norm: Norm | None) -> Norm:
    assert norm is not None
    return norm


def _t5(config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Seq2Seq:
    activation = config["dense_act_fn"]
    if activation not in ("gelu", "gelu_new", "relu"):
        raise PartError(f"no export of the activation {activation}", hint="Take the runtime torch.")
    # T5 v1.1 has a head of its own and no scale; transformers 5 notes which in `scale_decoder_outputs`.
    scales = config.get("scale_decoder_outputs", config["model_type"] == "t5")
    head = arrays["lm_head.weight"] * np.float32(config["d_model"] ** -0.5 if scales else 1.0)
    return Seq2Seq(
        encoder=_t5_stack("encoder", config, arrays),
        decoder=_t5_stack("decoder", config, arrays),
        embeddings=arrays["shared.weight"],
        head=Linear(head),
        norms_first=True,
        activation=activation,
        epsilon=float(config["layer_norm_epsilon"]),
    )


def _t5_stack(side: str, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Stack:
    is_decoder = side == "decoder"

    def attention(name: str) -> Attention:
        query, key, value, output = (f"{name}.{part}" for part in "qkvo")
        return _attention(arrays, (query, key, value, output), 1.0)

    def layer(i: int) -> Layer:
        prefix = f"{side}.block.{i}.layer"
        last = f"{prefix}.{2 if is_decoder else 1}"
        ffn = f"{last}.DenseReluDense"
        inner = ("wi_0", "wi_1") if f"{ffn}.wi_0.weight" in arrays else ("wi",)
        return Layer(
            attention(f"{prefix}.0.SelfAttention"),
            Norm(arrays[f"{prefix}.0.layer_norm.weight"]),
            attention(f"{prefix}.1.EncDecAttention") if is_decoder else None,
            Norm(arrays[f"{prefix}.1.layer_norm.weight"]) if is_decoder else None,
            tuple(Linear(arrays[f"{ffn}.{name}.weight"]) for name in inner),
            Linear(arrays[f"{ffn}.wo.weight"]),
            Norm(arrays[f"{last}.layer_norm.weight"]),
        )

    num_layers = config["num_decoder_layers"] if is_decoder else config["num_layers"]
    table = arrays[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    furthest = int(config["relative_attention_max_distance"])
    distances = np.arange(-furthest, furthest + 1)
    buckets = distance_buckets(distances, table.shape[0], furthest, both_ways=not is_decoder)
    final = Norm(arrays[f"{side}.final_layer_norm.weight"])
    return Stack(
        tuple(map(layer, range(num_layers))), table.shape[1], None, np.ascontiguousarray(table[buckets].T), None, final
    )


def distance_buckets(distances: Any, num_buckets: int, furthest: int, *, both_ways: bool) -> Any:
    """Return the bucket of each distance (key's position less query's): exact when near, logarithmic when far.

    Source: Raffel et al. 2019, arXiv 1910.10683, section 2.1; float32 as transformers computes it.
    """
    after = np.zeros_like(distances)
    if both_ways:
        num_buckets //= 2
        after = (distances > 0) * num_buckets
    away = np.abs(distances) if both_ways else np.maximum(-distances, 0)
    num_exact = num_buckets // 2
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(num_exact)) / math.log(furthest / num_exact)
    far = np.minimum(num_exact + (ratio * (num_buckets - num_exact)).astype(np.int64), num_buckets - 1)
    return after + np.where(away < num_exact, away, far)
