"""pegasus_x: PEGASUS for long documents, with staggered block-local attention and global tokens.

What it is     PEGASUS pretrained further on long inputs. The encoder attends within blocks of 512 tokens, shifted by
               half in every other layer, and to 32 (large) or 128 (base) global tokens of its own.
Checkpoints    google/pegasus-x-base (272 M), google/pegasus-x-large (569 M).
From scratch   pegasus_x-tiny (1.4 M, blocks of 32), pegasus_x-mini (9.5 M), pegasus_x-base, pegasus_x-large: random
               weights and a vocabulary of our own.
Prefix         none.
Precision      trains in fp32 and bf16; as PEGASUS it is not offered in fp16.
Attention      eager in the encoder, whatever is asked for.
Length         16,384 source tokens in pretraining; sinusoidal positions set no limit. Batches are padded to
               whole blocks.
Source         Phang et al. 2022, arXiv 2208.04347. Generation: google-research/pegasus pegasus/flax/configs (beam 4,
               alpha 0.6 on SummScreen).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.attention_pattern import StaggeredBlocks
from kilowit.parts.model import Dimensions, Family, GenerationDefaults, PositionLimits
from kilowit.parts.models import bart, pegasus

_CONFIGS: Final = "google-research/pegasus pegasus/flax/configs: beam 4, alpha 0.6"
GENERATION: Final = {
    "default": GenerationDefaults(4, 255, 0, 0.6, 0, _CONFIGS, early_stopping=False),
    **{name: pegasus.GENERATION[name] for name in ("cnn_dailymail", "xsum", "samsum", "docstrings")},
}


def _size(shape: Mapping[str, Any], block_size: int, num_global_tokens: int) -> dict[str, Any]:
    return {**shape, "block_size": block_size, "num_global_tokens": num_global_tokens, "stagger_local_blocks": True}


_BASE: Final = {**bart.SIZES["bart-base"], "encoder_layers": 12, "decoder_layers": 12, "vocab_size": 96103}
SIZES: Final = {
    "pegasus_x-tiny": _size(bart.SIZES["bart-tiny"], 32, 8),
    "pegasus_x-mini": _size(bart.SIZES["bart-mini"], 128, 16),
    "pegasus_x-base": _size({**_BASE, "max_position_embeddings": 16384}, 512, 128),
    "pegasus_x-large": _size({**pegasus.SIZES["pegasus-large"], "max_position_embeddings": 16384}, 512, 32),
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; only noted.
    """
    from transformers import PegasusXConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    return PegasusXConfig(
        **{**arguments, "max_position_embeddings": positions},
        decoder_start_token_id=arguments["pad_token_id"],
        forced_eos_token_id=arguments["eos_token_id"],
        dropout=0.1,
        scale_embedding=True,
    )


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    pattern = StaggeredBlocks(
        config["block_size"], config["num_global_tokens"], config.get("stagger_local_blocks", True)
    )
    return dataclasses.replace(bart.dimensions(config), encoder_pattern=pattern)


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters: PEGASUS without position tables and biases of the attention, with global tokens."""
    d = config["d_model"]
    num_attentions = config["encoder_layers"] + 2 * config["decoder_layers"]
    global_norms = config["encoder_layers"] * 2 * d
    final_norms = 2 * 2 * d
    rows = config["vocab_size"] + config["num_global_tokens"]
    layers = bart.num_layer_parameters(config) - num_attentions * 4 * d + global_norms
    return int(rows * d + final_norms + layers)


def no_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return no limits: positions are computed as they are needed."""
    return PositionLimits(None, None)


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published PEGASUS-X, or None for another family."""
    if row["family"] != "PEGASUS-X":
        return None
    return SIZES["pegasus_x-base" if int(row["d_model"]) == 768 else "pegasus_x-large"]


FAMILY: Final = Family(
    name="pegasus_x",
    model_types=("pegasus_x",),
    prefix="",
    fp16_trains=False,
    sizes=SIZES,
    special_tokens=pegasus.FAMILY.special_tokens,
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    position_limits=no_limits,
)
