"""BART: a denoising sequence-to-sequence Transformer with learned positions.

What it is     Encoder and decoder pretrained by text infilling and sentence permutation on 160 GB of text.
Checkpoints    facebook/bart-base (139 M), facebook/bart-large (406 M), their fine-tuned and distilled relatives.
From scratch   bart-tiny (1.7 M), bart-mini (10 M), bart-base, bart-large: random weights and a vocabulary of our own.
Prefix         none.
Precision      trains in fp32, bf16 and fp16.
Length         at most max_position_embeddings (1,024 in the published checkpoints) source tokens.
Source         Lewis et al. 2019, arXiv 1910.13461. Generation: fairseq examples/bart, the task_specific_params of
               facebook/bart-base and bart-large, and for samsum the runs of linydub/azureml-greenai-txtsum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.attention_pattern import key_limit
from kilowit.parts.model import Dimensions, Family, GenerationDefaults

POSITION_OFFSET: Final = 2  # rows that BART's position table has before position 0

_CNN: Final = "task_specific_params.summarization_cnn of facebook/bart-base"
_XSUM: Final = "task_specific_params.summarization_xsum of facebook/bart-base"
_SAMSUM: Final = "linydub/azureml-greenai-txtsum samsum job"

GENERATION: Final = {
    "default": GenerationDefaults(4, 127, 11, 1.0, 3, "task_specific_params.summarization of facebook/bart-base"),
    "cnn_dailymail": GenerationDefaults(4, 141, 55, 2.0, 3, _CNN),
    "xsum": GenerationDefaults(6, 61, 10, 1.0, 3, _XSUM),
    "samsum": GenerationDefaults(6, 61, 10, 1.0, 3, _SAMSUM),
    "docstrings": GenerationDefaults(4, 48, 0, 1.0, 3, "ours: the summary lines' 99th percentile is below 48 tokens"),
}


def _size(d_model: int, layers: int, heads: int, vocabulary_size: int) -> dict[str, Any]:
    return {
        "d_model": d_model,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * d_model,
        "decoder_ffn_dim": 4 * d_model,
        "vocab_size": vocabulary_size,
        "max_position_embeddings": 1024,
    }


SIZES: Final = {
    "bart-tiny": _size(128, 2, 4, 4096),
    "bart-mini": _size(256, 4, 4, 8192),
    "bart-base": _size(768, 6, 12, 50265),
    "bart-large": _size(1024, 12, 16, 50265),
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import BartConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    config = BartConfig(
        **{**arguments, "max_position_embeddings": positions},
        decoder_start_token_id=arguments["eos_token_id"],
        forced_eos_token_id=arguments["eos_token_id"],
        dropout=0.1,
        scale_embedding=False,
    )
    # CTranslate2 reads these two; checkpoints of the hub have them, transformers' own defaults do not.
    config.normalize_before, config.normalize_embedding = False, True
    return config


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json of BART or PEGASUS."""
    return Dimensions(
        encoder_layers=config["encoder_layers"],
        decoder_layers=config["decoder_layers"],
        d_model=config["d_model"],
        d_attention=config.get("d_attention", config["d_model"]),  # narrower where heads were pruned
        encoder_ffn=config["encoder_ffn_dim"],
        decoder_ffn=config["decoder_ffn_dim"],
        vocabulary_size=config["vocab_size"],
        num_heads=config["encoder_attention_heads"],
        encoder_pattern=key_limit(config.get("max_encoder_keys")),
    )


def num_layer_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters inside the layers of BART or PEGASUS: biased projections and layer norms."""
    d = config["d_model"]
    width = config.get("d_attention", d)
    attention = 4 * d * width + 3 * width + d
    norm = 2 * d
    encoder_ffn = 2 * d * config["encoder_ffn_dim"] + config["encoder_ffn_dim"] + d
    decoder_ffn = 2 * d * config["decoder_ffn_dim"] + config["decoder_ffn_dim"] + d
    encoder = config["encoder_layers"] * (attention + encoder_ffn + 2 * norm)
    decoder = config["decoder_layers"] * (2 * attention + decoder_ffn + 3 * norm)
    return int(encoder + decoder)


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and vocabulary head are one matrix."""
    d = config["d_model"]
    embeddings = config["vocab_size"] * d
    positions = 2 * (config["max_position_embeddings"] + POSITION_OFFSET) * d
    embedding_norms = 2 * 2 * d
    return int(embeddings + positions + embedding_norms + num_layer_parameters(config))


def layers_of_checkpoint(row: Mapping[str, str], families: tuple[str, ...]) -> dict[str, Any] | None:
    """Complete a row of the checkpoint table: feed-forward four times the width, heads of 64, as all of these have."""
    if row["family"] not in families:
        return None
    width = int(row["d_model"])
    return {
        **_size(width, int(row["encoder_layers"]), width // 64, int(row["vocab"])),
        "decoder_layers": int(row["decoder_layers"]),
        "max_position_embeddings": int(row["max_positions"].split()[0]),
    }


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published BART, or None for another family."""
    return layers_of_checkpoint(row, ("BART", "DistilBART"))


FAMILY: Final = Family(
    name="bart",
    model_types=("bart",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens={
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
)
