"""bigbird_pegasus: PEGASUS with BigBird's block-sparse attention in the encoder, for long documents.

What it is     PEGASUS-large, its encoder attending in blocks of 64 tokens: the first and the last block see all and are
               seen by all, every block sees its neighbours and 3 blocks at random.
Checkpoints    google/bigbird-pegasus-large-arxiv, -pubmed, -bigpatent (577 M): all fine-tuned, none only pretrained.
From scratch   bigbird_pegasus-tiny (1.7 M, blocks of 16, 1 at random), bigbird_pegasus-mini (12 M),
               bigbird_pegasus-large: random weights and a vocabulary of our own.
Prefix         none.
Precision      trains in fp32 and bf16; as PEGASUS it is not offered in fp16.
Attention      eager only. Sources of at most (5 + 2 x random) x block = 704 tokens get full attention, to the last bit;
               a run that never goes beyond says so. transformers stays with full attention for good once it has met one
               short batch: here every batch is asked anew. Outside training its random blocks are all the first block.
Length         at most 4,096 source tokens (learned positions).
Source         Zaheer et al. 2020, arXiv 2007.14062, table 17. Generation: same table (beam 5, length penalty).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.attention_pattern import BlockSparse
from kilowit.parts.model import Dimensions, Family, GenerationDefaults, LoadedModel
from kilowit.parts.models import bart, pegasus


def _published(max_length: int, length_penalty: float) -> GenerationDefaults:
    source = "Big Bird, arXiv 2007.14062, table 17"
    return GenerationDefaults(5, max_length - 1, 0, length_penalty, 0, source, early_stopping=False)


GENERATION: Final = {
    "default": _published(256, 0.8),
    "arxiv": _published(256, 0.8),
    "pubmed": _published(256, 0.8),
    "big_patent": _published(256, 0.8),
    "cnn_dailymail": _published(128, 0.8),
    "xsum": _published(64, 0.7),
    "samsum": pegasus.GENERATION["samsum"],
    "docstrings": pegasus.GENERATION["docstrings"],
}

_SPARSE: Final = {"attention_type": "block_sparse", "block_size": 64, "num_random_blocks": 3}
SIZES: Final = {
    "bigbird_pegasus-tiny": {**bart.SIZES["bart-tiny"], **_SPARSE, "block_size": 16, "num_random_blocks": 1},
    "bigbird_pegasus-mini": {**bart.SIZES["bart-mini"], **_SPARSE, "max_position_embeddings": 4096},
    "bigbird_pegasus-large": {**pegasus.SIZES["pegasus-large"], **_SPARSE, "max_position_embeddings": 4096},
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import BigBirdPegasusConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    start = arguments.get("bos_token_id", arguments["pad_token_id"])
    return BigBirdPegasusConfig(
        **{**arguments, "max_position_embeddings": positions},
        decoder_start_token_id=start,
        dropout=0.1,
        scale_embedding=True,
        use_bias=False,
    )


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    pattern = _pattern(config) if config.get("attention_type", "block_sparse") == "block_sparse" else None
    return dataclasses.replace(bart.dimensions(config), encoder_pattern=pattern, keeps_scores=True)


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and head are one matrix, the attention's projections have no biases."""
    d = config["d_model"]
    num_attentions = config["encoder_layers"] + 2 * config["decoder_layers"]
    biases = 0 if config.get("use_bias", False) else num_attentions * 4 * d
    final_norms = 2 * 2 * d
    rows = config["vocab_size"] + 2 * config["max_position_embeddings"]
    return int(rows * d + final_norms + bart.num_layer_parameters(config) - biases)


def prepare(loaded: LoadedModel) -> None:
    """Let every batch have the attention that its length asks for."""
    if loaded.model.config.attention_type == "block_sparse":
        loaded.model.get_encoder().register_forward_pre_hook(_choose_attention, with_kwargs=True)


def _choose_attention(encoder: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Set sparse or full attention by the length of this batch: transformers only ever goes from sparse to full."""
    import torch

    source = named["input_ids"] if named.get("input_ids") is not None else named["inputs_embeds"]
    is_short = source.shape[1] <= _pattern(encoder.config.to_dict()).max_full_tokens
    with torch.device("meta"):  # it builds projections and throws them away: neither memory nor random numbers for that
        encoder.set_attention_type("original_full" if is_short else "block_sparse")


def cautions(size: Dimensions, max_source_tokens: int) -> tuple[str, ...]:
    """Say when no source is long enough for sparse attention."""
    pattern = size.encoder_pattern
    if not isinstance(pattern, BlockSparse) or max_source_tokens > pattern.max_full_tokens:
        return ()
    return (
        f"bigbird_pegasus attends in full up to {pattern.max_full_tokens} source tokens, and none here is longer than "
        f"{max_source_tokens}: its sparse attention is never used",
    )


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published BigBird-PEGASUS, or None for another family."""
    sizes = bart.layers_of_checkpoint(row, ("BigBird-PEGASUS",))
    return None if sizes is None else {**sizes, **_SPARSE}


def _pattern(config: Mapping[str, Any]) -> BlockSparse:
    return BlockSparse(config.get("block_size", 64), config.get("num_random_blocks", 3))


FAMILY: Final = Family(
    name="bigbird_pegasus",
    model_types=("bigbird_pegasus",),
    prefix="",
    fp16_trains=False,
    sizes=SIZES,
    special_tokens=pegasus.FAMILY.special_tokens,
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    prepare=prepare,
    cautions=cautions,
)
