"""LongT5: T5 for long documents, with local or transient-global attention in the encoder.

What it is     T5 v1.1 whose encoder attends 127 tokens to each side; transient-global (tglobal) adds one token for
               every 16, the sum of its block, that all may attend to. Pretrained on C4 by PEGASUS's left-out sentences.
Checkpoints    google/long-t5-local-base, google/long-t5-tglobal-base (250 M as published), -large (780 M), -xl (3 B).
From scratch   longt5-tiny (1.4 M, tglobal), longt5-mini (9.4 M, tglobal), longt5-local-base, longt5-tglobal-base:
               random weights and a vocabulary of our own.
Prefix         none: it was pretrained without tasks.
Precision      trains in fp32 and bf16; activations overflow in fp16.
Attention      eager only.
Weights        transformers 5 ties the vocabulary head to the embeddings: 223 M for the base sizes.
Length         16,384 source tokens in pretraining; relative positions set no limit.
Source         Guo et al. 2021, arXiv 2112.07916. Generation: T5's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.attention_pattern import LocalBlocks
from kilowit.parts.model import Dimensions, Family
from kilowit.parts.models import t5

LOCAL_RADIUS: Final = 127  # LongT5Config
GLOBAL_BLOCK_SIZE: Final = 16


def _size(shape: Mapping[str, Any], kind: str, local_radius: int = LOCAL_RADIUS) -> dict[str, Any]:
    return {
        **shape, "feed_forward_proj": "gated-gelu", "d_ff": shape["d_model"] * 8 // 3 // 8 * 8,
        "encoder_attention_type": kind, "local_radius": local_radius, "global_block_size": GLOBAL_BLOCK_SIZE,
    }  # fmt: skip


SIZES: Final = {
    "longt5-tiny": _size(t5.SIZES["t5-tiny"], "transient-global", 31),
    "longt5-mini": _size(t5.SIZES["t5-mini"], "transient-global"),
    "longt5-local-base": _size(t5.SIZES["t5-base"], "local"),
    "longt5-tglobal-base": _size(t5.SIZES["t5-base"], "transient-global"),
}
# d_ff, heads, d_kv: those of T5 v1.1, whose code LongT5 is.
_WIDTHS: Final = {"base": (2048, 12, 64), "large": (2816, 16, 64), "xl": (5120, 32, 64)}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; only noted.
    """
    from transformers import LongT5Config

    return LongT5Config(**arguments, decoder_start_token_id=arguments["pad_token_id"], n_positions=max_positions)


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    num_tokens = config.get("global_block_size", GLOBAL_BLOCK_SIZE) if _is_global(config) else None
    pattern = LocalBlocks(config.get("local_radius", LOCAL_RADIUS) + 1, num_tokens)
    return dataclasses.replace(t5.dimensions(config), encoder_pattern=pattern, keeps_scores=True)


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters: T5's, and of transient-global attention a norm a layer and one table of positions."""
    if not _is_global(config):
        return t5.num_parameters(config)
    buckets = config.get("relative_attention_num_buckets", 32) * config["num_heads"]
    return t5.num_parameters(config) + int(config["num_layers"] * config["d_model"] + buckets)


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published LongT5, or None for another family."""
    if row["family"] != "LongT5":
        return None
    _, kind, size = row["hub_id"].rsplit("-", 2)
    d_ff, heads, d_kv = _WIDTHS[size]
    return {
        **SIZES["longt5-tglobal-base" if kind == "tglobal" else "longt5-local-base"],
        "num_layers": int(row["encoder_layers"]), "num_decoder_layers": int(row["decoder_layers"]),
        "d_model": int(row["d_model"]), "d_ff": d_ff, "num_heads": heads, "d_kv": d_kv, "vocab_size": int(row["vocab"]),
    }  # fmt: skip


def _is_global(config: Mapping[str, Any]) -> bool:
    return bool(config.get("encoder_attention_type", "local") == "transient-global")


FAMILY: Final = Family(
    name="longt5",
    model_types=("longt5",),
    prefix="",
    fp16_trains=False,
    sizes=SIZES,
    special_tokens=t5.FAMILY.special_tokens,
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=t5.GENERATION,
)
