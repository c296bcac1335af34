"""LED: BART with Longformer attention in the encoder, for long documents.

What it is     BART's weights copied; the encoder attends within a sliding window, and everywhere from and to the first
               token. The positions are BART's 1,024 repeated up to 16,384.
Checkpoints    allenai/led-base-16384 (162 M), allenai/led-large-16384 (460 M), led-large-16384-arxiv.
From scratch   led-tiny (1.8 M, window 32), led-mini (12 M), led-base, led-large: random weights and a vocabulary of
               our own.
Prefix         none.
Precision      trains in fp32, bf16 and fp16.
Attention      eager only: neither fused kernels nor torch.compile of the whole graph. Global attention on the first
               token is switched on here for every forward pass: without it transformers gives the encoder no global
               token at all, and the projections of global tokens get no gradient.
Length         at most 16,384 source and 1,024 target tokens. Every batch is padded to whole windows (1,024 in the
               published checkpoints): a dialogue of 147 tokens costs as much as one of 1,024. Below that, use BART.
Source         Beltagy et al. 2020, arXiv 2004.05150, section 7. Generation: samsum as for BART-large, arxiv the Hugging
               Face notebook of LED (from memory).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.attention_pattern import SlidingWindow, padded
from kilowit.parts.model import Dimensions, Family, GenerationDefaults, LoadedModel, PositionLimits
from kilowit.parts.models import bart

WINDOW: Final = 1024
MAX_SOURCE: Final = 16384
MAX_TARGET: Final = 1024

GENERATION: Final = {
    **bart.GENERATION,
    "arxiv": GenerationDefaults(4, 511, 99, 2.0, 3, "Longformer repository and Hugging Face notebook, from memory"),
}


def _size(shape: str, window: int, max_source: int) -> dict[str, Any]:
    sizes = {key: value for key, value in bart.SIZES[shape].items() if key != "max_position_embeddings"}
    positions = {"max_encoder_position_embeddings": max_source, "max_decoder_position_embeddings": MAX_TARGET}
    return {**sizes, **positions, "attention_window": window}


SIZES: Final = {
    "led-tiny": _size("bart-tiny", 32, 1024),
    "led-mini": _size("bart-mini", 128, 4096),
    "led-base": _size("bart-base", WINDOW, MAX_SOURCE),
    "led-large": _size("bart-large", WINDOW, MAX_SOURCE),
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import LEDConfig

    source = padded(max(max_positions, arguments["max_encoder_position_embeddings"]), arguments["attention_window"])
    target = max(max_positions, arguments["max_decoder_position_embeddings"])
    positions = {"max_encoder_position_embeddings": int(source), "max_decoder_position_embeddings": target}
    return LEDConfig(**{**arguments, **positions}, decoder_start_token_id=arguments["eos_token_id"], dropout=0.1)


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the sizes from a config.json."""
    pattern = SlidingWindow(_window(config))
    return dataclasses.replace(bart.dimensions(config), encoder_pattern=pattern, keeps_scores=True)


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters: BART's, and a second query, key and value projection in every encoder layer."""
    d = config["d_model"]
    num_positions = config["max_encoder_position_embeddings"] + config["max_decoder_position_embeddings"]
    global_projections = config["encoder_layers"] * 3 * (d * d + d)
    embedding_norms = 2 * 2 * d
    layers = bart.num_layer_parameters(config) + global_projections
    return int((config["vocab_size"] + num_positions) * d + embedding_norms + layers)


def position_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return the limits of the two tables; of the source's only whole windows can be used."""
    window = _window(config)
    source = config.get("max_encoder_position_embeddings", MAX_SOURCE) // window * window
    return PositionLimits(source, config.get("max_decoder_position_embeddings", MAX_TARGET))


def prepare(loaded: LoadedModel) -> None:
    """Give the first token global attention in every forward pass, of training and of generation."""
    loaded.model.get_encoder().register_forward_pre_hook(_see_first_token, with_kwargs=True)


def _see_first_token(
    encoder: Any, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if named.get("global_attention_mask") is None:
        tokens_BS = named["attention_mask"] if named.get("attention_mask") is not None else named["input_ids"]
        mask_BS = tokens_BS.new_zeros(tokens_BS.shape)
        mask_BS[:, 0] = 1
        named = {**named, "global_attention_mask": mask_BS}
    return arguments, named


def cautions(size: Dimensions, max_source_tokens: int) -> tuple[str, ...]:
    """Say when the sources are shorter than the window that they are padded to."""
    assert isinstance(size.encoder_pattern, SlidingWindow)
    if max_source_tokens >= size.encoder_pattern.window:
        return ()
    return (
        f"led pads every source to {size.encoder_pattern.window} tokens, and none here is longer than "
        f"{max_source_tokens}: bart does the same attention for less",
    )


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the sizes of a published LED, or None for another family."""
    if row["family"] != "LED":
        return None
    return SIZES["led-base" if int(row["d_model"]) == 768 else "led-large"]


def _window(config: Mapping[str, Any]) -> int:
    window = config["attention_window"]
    return int(max(window) if isinstance(window, list | tuple) else window)


FAMILY: Final = Family(
    name="led",
    model_types=("led",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    special_tokens=bart.FAMILY.special_tokens,
    build_config=build_config,
    dimensions=dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    position_limits=position_limits,
    prepare=prepare,
    cautions=cautions,
)
