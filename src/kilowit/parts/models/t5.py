"""T5: the text-to-text Transformer, with relative positions.

What it is     Pre-norm layers without biases, relative position buckets, one prefix per task. Pretrained by span
               corruption on C4; the first T5 also on labelled tasks, CNN/DailyMail among them.
Checkpoints    google-t5/t5-small (61 M), t5-base (223 M), t5-large (738 M); T5 v1.1 and Flan-T5 (gated feed-forward).
From scratch   t5-tiny (1.4 M), t5-mini (9.4 M), t5-small, t5-base: random weights and a vocabulary of our own.
Prefix         "summarize: ".
Precision      trains in fp32 and bf16; activations overflow in fp16.
Weights        transformers 5 ties the vocabulary head to the embeddings, also where the checkpoint (T5 v1.1, Flan-T5)
               has a head of its own: the count is of what is trained here.
Source         Raffel et al. 2019, arXiv 1910.10683. Generation: task_specific_params of google-t5/t5-*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.attention_pattern import key_limit
from kilowit.parts.model import Dimensions, Family, GenerationDefaults

_PUBLISHED: Final = "task_specific_params.summarization of google-t5/t5-*"
_SHORT: Final = "linydub/azureml-greenai-txtsum samsum job"

GENERATION: Final = {
    "default": GenerationDefaults(4, 199, 29, 2.0, 3, _PUBLISHED),
    "samsum": GenerationDefaults(4, 61, 10, 1.0, 3, _SHORT),
    "xsum": GenerationDefaults(4, 61, 10, 1.0, 3, "ours: as for samsum, the references are as long"),
    "docstrings": GenerationDefaults(4, 48, 0, 1.0, 3, "ours: the summary lines' 99th percentile is below 48 tokens"),
}


def _size(d_model: int, layers: int, heads: int, d_kv: int, vocabulary_size: int) -> dict[str, Any]:
    return {
        "d_model": d_model,
        "d_ff": 4 * d_model,
        "num_layers": layers,
        "num_decoder_layers": layers,
        "num_heads": heads,
        "d_kv": d_kv,
        "vocab_size": vocabulary_size,
    }


SIZES: Final = {
    "t5-tiny": _size(128, 2, 4, 32, 4096),
    "t5-mini": _size(256, 4, 4, 64, 8192),
    "t5-small": _size(512, 6, 8, 64, 32128),
    "t5-base": _size(768, 12, 12, 64, 32128),
}


# d_ff, heads, d_kv. Source: config.json of google-t5/t5-*, google/t5-v1_1-*, google/flan-t5-*; recalled in part, but
# they give the published parameter counts (less the untied head of the gated ones).
_WIDTHS: Final = {
    "small": (2048, 8, 64), "base": (3072, 12, 64), "large": (4096, 16, 64), "3b": (16384, 32, 128),
    "11b": (65536, 128, 128),
}  # fmt: skip
_GATED_WIDTHS: Final = {
    "small": (1024, 6, 64), "base": (2048, 12, 64), "large": (2816, 16, 64), "xl": (5120, 32, 64),
    "xxl": (10240, 64, 64),
}  # fmt: skip


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; relative positions have no limit, so it is only noted.
    """
    from transformers import T5Config

    return T5Config(**arguments, decoder_start_token_id=arguments["pad_token_id"], n_positions=max_positions)


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    return Dimensions(
        encoder_layers=config["num_layers"],
        decoder_layers=_num_decoder_layers(config),
        d_model=config["d_model"],
        d_attention=config["num_heads"] * config["d_kv"],
        encoder_ffn=config["d_ff"],
        decoder_ffn=config["d_ff"],
        vocabulary_size=config["vocab_size"],
        num_heads=config["num_heads"],
        encoder_pattern=key_limit(config.get("max_encoder_keys")),
        num_ffn_matrices=3 if str(config.get("feed_forward_proj", "relu")).startswith("gated-") else 2,
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and vocabulary head are one matrix."""
    size = dimensions(config)
    attention = 4 * size.d_model * size.d_attention
    ffn = size.num_ffn_matrices * size.d_model * size.encoder_ffn
    encoder = size.encoder_layers * (attention + ffn + 2 * size.d_model)
    decoder = size.decoder_layers * (2 * attention + ffn + 3 * size.d_model)
    final_norms = 2 * size.d_model
    position_buckets = 2 * config.get("relative_attention_num_buckets", 32) * size.num_heads
    return int(size.vocabulary_size * size.d_model + encoder + decoder + final_norms + position_buckets)


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published T5, T5 v1.1 or Flan-T5, or None for another family."""
    if row["family"] not in ("T5", "T5 v1.1", "Flan-T5"):
        return None
    gated = row["family"] != "T5"
    d_ff, heads, d_kv = (_GATED_WIDTHS if gated else _WIDTHS)[row["hub_id"].rpartition("-")[2]]
    layers = {"num_layers": int(row["encoder_layers"]), "num_decoder_layers": int(row["decoder_layers"])}
    widths = {"d_model": int(row["d_model"]), "d_ff": d_ff, "num_heads": heads, "d_kv": d_kv}
    projection = "gated-gelu" if gated else "relu"
    return {**layers, **widths, "vocab_size": int(row["vocab"]), "feed_forward_proj": projection}


def _num_decoder_layers(config: Mapping[str, Any]) -> int:
    layers = config.get("num_decoder_layers")
    return int(config["num_layers"] if layers is None else layers)


FAMILY: Final = Family(
    name="t5",
    model_types=("t5",),
    prefix="summarize: ",
    fp16_trains=False,
    sizes=SIZES,
    special_tokens={"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
)
