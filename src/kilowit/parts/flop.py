"""Closed-form FLOPs of an encoder-decoder Transformer: what a token costs before anything runs.

Counts multiply-adds of matrix products as 2 FLOPs, as torch's FlopCounterMode does, and nothing else: norms,
activations and softmax are below 1 %. Attention is counted dense: causal masking skips no work in the kernels counted.

Source: Kaplan et al. 2020, arXiv 2001.08361, table 1, written out for encoder, cross-attention and decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    attention_matrix = d.d_model * d.d_attention
    encoder_layer = 4 * attention_matrix + d.num_ffn_matrices * d.d_model * d.encoder_ffn
    cross_keys_and_values = 2 * attention_matrix
    decoder_layer = 6 * attention_matrix + d.num_ffn_matrices * d.d_model * d.decoder_ffn
    return FlopPerToken(
        source=2.0 * (d.encoder_layers * encoder_layer + d.decoder_layers * cross_keys_and_values),
        target=2.0 * (d.decoder_layers * decoder_layer + d.d_model * d.vocabulary_size),
    )


def layer_parameters(dimensions: Dimensions) -> int:
    """Count the parameters in the matrices of all layers; norms and biases, below 1 %, are left out."""
    d = dimensions
    attention_matrix = d.d_model * d.d_attention
    encoder_layer = 4 * attention_matrix + d.num_ffn_matrices * d.d_model * d.encoder_ffn
    decoder_layer = 8 * attention_matrix + d.num_ffn_matrices * d.d_model * d.decoder_ffn
    return d.encoder_layers * encoder_layer + d.decoder_layers * decoder_layer


def forward_flop(dimensions: Dimensions, num_source_tokens: float, num_target_tokens: float) -> float:
    """Return the FLOPs of one example's forward pass, all target tokens at once; times 3 for a training step.

    Args:
        num_source_tokens: tokens of the example as fed, padding included if it is computed.
        num_target_tokens: likewise of the target.
    """
    source, target = num_source_tokens, num_target_tokens
    each = flop_per_token(dimensions)
    scores = _score_flop(dimensions, source**2, target**2, source * target)
    return each.source * source + each.target * target + scores


def generate_flop(dimensions: Dimensions, num_source_tokens: float, num_new_tokens: float, num_beams: int) -> float:
    """Return the FLOPs of writing one summary with cached keys and values.

    The encoder runs once. Every beam has its own decoder pass and, in transformers, its own keys and values of the
    source.

    Args:
        num_new_tokens: decoding steps, i.e. tokens of the longest beam.
    """
    d, each = dimensions, flop_per_token(dimensions)
    cross_keys_and_values = 2.0 * d.decoder_layers * 2 * d.d_model * d.d_attention
    encoder = (each.source - cross_keys_and_values) * num_source_tokens + _score_flop(d, num_source_tokens**2, 0, 0)
    past = num_new_tokens * (num_new_tokens + 1) / 2
    beam = (
        cross_keys_and_values * num_source_tokens
        + each.target * num_new_tokens
        + _score_flop(d, 0, past, num_source_tokens * num_new_tokens)
    )
    return encoder + num_beams * beam


def _score_flop(dimensions: Dimensions, encoder_pairs: float, decoder_pairs: float, cross_pairs: float) -> float:
    """FLOPs of queries x keys and of weights x values, for so many pairs of positions."""
    d = dimensions
    return 4.0 * d.d_attention * (d.encoder_layers * encoder_pairs + d.decoder_layers * (decoder_pairs + cross_pairs))
