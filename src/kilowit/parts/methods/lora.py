"""lora: train a low-rank correction of some weight matrices, and nothing else.

What it does   Freezes the model and adds to each chosen matrix W of n x m a product alpha/r * B A of rank r, with A
               (r x m) random and B (n x r) zero at first. Only A and B are trained: the rest has no gradient and no
               optimizer state. After training the product is added to W, so that prediction costs what it did.
When to use    When gradients and optimizer state do not fit, or when many tasks are to share one model.
When not       With a model from scratch: the frozen random weights stay random. To save time alone: the backward pass
               still runs through every layer.
Trade-off      train.memory_gpu_max_byte x0.25-0.85 | train.energy_total_joule x0.6-1.05 | rouge2 -0.03..+0.005
               (pretrained). Its best learning rate is often ten times that of full fine-tuning.
Options        r (8), alpha (16), dropout (0.0), modules (None = query and value projections of every attention; else
               names of linear layers, such as [q_proj, k_proj, v_proj, out_proj])
Works with     all others.   Conflicts with  fused_loss, and freeze, which it implies. Needs the package peft: pip
               install 'kilowit[lora]'.
Source         Hu et al. 2021, arXiv 2106.09685: section 4.1, choice of matrices section 7.1, quality table 2. Ranges
               ours: gradients and state of 12 bytes a parameter left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.methods.freeze import checksum
from kilowit.settings import Block, Count, Positive

CONFLICTS_WITH: Final = ("freeze", "fused_loss")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("peft",)
# Query and value projections by the names that the families give them: BART, PEGASUS and most decoders; T5; LED,
# BigBird and BERT; ProphetNet; GPT-2 and Phi-3, where keys are part of the same matrix.
QUERY_AND_VALUE: Final = (
    "q_proj", "v_proj", "q", "v", "query", "value", "query_proj", "value_proj", "c_attn", "qkv_proj",
)  # fmt: skip
_OURS: Final = "ours: an estimate from what is not trained, for pretrained models"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.25, 0.85, source="ours: no gradients and AdamW state, 12 bytes of 16"),
    Expectation("train.energy_total_joule", 0.6, 1.05, source="ours: weight gradients left out, a third of the FLOPs"),
    Expectation("rouge2", -0.03, 0.005, kind="difference", source=_OURS),
)


class Options(Block):
    """How large a correction, and of what."""

    r: Count = Field(8, description="rank of the correction")
    alpha: Positive = Field(16.0, description="its scale is alpha / r")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="dropout of its input")
    modules: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="last names of the linear layers; None = query and value projections"
    )


def on_model(model: Any, options: Options, facts: dict[str, Any]) -> Any:
    """Add the corrections and freeze the rest; the model keeps its class.

    Raises:
        PartError: no linear layer has one of the names.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else TaskType.CAUSAL_LM,
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=target_names(model, options.modules),
    )
    facts["adapted"] = get_peft_model(model, config)
    base_names = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    facts.update(base_names=base_names, checksum=checksum(model, base_names))
    return model


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show what is trained, that every correction has left zero, and that no other weight has moved."""
    parameters = dict(run.model.named_parameters())
    adapters = {name: value for name, value in parameters.items() if "lora_" in name}
    moved = [name for name, value in adapters.items() if "lora_B" in name and bool(value.detach().any())]
    num_trained = sum(value.numel() for value in parameters.values() if value.requires_grad)
    numbers = {
        "num_adapted_modules": sum("lora_A" in name for name in adapters),
        "num_moved_modules": len(moved),
        "num_trained_parameters": num_trained,
        "trained_fraction": num_trained / sum(value.numel() for value in parameters.values()),
        "base_unmoved": checksum(run.model, run.facts["base_names"]) == run.facts["checksum"],
    }
    only_adapters = num_trained == sum(value.numel() for value in adapters.values())
    all_moved = 0 < numbers["num_moved_modules"] == numbers["num_adapted_modules"]
    return Evidence(only_adapters and all_moved and bool(numbers["base_unmoved"]), numbers)


def on_trained(model: Any, options: Options, facts: dict[str, Any]) -> Any:
    """Add the corrections to the weights; what is left is a model as before, all of it trainable."""
    adapted = facts.pop("adapted")
    adapted.base_model.model = model  # where its parts lay on several processes, this is the whole of it
    merged = adapted.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    return merged


def target_names(model: Any, modules: Sequence[str] | None) -> list[str]:
    """Return the last names of the linear layers to correct.

    Raises:
        PartError: one of the names, or none of the usual ones, is a linear layer's.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear map

    kinds = (nn.Linear, Conv1D)
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, kinds)}
    names = [name for name in (QUERY_AND_VALUE if modules is None else modules) if name in linear]
    missing = [name for name in modules or () if name not in linear]
    if missing or not names:
        what = f'no linear layer is called "{missing[0]}"' if missing else "query and value projections not found"
        raise PartError(f'method "lora": {what}', hint=f"Name some of {', '.join(sorted(linear))} as modules.")
    return names
