"""GPT-2: the decoder-only language model that others are measured by, prompted or fine-tuned to summarize.

What it is     No encoder: prompt, document and summary are one sequence under a causal mask. Pre-norm layers with
               biases and learned positions.
Checkpoints    openai-community/gpt2 (124 M), gpt2-medium (355 M), distilbert/distilgpt2 (82 M).
From scratch   gpt2-tiny (1.1 M), gpt2-mini (5.5 M), distilgpt2, gpt2-base, gpt2-medium: random weights and a
               vocabulary of our own.
Prompt         the model's option `prompt`, with {document} in it; without one the document, a gap and "Summary:".
               Its tokens count to train.max_source_tokens; long documents are cut, the prompt never. Training's loss is
               that of the summary alone.
Zero-shot      the method zero_shot prompts the model as it is; lora or plain fine-tuning teach it.
Precision      trains in fp32, bf16 and fp16.
Length         source and target together at most n_positions (1,024 in the published checkpoints).
Generation     transformers' beam search, begun from a cache of the source that is read once a document. No n-gram of
               the summary is repeated; those of the document may be.
Source         Radford et al. 2019, Language models are unsupervised multitask learners, table 2; config.json of the
               checkpoints, which give the published counts of parameters. Generation: ours, lengths as for BART.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.model import Dimensions, Family, PositionLimits
from kilowit.parts.models import llama
from kilowit.parts.prompt import DEFAULT_PROMPT


def _size(d_model: int, layers: int, heads: int, vocabulary: int) -> dict[str, Any]:
    return {"n_embd": d_model, "n_layer": layers, "n_head": heads, "vocab_size": vocabulary, "n_positions": 1024}


SIZES: Final = {
    "gpt2-tiny": _size(128, 2, 4, 4096),
    "gpt2-mini": _size(256, 4, 4, 8192),
    "distilgpt2": _size(768, 6, 12, 50257),
    "gpt2-base": _size(768, 12, 12, 50257),
    "gpt2-medium": _size(1024, 24, 16, 50257),
}
CHECKPOINTS: Final = {
    "openai-community/gpt2": "gpt2-base",
    "openai-community/gpt2-medium": "gpt2-medium",
    "distilbert/distilgpt2": "distilgpt2",
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; twice as many positions hold both.
    """
    from transformers import GPT2Config

    named = {**arguments, "n_positions": max(2 * max_positions, arguments["n_positions"])}
    return GPT2Config(**{"bos_token_id": arguments["eos_token_id"], **named})


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    d, layers = config["n_embd"], config["n_layer"]
    return Dimensions(
        encoder_layers=layers,
        decoder_layers=layers,
        d_model=d,
        d_attention=d,
        encoder_ffn=_ffn(config),
        decoder_ffn=_ffn(config),
        vocabulary_size=config["vocab_size"],
        num_heads=config["n_head"],
        is_one_stack=True,
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters; embeddings and vocabulary head are one matrix."""
    d, ffn = config["n_embd"], _ffn(config)
    layer = 4 * d * d + 4 * d + 2 * d * ffn + ffn + d + 2 * 2 * d
    return int((config["vocab_size"] + config["n_positions"]) * d + config["n_layer"] * layer + 2 * d)


def position_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return the limit on source and target together."""
    limit = config["n_positions"]
    return PositionLimits(limit, limit, together=limit)


def _ffn(config: Mapping[str, Any]) -> int:
    return int(config.get("n_inner") or 4 * config["n_embd"])


FAMILY: Final = Family(
    name="gpt2",
    model_types=("gpt2",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens={"eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=llama.config_of_checkpoint,
    generation=llama.GENERATION,
    position_limits=position_limits,
    default_prompt=DEFAULT_PROMPT,
    checkpoints=CHECKPOINTS,
)
