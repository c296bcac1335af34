"""adam8bit: AdamW whose two moments are stored in 8 bits each.

What it does   Replaces AdamW by that of bitsandbytes: moments are kept as 8-bit numbers in blocks of 256, each with
               its own scale, and unfolded to float32 for the update. Two bytes a parameter in place of eight. Tables
               of embeddings, and tensors below 4,096 numbers, keep float32 moments. Learning rate and schedule stay.
When to use    When the optimizer's state does not fit, and AdamW's behaviour is to be kept.
When not       When memory is not short. Where embeddings hold most of the parameters it saves little.
Trade-off      train.memory_gpu_max_byte x0.6-0.97 | train.wall_second x0.9-1.1 | rouge2 -0.005..+0.005
Options        none
Works with     all others.   Conflicts with  adafactor. Needs the package bitsandbytes: pip install 'kilowit[adam8bit]'.
               Over several processes with ddp. Conflicts with  fsdp, zero, zero_offload, which cut parameters into
               shares: moments are quantised in blocks, and blocks of a share are others (loss 4e-4 off after 12 steps).
Source         Dettmers et al. 2022, arXiv 2110.02861: block-wise quantisation section 2, stable embeddings section 3,
               equal quality table 1. Ranges ours, from the state's share of memory.
"""

from __future__ import annotations

from typing import Any, Final

from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun
from kilowit.settings import Settings

CONFLICTS_WITH: Final = ("adafactor", "fsdp", "zero", "zero_offload")
FAMILIES: Final = None
REQUIRES: Final = ("bitsandbytes",)
_STATE: Final = "arXiv 2110.02861, section 2: 2 bytes in place of 8; range ours, from the state's share of memory"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.6, 0.97, source=_STATE),
    Expectation("train.wall_second", 0.9, 1.1, source="ours: an estimate, to be replaced by a measured range"),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="arXiv 2110.02861, table 1"),
)


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Choose the optimizer."""
    return settings.with_train(optimizer="adam8bit")


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show how many parameters have 8-bit moments, and the bytes of the whole state beside AdamW's."""
    numbers = state_numbers(run.optimizer)
    smaller = numbers["num_8bit_parameters"] > 0 and numbers["state_byte"] < numbers["adamw_state_byte"]
    return Evidence(smaller, {"optimizer": type(run.optimizer).__name__, **numbers})


def state_numbers(optimizer: Any) -> dict[str, int]:
    """Count parameters, those whose moments are 8-bit, and the state's bytes, scales included."""
    import torch

    num_parameters = num_8bit = num_byte = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            tensors = [value for value in optimizer.state.get(parameter, {}).values() if torch.is_tensor(value)]
            num_parameters += parameter.numel()
            num_byte += sum(value.nbytes for value in tensors)
            if any(value.dtype == torch.uint8 and value.numel() == parameter.numel() for value in tensors):
                num_8bit += parameter.numel()
    return {
        "num_trained_parameters": num_parameters,
        "num_8bit_parameters": num_8bit,
        "state_byte": num_byte,
        "adamw_state_byte": 8 * num_parameters,
    }


def forget_exceptions() -> None:
    """Clear which parameters of an earlier training in this process were to keep float32 moments.

    bitsandbytes notes them by the ids of their objects, and ids are used again.
    """
    from bitsandbytes.optim import GlobalOptimManager

    GlobalOptimManager.get_instance().initialize()
