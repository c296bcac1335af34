"""ProphetNet: a sequence-to-sequence Transformer that predicts the next two tokens at once.

What it is     BERT-like encoder; the decoder has, beside its main stream, one predicting stream for each of the next
               `ngram` = 2 tokens. Pretrained by predicting masked spans on 16 GB of text, uncased.
Checkpoints    microsoft/prophetnet-large-uncased (391 M), microsoft/prophetnet-large-uncased-cnndm.
From scratch   prophetnet-tiny (1.7 M), prophetnet-mini (10 M), prophetnet-large: random weights and a vocabulary of
               our own.
Prefix         none.
Precision      trains in fp32, bf16 and fp16.
Attention      eager only. A target token costs three passes through the decoder and two through the vocabulary head,
               in generation too, where only the first prediction is used.
Loss           the mean over the streams, as its authors train it; validation takes the next token alone, as for the
               other families. Loss and validation loss are therefore not comparable with each other.
Length         at most 512 source and target tokens (learned positions). The id of padding is 0.
Source         Qi et al. 2020, arXiv 2001.04063. Generation: microsoft/ProphetNet ProphetNet_En/README.md
               (cnn_dailymail), config of microsoft/prophetnet-large-uncased (default).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.model import Dimensions, Family, GenerationDefaults, LoadedModel
from kilowit.parts.models import bart

_README: Final = "microsoft/ProphetNet ProphetNet_En/README.md"

GENERATION: Final = {
    "default": GenerationDefaults(4, 141, 0, 2.0, 3, "config of microsoft/prophetnet-large-uncased"),
    "cnn_dailymail": GenerationDefaults(5, 109, 44, 1.2, 3, _README),
    "xsum": GenerationDefaults(5, 61, 10, 1.0, 3, "ours: lengths as for BART"),
    "samsum": GenerationDefaults(5, 61, 10, 1.0, 3, "ours: lengths as for BART"),
    "docstrings": bart.GENERATION["docstrings"],
}


def _size(hidden_size: int, layers: int, heads: int, vocabulary_size: int) -> dict[str, Any]:
    halves = {
        f"num_{half}_{what}": number
        for half in ("encoder", "decoder")
        for what, number in (("layers", layers), ("attention_heads", heads))
    }
    ffn = {f"{half}_ffn_dim": 4 * hidden_size for half in ("encoder", "decoder")}
    return {
        "hidden_size": hidden_size, **halves, **ffn, "vocab_size": vocabulary_size, "max_position_embeddings": 512,
        "ngram": 2, "num_buckets": 32,
    }  # fmt: skip


SIZES: Final = {
    "prophetnet-tiny": _size(128, 2, 4, 4096),
    "prophetnet-mini": _size(256, 4, 4, 8192),
    "prophetnet-large": _size(1024, 12, 16, 30522),
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import ProphetNetConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    return ProphetNetConfig(
        **{**arguments, "max_position_embeddings": positions}, decoder_start_token_id=arguments["eos_token_id"]
    )


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    heads = config["num_decoder_attention_heads"]
    return Dimensions(
        encoder_layers=config["num_encoder_layers"],
        decoder_layers=config["num_decoder_layers"],
        d_model=config["hidden_size"],
        d_attention=config["hidden_size"],
        encoder_ffn=config["encoder_ffn_dim"],
        decoder_ffn=config["decoder_ffn_dim"],
        vocabulary_size=config["vocab_size"],
        num_heads=heads,
        keeps_scores=True,
        num_future_tokens=config["ngram"],
        decoder_position_width=config["num_buckets"] * heads,
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and vocabulary head are one matrix."""
    size, d = dimensions(config), config["hidden_size"]
    layers = bart.num_layer_parameters(
        {**config, "d_model": d, "encoder_layers": size.encoder_layers, "decoder_layers": size.decoder_layers}
    )
    relative_positions = size.decoder_layers * size.decoder_position_width * (d + 1)
    rows = config["vocab_size"] + 2 * config["max_position_embeddings"] + config["ngram"]
    embedding_norms = 2 * 2 * d
    return int(rows * d + embedding_norms + layers + relative_positions)


def prepare(loaded: LoadedModel) -> None:
    """Make the model end where the tokenizer does: transformers' default ids are not those of its vocabulary."""
    config, closing = loaded.model.config, loaded.tokenizer.eos_token_id
    closing = loaded.tokenizer.sep_token_id if closing is None else closing
    if config.eos_token_id != closing:
        config.eos_token_id = config.bos_token_id = config.decoder_start_token_id = closing
        loaded.model.generation_config.update(
            eos_token_id=closing, bos_token_id=closing, decoder_start_token_id=closing
        )


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published ProphetNet, or None for another family."""
    return SIZES["prophetnet-large"] if row["family"] == "ProphetNet" else None


FAMILY: Final = Family(
    name="prophetnet",
    model_types=("prophetnet",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens={"pad_token": "[PAD]", "eos_token": "[SEP]", "unk_token": "[UNK]"},
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    prepare=prepare,
)
