"""PEGASUS: a sequence-to-sequence Transformer pretrained by writing left-out sentences.

What it is     Pre-norm layers, sinusoidal positions; pretrained to generate the sentences that were masked out of web
               pages and news (C4 and HugeNews), which is close to summarizing.
Checkpoints    google/pegasus-large (571 M) and its fine-tuned relatives: pegasus-xsum, pegasus-cnn_dailymail, ...
From scratch   pegasus-tiny (1.7 M), pegasus-mini (10 M), pegasus-large: random weights and a vocabulary of our own.
Prefix         none.
Precision      trains in fp32 and bf16; activations overflow in fp16.
Source         Zhang et al. 2019, arXiv 1912.08777. Generation: task_specific_params of google/pegasus-large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.model import Family, GenerationDefaults
from kilowit.parts.models import bart


def _published(max_length: int, length_penalty: float, dataset: str) -> GenerationDefaults:
    source = f"task_specific_params.summarization_{dataset} of google/pegasus-large"
    return GenerationDefaults(8, max_length - 1, 0, length_penalty, 0, source, early_stopping=False)


GENERATION: Final = {
    "default": GenerationDefaults(8, 127, 0, 0.8, 0, "ours: as published for cnn_dailymail", early_stopping=False),
    "cnn_dailymail": _published(128, 0.8, "cnn_dailymail"),
    "xsum": _published(64, 0.8, "xsum"),
    "reddit_tifu": _published(128, 0.6, "reddit_tifu"),
    "big_patent": _published(256, 0.7, "big_patent"),
    "samsum": GenerationDefaults(8, 63, 10, 0.8, 3, "linydub/azureml-greenai-txtsum samsum job"),
    "docstrings": GenerationDefaults(4, 48, 0, 0.8, 3, "ours: the summary lines' 99th percentile is below 48 tokens"),
}

_SHAPES: Final = {"pegasus-tiny": "bart-tiny", "pegasus-mini": "bart-mini"}
SIZES: Final = {
    **{name: bart.SIZES[shape] for name, shape in _SHAPES.items()},
    "pegasus-large": {**bart.SIZES["bart-large"], "encoder_layers": 16, "decoder_layers": 16, "vocab_size": 96103},
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import PegasusConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    config = PegasusConfig(
        **{**arguments, "max_position_embeddings": positions},
        decoder_start_token_id=arguments["pad_token_id"],
        forced_eos_token_id=arguments["eos_token_id"],
        activation_function="relu",
        dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.1,
        scale_embedding=True,
    )
    # CTranslate2 reads these two; checkpoints of the hub have them, transformers' own defaults do not.
    config.normalize_before, config.normalize_embedding = True, False
    return config


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and head are one matrix, the fixed positions of both halves count."""
    d = config["d_model"]
    embeddings = config["vocab_size"] * d
    positions = 2 * config["max_position_embeddings"] * d
    final_norms = 2 * 2 * d
    return int(embeddings + positions + final_norms + bart.num_layer_parameters(config))


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published PEGASUS, or None for another family."""
    return bart.layers_of_checkpoint(row, ("PEGASUS", "DistilPegasus"))


FAMILY: Final = Family(
    name="pegasus",
    model_types=("pegasus",),
    prefix="",
    fp16_trains=False,
    sizes=SIZES,
    special_tokens={"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    build_config=build_config,
    dimensions=bart.dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
)
