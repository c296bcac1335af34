"""Training over several processes: each one's share of a batch, the model in parts, and whole again at the end.

A batch of the study is shared out over the ranks, so that a step sees the same examples however many there are.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import nn

from kilowit.parts.ranks import RankFacts
from kilowit.run.batches import IGNORED
from kilowit.settings import RankSettings, Settings

Collate = Callable[[Sequence[int]], dict[str, Any]]
CUT_BY: Final = ("fsdp", "deepspeed")  # wrappers that may leave a rank with parts of parameters
_SWAP_FILES: Final = "*.swp"


def rank() -> int:
    """Return this process's rank; 0 alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    """Return the number of ranks; 1 alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(value: Any) -> Any:
    """Add up a tensor over the ranks, in place: every rank gets the same bits."""
    if num_ranks() > 1:
        dist.all_reduce(value)
    return value


class ShareCollator:
    """Collates a rank's share of a batch: the r-th run of `share_size` indices.

    A rank whose share of a last, short batch is empty gets one example without labels: it computes with the others,
    as collectives need, and adds nothing.
    """

    def __init__(self, collate: Collate, share_size: int) -> None:
        self.collate, self.share_size = collate, share_size

    def __call__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return the batch of this rank."""
        start = rank() * self.share_size
        if share := indices[start : start + self.share_size]:
            return self.collate(share)
        batch = self.collate(indices[:1])
        return {**batch, "labels": torch.full_like(batch["labels"], IGNORED)}


def agree_on_weights(model: Any, device: torch.device) -> None:
    """Give every rank the weights of the first."""
    if num_ranks() == 1:
        return
    for value in (*model.parameters(), *model.buffers()):
        sent = value.data.to(device)
        dist.broadcast(sent, 0)
        value.data.copy_(sent)


def shard(model: Any, ranks: RankSettings, device: torch.device) -> None:
    """Cut the model over the ranks before the optimizer is made, where that is how its wrapper works."""
    if ranks.wrapper == "fsdp":
        from kilowit.parts.methods.fsdp import shard_model

        shard_model(model, device.type, **ranks.options)


def leave_wrapping_to_us(accelerator: Any) -> None:
    """Keep Accelerate from wrapping a sharded model in DDP; its autocast stays."""
    accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)


def wrapper_arguments(settings: Settings, device: torch.device) -> dict[str, Any]:
    """Return what the Trainer is told of the ranks."""
    ranks = settings.ranks
    if ranks.wrapper == "none":
        return {}
    arguments: dict[str, Any] = {"ddp_backend": "nccl" if device.type == "cuda" else "gloo"}
    if ranks.wrapper == "ddp":
        arguments["ddp_bucket_cap_mb"] = ranks.options["bucket_mib"]
        arguments["ddp_find_unused_parameters"] = ranks.options["find_unused_parameters"]
    if ranks.wrapper == "deepspeed":
        _prepare_deepspeed(device)
        arguments |= {"deepspeed": deepspeed_config(settings), "bf16": False}
    return arguments


def deepspeed_config(settings: Settings) -> dict[str, Any]:
    """Return DeepSpeed's configuration; bf16 means autocast, as everywhere: weights and optimizer stay in fp32."""
    ranks, train = settings.ranks, settings.train
    config: dict[str, Any] = {
        "zero_optimization": dict(ranks.options["zero_optimization"]),
        "train_micro_batch_size_per_gpu": train.batch_size // ranks.num_processes,
        "gradient_accumulation_steps": train.gradient_accumulation_steps,
        "gradient_clipping": train.max_grad_norm,
        # torch's fused AdamW runs on both devices; DeepSpeed's own would be compiled for minutes, on the bill
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
    }
    if settings.precision == "bf16":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if "aio" in ranks.options:
        config["aio"] = dict(ranks.options["aio"])
    return config


