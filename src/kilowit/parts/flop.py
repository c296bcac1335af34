"""Closed-form FLOPs of an encoder-decoder Transformer: what a token costs before anything runs.

Counts multiply-adds of matrix products as 2 FLOPs, as torch's FlopCounterMode does, and nothing else: norms,
activations and softmax are below 1 %. Attention is counted dense: causal masking skips no work in the kernels counted.

Source: Kaplan et al. 2020, arXiv 2001.08361, table 1, written out for encoder, cross-attention and decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kilowit.parts.attention_pattern import PatternCost
from kilowit.parts.model import Dimensions

TRAIN_PER_FORWARD: Final = 3.0  # forward, and twice that for the gradients of weights and of activations


@dataclass(frozen=True)
class FlopPerToken:
    """Forward FLOPs that grow with the number of tokens; attention scores, which grow with its square, left out."""

    source: float  # encoder, and the decoder's keys and values of it
    target: float  # decoder and vocabulary head


def flop_per_token(dimensions: Dimensions) -> FlopPerToken:
    """Return what one source token and one target token cost in a forward pass, in FLOPs.

    Example:
        BART-large: 352 M a source token, 455 M a target token.
    """
    d = dimensions
    attention_matrix, self_attention = d.d_model * d.d_attention, _self_attention(d)
    encoder_layer = self_attention + d.num_ffn_matrices * d.d_model * d.encoder_ffn
    cross_matrices = 0 if d.is_one_stack else 2  # for the source: keys and values; for the target: query and output
    decoder_layer = (
        self_attention
        + cross_matrices * attention_matrix
        + d.num_ffn_matrices * d.d_model * d.decoder_ffn
        + d.d_model * d.decoder_position_width
    )
    head = d.d_model * d.vocabulary_size + d.num_head_matrices * d.d_model**2
    num_streams, num_heads_out = 1 + d.num_future_tokens, max(1, d.num_future_tokens)
    return FlopPerToken(
        source=2.0 * (d.encoder_layers * encoder_layer + d.decoder_layers * cross_matrices * attention_matrix),
        target=2.0 * (num_streams * d.decoder_layers * decoder_layer + num_heads_out * head),
    )


def layer_parameters(dimensions: Dimensions) -> int:
    """Count the parameters in the matrices of all layers; norms and biases, below 1 %, are left out."""
    d = dimensions
    encoder_layer = _self_attention(d) + d.num_ffn_matrices * d.d_model * d.encoder_ffn
    if d.is_one_stack:
        return d.encoder_layers * encoder_layer
    decoder_layer = 8 * d.d_model * d.d_attention + d.num_ffn_matrices * d.d_model * d.decoder_ffn
    return d.encoder_layers * encoder_layer + d.decoder_layers * decoder_layer


def forward_flop(dimensions: Dimensions, num_source_tokens: float, num_target_tokens: float) -> float:
    """Return the FLOPs of one example's forward pass, all target tokens at once; times 3 for a training step.

    Args:
        num_source_tokens: tokens of the example as fed, padding included if it is computed.
        num_target_tokens: likewise of the target.
    """
    d, source, target = dimensions, num_source_tokens, num_target_tokens
    if d.is_one_stack:  # one mask over both: the kernels compute all pairs
        linear = flop_per_token(d)
        pairs = _pair_flop(d) * d.encoder_layers * (source + target) ** 2
        return linear.source * source + linear.target * target + pairs
    streams = 1 + d.num_future_tokens  # a predicting stream sees the main one and itself
    decoder_pairs = (1 + 2 * d.num_future_tokens) * target**2 + streams * source * target
    return (
        _encoder_flop(d, source)
        + _cross_flop_per_token(d) * source
        + flop_per_token(d).target * target
        + _pair_flop(d) * d.decoder_layers * decoder_pairs
    )


def generate_flop(dimensions: Dimensions, num_source_tokens: float, num_new_tokens: float, num_beams: int) -> float:
    """Return the FLOPs of writing one summary with cached keys and values.

    The encoder runs once. Every beam has its own decoder pass and, in transformers, its own keys and values of the
    source.

    Args:
        num_new_tokens: decoding steps, i.e. tokens of the longest beam.
    """
    d, streams = dimensions, 1 + dimensions.num_future_tokens
    past = num_new_tokens * (num_new_tokens + 1) / 2
    beam = (
        _cross_flop_per_token(d) * num_source_tokens
        + flop_per_token(d).target * num_new_tokens
        + _pair_flop(d) * d.decoder_layers * streams * (past + num_source_tokens * num_new_tokens)
    )
    return _encoder_flop(d, num_source_tokens) + num_beams * beam


def _encoder_flop(dimensions: Dimensions, num_source_tokens: float) -> float:
    """FLOPs of the encoder alone, by its attention pattern."""
    d, n = dimensions, float(num_source_tokens)
    attention_positions, ffn_positions, pairs = (
        d.encoder_pattern.cost(n) if d.encoder_pattern else PatternCost(n, n, n * n)
    )
    attention = 2.0 * _self_attention(d) * attention_positions
    ffn = 2.0 * d.num_ffn_matrices * d.d_model * d.encoder_ffn * ffn_positions
    return d.encoder_layers * (attention + ffn + _pair_flop(d) * pairs)


def _self_attention(dimensions: Dimensions) -> int:
    """Count the weights of one layer's self-attention: queries and output, keys and values."""
    d = dimensions
    return 2 * d.d_model * d.d_attention + 2 * d.d_model * d.key_value_width


def _cross_flop_per_token(dimensions: Dimensions) -> float:
    """FLOPs of the decoder's keys and values of one source token."""
    d = dimensions
    return 0.0 if d.is_one_stack else 2.0 * d.decoder_layers * 2 * d.d_model * d.d_attention


def _pair_flop(dimensions: Dimensions) -> float:
    """FLOPs of one query with one key, and of its weight with the value, in one layer."""
    return 4.0 * dimensions.d_attention
