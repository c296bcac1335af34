"""Llama: small decoder-only language models, prompted or fine-tuned to summarize.

What it is     No encoder: prompt, document and summary are one sequence under a causal mask. Pre-norm layers with gated
               feed-forward, rotary positions and grouped queries: Llama and its relatives Mistral, Qwen2, Qwen3, Gemma,
               Gemma 2, Granite, OLMo 2, Phi-3 and SmolLM3 (model types llama, mistral, qwen2, qwen3, gemma, gemma2,
               granite, olmo2, phi3, smollm3).
Checkpoints    any of these on the hub or in a folder, such as HuggingFaceTB/SmolLM2-135M (135 M), SmolLM2-360M (362 M),
               Qwen/Qwen2.5-0.5B-Instruct (494 M), TinyLlama/TinyLlama-1.1B-Chat-v1.0 (1.1 B).
From scratch   llama-tiny (0.9 M), llama-mini (5.0 M), smollm2-135m, smollm2-360m, qwen2.5-0.5b, tinyllama-1.1b,
               llama3.2-1b: random weights and a vocabulary of our own.
Prompt         the model's option `prompt`, with {document} in it. Without one: a request in the tokenizer's chat
               template, else the document, a gap and "Summary:". Its tokens count to train.max_source_tokens;
               long documents are cut, the prompt never. Training's loss is that of the summary alone.
Zero-shot      the method zero_shot prompts the model as it is; lora or plain fine-tuning teach it.
Precision      trains in fp32, bf16 and fp16.
Length         source and target together at most max_position_embeddings.
Generation     transformers' beam search, begun from a cache of the source that is read once a document. No n-gram of
               the summary is repeated; those of the document may be.
Source         Touvron et al. 2023, arXiv 2302.13971; grouped queries: Ainslie et al. 2023, arXiv 2305.13245. Sizes:
               config.json of the checkpoints named, which give the published counts of parameters. Generation: ours,
               lengths as for BART.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.model import Dimensions, Family, PositionLimits
from kilowit.parts.models import bart
from kilowit.parts.prompt import DEFAULT_PROMPT

_OURS: Final = "ours: lengths and beams as for BART"
GENERATION: Final = {
    name: dataclasses.replace(defaults, length_penalty=1.0, source=_OURS) for name, defaults in bart.GENERATION.items()
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """In what a model type differs from Llama: biases, norms, and what its config.json may leave out."""

    query_biases: bool = False  # queries, keys and values have biases whatever the configuration says
    head_norms: str = ""  # norms of queries and keys: "head" one for a head's width, "all" one for all heads'
    norms_per_layer: int = 2
    tied: bool = False  # where config.json does not say


LAYOUTS: Final = {
    "llama": Layout(),
    "mistral": Layout(),
    "qwen2": Layout(query_biases=True),
    "qwen3": Layout(head_norms="head"),
    "gemma": Layout(tied=True),
    "gemma2": Layout(norms_per_layer=4, tied=True),
    "granite": Layout(),
    "olmo2": Layout(head_norms="all"),
    "phi3": Layout(),
    "smollm3": Layout(tied=True),
}


def _size(
    d_model: int, layers: int, heads: int, groups: int, ffn: int, vocabulary: int, **others: Any
) -> dict[str, Any]:
    return {
        "hidden_size": d_model, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": groups, "intermediate_size": ffn, "vocab_size": vocabulary,
        "max_position_embeddings": 2048, "tie_word_embeddings": True, **others,
    }  # fmt: skip


SIZES: Final = {
    "llama-tiny": _size(128, 2, 4, 2, 352, 4096),
    "llama-mini": _size(256, 4, 4, 2, 704, 8192),
    "smollm2-135m": _size(576, 30, 9, 3, 1536, 49152),
    "smollm2-360m": _size(960, 32, 15, 5, 2560, 49152),
    "qwen2.5-0.5b": _size(896, 24, 14, 2, 4864, 151936, model_type="qwen2"),
    "tinyllama-1.1b": _size(2048, 22, 32, 4, 5632, 32000, tie_word_embeddings=False),
    "llama3.2-1b": _size(2048, 16, 32, 8, 8192, 128256),
}
CHECKPOINTS: Final = {
    "HuggingFaceTB/SmolLM2-135M": "smollm2-135m",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2-135m",
    "HuggingFaceTB/SmolLM2-360M": "smollm2-360m",
    "HuggingFaceTB/SmolLM2-360M-Instruct": "smollm2-360m",
    "Qwen/Qwen2.5-0.5B": "qwen2.5-0.5b",
    "Qwen/Qwen2.5-0.5B-Instruct": "qwen2.5-0.5b",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "tinyllama-1.1b",
    "meta-llama/Llama-3.2-1B": "llama3.2-1b",
    "meta-llama/Llama-3.2-1B-Instruct": "llama3.2-1b",
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; twice as many positions hold both.
    """
    from transformers import AutoConfig

    positions = max(2 * max_positions, arguments["max_position_embeddings"])
    named = {**arguments, "max_position_embeddings": positions}
    return AutoConfig.for_model(named.pop("model_type", "llama"), **named)


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    return Dimensions(
        encoder_layers=layers,
        decoder_layers=layers,
        d_model=config["hidden_size"],
        d_attention=heads * _head_width(config),
        encoder_ffn=config["intermediate_size"],
        decoder_ffn=config["intermediate_size"],
        vocabulary_size=config["vocab_size"],
        num_heads=heads,
        num_ffn_matrices=3,
        is_one_stack=True,
        d_key_value=_num_groups(config) * _head_width(config),
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters, those of norms and biases included."""
    layout, size = LAYOUTS[config.get("model_type", "llama")], dimensions(config)
    d, width, narrow, ffn = size.d_model, size.d_attention, size.key_value_width, size.encoder_ffn
    layer = 2 * d * width + 2 * d * narrow + 3 * d * ffn + layout.norms_per_layer * d
    if layout.query_biases:
        layer += width + 2 * narrow
    elif config.get("attention_bias"):
        layer += width + 2 * narrow + d
    if config.get("mlp_bias"):
        layer += 2 * ffn + d
    layer += {"": 0, "head": 2 * _head_width(config), "all": width + narrow}[layout.head_norms]
    tied = config.get("tie_word_embeddings", layout.tied)
    embeddings = size.vocabulary_size * d * (1 if tied else 2)
    return int(embeddings + size.encoder_layers * layer + d)


def position_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return the limit on source and target together."""
    limit = config["max_position_embeddings"]
    return PositionLimits(limit, limit, together=limit)


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return None: the table of checkpoints is of encoder-decoders; `CHECKPOINTS` knows ours."""
    return None


def _num_groups(config: Mapping[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _head_width(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


FAMILY: Final = Family(
    name="llama",
    model_types=tuple(LAYOUTS),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens={"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    position_limits=position_limits,
    default_prompt=DEFAULT_PROMPT,
    checkpoints=CHECKPOINTS,
)