def _prepare_deepspeed(device: torch.device) -> None:
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # A shared-memory all-reduce for CPUs that would be compiled for 90 s, on the bill; without it gloo does it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def hollow_copy(model: Any) -> Any:
    """Copy a model without its weights: parameters on torch's meta device, ties and buffers kept."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo)


def whole_model(sharded: Any, hollow: Any, device: torch.device) -> Any:
    """Fill a hollow copy with the weights that the ranks hold in parts; on the first rank alone, None on the others.

    Every rank has to call it. Cost: one gathered parameter at a time.
    """
    names = [name for name, _ in sharded.named_parameters()]
    weights = {}
    for name, parameter in zip(names, list(sharded.parameters()), strict=True):
        whole = _gathered(parameter)
        if rank() == 0:
            weights[name] = whole.to(device)
    if rank() != 0:
        return None
    filled = {id(p): nn.Parameter(weights[name], p.requires_grad) for name, p in hollow.named_parameters()}
    for module in hollow.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in filled:
                module._parameters[name] = filled[id(parameter)]
    return hollow.to(device)


def _gathered(parameter: Any) -> torch.Tensor:
    """Return a copy of the whole of one parameter."""
    if hasattr(parameter, "ds_tensor"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.data.detach().clone()
    if hasattr(parameter, "full_tensor"):
        full: torch.Tensor = parameter.full_tensor().detach().clone()
        return full
    return parameter.detach().clone()


def reshard(model: Any) -> None:
    """Let go of what FSDP has gathered for the last validation."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def rank_facts(model: Any, optimizer: Any, settings: Settings, device: torch.device) -> tuple[RankFacts, ...]:
    """Return what each rank holds now, in order of rank; () where training is one process. Every rank calls it."""
    if settings.ranks.wrapper == "none":
        return ()
    reshard(model)
    parameters = list(model.parameters())
    parts = [_part(parameter) for parameter in parameters]
    state = _state_tensors(optimizer)
    own = RankFacts(
        rank=rank(),
        backend=dist.get_backend(),
        device=device.type,
        num_elements_held=sum(part.numel() for part in parts),
        num_elements_whole=sum(getattr(p, "ds_numel", None) or p.numel() for p in parameters),
        num_sharded_tensors=sum(map(_is_cut, parameters)),
        num_state_elements=sum(tensor.numel() for tensor in state),
        state_device=state[0].device.type if state else "none",
        partitions_gradients=_partitions_gradients(optimizer, parameters),
        weight_sum=float(sum(part.double().sum().item() for part in parts)),
        num_swapped_byte=_swapped_byte(settings.ranks.options.get("swap_path")),
    )
    everyone: list[Any] = [None] * num_ranks()
    dist.all_gather_object(everyone, own)
    return tuple(everyone)


def _is_cut(parameter: Any) -> bool:
    """Whether a rank holds less than the whole of it."""
    if hasattr(parameter, "ds_tensor"):
        return not getattr(parameter, "ds_persist", False)
    return hasattr(parameter, "to_local")


def _partitions_gradients(optimizer: Any, parameters: Sequence[Any]) -> bool:
    """Whether gradients are cut too: ZeRO stage 2 by its own word, else where parameters are."""
    return bool(getattr(optimizer, "partition_gradients", any(map(_is_cut, parameters))))


def _part(parameter: Any) -> torch.Tensor:
    """Return what this rank holds of a parameter."""
    if hasattr(parameter, "ds_tensor"):
        held: torch.Tensor = parameter.data if getattr(parameter, "ds_persist", False) else parameter.ds_tensor.data
        return held
    if hasattr(parameter, "to_local"):
        local: torch.Tensor = parameter.to_local().detach()
        return local
    data: torch.Tensor = parameter.data
    return data


def _state_tensors(optimizer: Any) -> list[torch.Tensor]:
    """Return one tensor for each trained parameter, or flat partition, whose state this rank keeps."""
    for name in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups"):  # ZeRO stage 3; stages 1 and 2
        if tensors := getattr(optimizer, name, None):
            return [tensor.detach() for tensor in tensors if tensor is not None]
    return [_part(p) for group in optimizer.param_groups for p in group["params"]]


def _swapped_byte(path: str | None) -> int:
    return 0 if path is None else sum(file.stat().st_size for file in Path(path).rglob(_SWAP_FILES))
