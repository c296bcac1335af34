"""Self-attention within a sliding window and to a few global tokens, exact, in time and memory linear in the length.

Queries are cut into blocks as long as the window; each block meets the keys of three blocks and the global keys in one
dense product, masked to the window. It needs nothing but torch's scaled_dot_product_attention, so it trains on a CPU
and on a GPU. Registered with transformers' AttentionInterface, it reaches BART, PEGASUS and T5 as they are.

B batch, H heads, S source tokens, D head width; N blocks of C tokens, G global tokens, K = G + 3 C keys of a block.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

IMPLEMENTATION: Final = "kilowit_window"
MIN_BLOCK: Final = 16  # shorter blocks would be many and small products


@dataclass
class Window:
    """What an encoder's tokens see, and what was seen in training: one object for all its layers."""

    window: int  # tokens on each side
    num_global: int  # first tokens, which see all and are seen by all; at least one, or padding would see nothing
    num_calls: int = 0
    num_pairs: int = 0  # pairs of positions that were let through, padding not told apart
    num_dense_pairs: int = 0

    @property
    def num_keys(self) -> int:
        """Most keys that a token other than a global one sees."""
        return 2 * self.window + 1 + self.num_global

    def note(self, length: int) -> None:
        """Count the pairs of one call."""
        self.num_calls += 1
        self.num_pairs += num_pairs(length, self.window, self.num_global)
        self.num_dense_pairs += length**2


def use_window(model: Any, window: Window) -> int:
    """Let the encoder of a BART, PEGASUS or T5 attend within a window; return how many layers do.

    Weights stay as they are, and so does the decoder: the encoder gets a configuration of its own.
    """
    encoder = model.get_encoder()
    config = copy.deepcopy(encoder.config)
    config._attn_implementation = IMPLEMENTATION
    num_layers = 0
    for module in encoder.modules():
        if hasattr(module, "config"):
            module.config = config
        if hasattr(module, "is_causal") or hasattr(module, "relative_attention_num_buckets"):
            module.attention_window = window
            num_layers += 1
        if getattr(module, "has_relative_attention_bias", False):
            module.compute_bias = partial(_bias_of_offsets, module)
    return num_layers


