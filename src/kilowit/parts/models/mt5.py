"""mT5: the multilingual T5 v1.1, pretrained on 101 languages without labelled tasks.

What it is     T5 v1.1's gated layers with a vocabulary of 250,112 tokens, which is most of the small sizes' weights and
               costs most of their FLOPs per target token.
Checkpoints    google/mt5-small (172 M as tied here), mt5-base, mt5-large, mt5-xl, mt5-xxl.
From scratch   mt5-tiny (1.3 M): random weights and a vocabulary of our own. For more, take a T5 size.
Prefix         none: it was pretrained without tasks.
Precision      trains in fp32 and bf16; activations overflow in fp16.
Weights        transformers 5 ties the vocabulary head to the embeddings: the count is of what is trained here.
Source         Xue et al. 2020, arXiv 2010.11934. Generation: T5's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.parts.models import t5

SIZES: Final = {"mt5-tiny": {**t5.SIZES["t5-tiny"], "d_ff": 256, "feed_forward_proj": "gated-gelu"}}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens; relative positions have no limit, so it is only noted.
    """
    from transformers import MT5Config

    return MT5Config(**arguments, decoder_start_token_id=arguments["pad_token_id"], n_positions=max_positions)


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return None: the table of checkpoints has no mT5."""
    return None


FAMILY: Final = dataclasses.replace(
    t5.FAMILY,
    name="mt5",
    model_types=("mt5",),
    prefix="",
    sizes=SIZES,
    build_config=build_config,
    config_of_checkpoint=config_of_checkpoint,
)
