"""Make an encoder-decoder shallower: a copy of some of its layers. `narrow` makes it slimmer.

What is left is a model of the same class with a smaller configuration, so that it trains, generates and is counted like
any other. Used by the methods ``distill`` and ``prune``; knows BART and PEGASUS (``layers``) and T5 (``block``).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.settings import Count

# An option: how many layers, spread evenly, or the numbers of those kept.
Layers = Count | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_LAYER: Final = re.compile(
    r"(?P<head>(?:.*\.)?(?P<side>encoder|decoder)\.(?:layers|block)\.)(?P<number>\d+)\.(?P<tail>.*)"
)
_COUNT_KEYS: Final = {"encoder": ("encoder_layers", "num_layers"), "decoder": ("decoder_layers", "num_decoder_layers")}


def spread_layers(num_layers: int, num_kept: int) -> list[int]:
    """Return `num_kept` of `num_layers` indices, evenly spread, the first and the last among them.

    Source: Shleifer and Rush 2020, arXiv 2010.13002, section 3: layers of the student are copied from the teacher at
    maximal spacing.

    >>> spread_layers(12, 3), spread_layers(6, 1)
    ([0, 6, 11], [0])
    """
    if num_kept == 1:
        return [0]
    return [round(i * (num_layers - 1) / (num_kept - 1)) for i in range(num_kept)]


def choose_layers(num_layers: int, wanted: int | Sequence[int] | None, *, method: str, side: str) -> list[int]:
    """Return the layers to keep: all for None, spread ones for a count, themselves for a list.

    Raises:
        PartError: more layers, or others, than there are.
    """
    if wanted is None:
        return list(range(num_layers))
    kept = [*wanted] if isinstance(wanted, Sequence) else spread_layers(num_layers, wanted)
    if len(kept) > num_layers or sorted(set(kept)) != kept or kept[-1] >= num_layers:
        raise PartError(
            f'method "{method}": {side}_layers {wanted} of a model with {num_layers}',
            hint=f"Give a count up to {num_layers}, or rising numbers from 0 to {num_layers - 1}.",
        )
    return kept


def choose_depth(
    num_layers: tuple[int, int], encoder: int | Sequence[int] | None, decoder: int | Sequence[int] | None, method: str
) -> tuple[list[int], list[int]]:
    """Return the layers to keep of both stacks.

    Args:
        num_layers: of encoder and decoder, as they are.

    Raises:
        PartError: others than there are, or fewer encoder than decoder layers: transformers (5.23) sizes T5's cache by
            the encoder, and it is the decoder that generation waits for.
    """
    kept = (
        choose_layers(num_layers[0], encoder, method=method, side="encoder"),
        choose_layers(num_layers[1], decoder, method=method, side="decoder"),
    )
    if len(kept[0]) < len(kept[1]) and num_layers[0] >= num_layers[1]:
        raise PartError(
            f'method "{method}" would leave {len(kept[0])} encoder and {len(kept[1])} decoder layers',
            hint="Keep no more decoder layers than encoder layers: every word waits for the decoder.",
        )
    return kept


def num_layers_of(model: Any, side: str) -> int:
    """Return the number of layers of ``encoder`` or ``decoder``."""
    return int(getattr(model.config, config_key(model.config, _COUNT_KEYS[side])))


def keep_layers(model: Any, encoder: Sequence[int], decoder: Sequence[int]) -> Any:
    """Return a copy with these layers alone; of all layers, it is the same bit for bit.

    Args:
        encoder: indices of the layers kept, rising; likewise `decoder`.
    """
    import torch

    kept = {"encoder": encoder, "decoder": decoder}
    config = copy.deepcopy(model.config)
    for side, indices in kept.items():
        setattr(config, config_key(config, _COUNT_KEYS[side]), len(indices))
    state: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        found = _LAYER.fullmatch(name)
        if found is None:
            state[name] = value
        elif "relative_attention_bias" in name:  # T5's lies in the first layer, whichever that is
            state[f"{found['head']}0.{found['tail']}"] = value
        elif int(found["number"]) in kept[found["side"]]:
            number = kept[found["side"]].index(int(found["number"]))
            state[f"{found['head']}{number}.{found['tail']}"] = value
    with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten leave no trace
        small = type(model)(config)
    small.load_state_dict(state, strict=True)
    small.generation_config = copy.deepcopy(model.generation_config)
    return small.to(device=model.device, dtype=model.dtype).train(model.training)


def config_key(config: Any, keys: Sequence[str]) -> str:
    """Return the one of some names for a size that this family's configuration uses."""
    return next(key for key in keys if hasattr(config, key))