def window_attention(
    query_BHSD: torch.Tensor,
    key_BHSD: torch.Tensor,
    value_BHSD: torch.Tensor,
    window: int,
    num_global: int,
    *,
    real_BS: torch.Tensor | None = None,
    bias_HO: torch.Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return what `scaled_dot_product_attention` returns under `window_mask`, [B, H, S, D].

    Args:
        real_BS: True where there is a token; None = everywhere. The first token of each row has to be one.
        bias_HO: added to the scores by offset, key less query, from -(S - 1) to S - 1; None = nothing.
        dropout: probability of the weights' dropout.
    """
    attend = partial(scaled_dot_product_attention, scale=scale, dropout_p=dropout)
    length, block = query_BHSD.shape[2], max(window, MIN_BLOCK)
    positions_S = torch.arange(length, device=query_BHSD.device)
    if real_BS is None:
        real_BS = torch.ones(1, length, dtype=torch.bool, device=query_BHSD.device)
    real_B11S = real_BS[:, None, None, :]
    if length <= num_global + 3 * block:  # blocks would cover more than all of it
        mask_B1SS = window_mask(length, window, num_global, query_BHSD.device) & real_B11S
        mask = _scores_mask(mask_B1SS, bias_HO, positions_S, positions_S, query_BHSD)
        return attend(query_BHSD, key_BHSD, value_BHSD, mask)
    others_BHSD = _block_attention(query_BHSD, key_BHSD, value_BHSD, window, num_global, real_BS, bias_HO, attend)
    mask = _scores_mask(real_B11S, bias_HO, positions_S[:num_global], positions_S, query_BHSD)
    global_BHGD = attend(query_BHSD[:, :, :num_global], key_BHSD, value_BHSD, mask)
    return torch.cat([global_BHGD, others_BHSD[:, :, num_global:]], dim=2)


def _block_attention(
    query_BHSD: Any,
    key_BHSD: Any,
    value_BHSD: Any,
    window: int,
    num_global: int,
    real_BS: Any,
    bias_HO: Any,
    attend: Any,
) -> Any:
    """Attend block by block: right for all queries but the global ones."""
    batch, heads, length, width = query_BHSD.shape
    device, block = query_BHSD.device, max(window, MIN_BLOCK)
    num_blocks = -(-length // block)
    query_BNHCD = _blocks(pad(query_BHSD, (0, 0, 0, num_blocks * block - length)), block, block)
    keys = [_with_global(states, num_global, block, num_blocks) for states in (key_BHSD, value_BHSD)]
    queries_NC = torch.arange(num_blocks * block, device=device).view(num_blocks, block)
    nearby_NL = torch.arange(3 * block, device=device)[None, :] - block + queries_NC[:, :1]
    distance_NCL = nearby_NL[:, None, :] - queries_NC[:, :, None]
    inside_NL = (nearby_NL >= num_global) & (nearby_NL < length)  # global keys are there already
    real_BNL = real_BS[:, nearby_NL.clamp(0, length - 1)]
    local_BNCL = (distance_NCL.abs() <= window) & inside_NL[:, None, :] & real_BNL[:, :, None, :]
    global_BNCG = real_BS[:, None, None, :num_global].expand(-1, num_blocks, block, -1)
    mask_BN1CK = torch.cat([global_BNCG, local_BNCL], dim=-1)[:, :, None]
    if bias_HO is not None:
        keys_NK = torch.cat([torch.arange(num_global, device=device).expand(num_blocks, -1), nearby_NL], dim=1)
        bias_NHCK = _bias(bias_HO, queries_NC, keys_NK, length).to(query_BHSD.dtype)
        mask_BN1CK = bias_NHCK[None].masked_fill(~mask_BN1CK, float("-inf"))
    mask = mask_BN1CK.expand(batch, *mask_BN1CK.shape[1:]).flatten(0, 1)
    output = attend(query_BNHCD.flatten(0, 1), keys[0].flatten(0, 1), keys[1].flatten(0, 1), mask)
    return output.view(batch, num_blocks, heads, block, width).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _blocks(states_BHSD: Any, size: int, step: int) -> Any:
    """Cut the length into pieces of `size` that begin every `step`: [B, N, H, size, D]."""
    return states_BHSD.unfold(2, size, step).permute(0, 2, 1, 4, 3)


def _with_global(states_BHSD: Any, num_global: int, block: int, num_blocks: int) -> Any:
    """Return the keys or values of each block: the global ones, then those of three blocks: [B, N, H, K, D]."""
    length = states_BHSD.shape[2]
    padded = pad(states_BHSD, (0, 0, block, (num_blocks + 1) * block - length))
    nearby_BNHLD = _blocks(padded, 3 * block, block)
    global_BNHGD = states_BHSD[:, None, :, :num_global].expand(-1, num_blocks, -1, -1, -1)
    return torch.cat([global_BNHGD, nearby_BNHLD], dim=3)


def _bias(bias_HO: Any, queries_NC: Any, keys_NK: Any, length: int) -> Any:
    """Return the bias of each pair, [N, H, C, K]; pairs outside of the text get any, for they are masked."""
    offsets_NCK = (keys_NK[:, None, :] - queries_NC[:, :, None]).clamp(1 - length, length - 1) + length - 1
    return bias_HO[:, offsets_NCK].transpose(0, 1)


def _scores_mask(mask: Any, bias_HO: Any, queries: Any, keys: Any, like: Any) -> Any:
    """Return a mask of scores: of truth values, or of numbers where there is a bias."""
    if bias_HO is None:
        return mask
    bias_1HQK = _bias(bias_HO, queries[None], keys[None], len(keys)).to(like.dtype)
    return bias_1HQK.masked_fill(~mask, float("-inf"))


def window_mask(length: int, window: int, num_global: int, device: Any = None) -> torch.Tensor:
    """Return which key [column] each query [row] sees, [S, S] truth values."""
    positions_S = torch.arange(length, device=device)
    near_SS = (positions_S[None, :] - positions_S[:, None]).abs() <= window
    global_S = positions_S < num_global
    return near_SS | global_S[None, :] | global_S[:, None]


def num_pairs(length: int, window: int, num_global: int) -> int:
    """Count the pairs that `window_mask` lets through, without building it."""
    reach, first = min(window, length - 1), min(num_global, length)
    band = length + 2 * sum(length - distance for distance in range(1, reach + 1))
    # Beyond the band every global token adds a row and a column, and where two of those cross one pair counts once.
    rows = sum(length - min(length, i + window + 1) + max(0, i - window) for i in range(first))
    crossings = sum(first - min(first, i + window + 1) + max(0, i - window) for i in range(first))
    return band + 2 * rows - crossings


def _bias_of_offsets(
    attention: Any, query_length: int, key_length: int, device: Any = None, past_seen_tokens: int = 0
) -> torch.Tensor:
    """Stand for T5's ``compute_bias``, which would build [1, H, S, S]: return [1, H, O], a number for each offset."""
    offsets_O = torch.arange(1 - query_length, key_length, device=attention.relative_attention_bias.weight.device)
    buckets_O = attention._relative_position_bucket(
        offsets_O,
        bidirectional=True,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    return attention.relative_attention_bias(buckets_O).T[None]


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in place of its own attention functions."""
    seen: Window = module.attention_window
    if module.training:
        seen.note(query.shape[2])
    output_BHSD = window_attention(
        query,
        key,
        value,
        seen.window,
        seen.num_global,
        real_BS=None if attention_mask is None else attention_mask.bool(),
        bias_HO=None if position_bias is None else position_bias[0],
        scale=scaling,
        dropout=dropout,
    )
    return output_BHSD.transpose(1, 2).contiguous(), None


def _mask(*_: Any, attention_mask: torch.Tensor | None = None, **__: Any) -> torch.Tensor | None:
    """Hand on which tokens are real, [B, S]; the full mask is never built."""
    return attention_mask


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _mask)
