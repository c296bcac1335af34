"""bf16_weights: weights and gradients in bfloat16, with the optimizer's own weights in float32.

What it does   Keeps the model in bfloat16 while it trains: passes read half the bytes, nothing is cast on the way, and
               norms and residual sums are bfloat16 too. The optimizer steps on float32 copies (master weights), which
               are rounded into the model after each step and are the trained weights at the end. Clipping and the loss
               are in float32. Prediction computes as with bf16.
When to use    With a GPU that has bf16 tensor cores, where bf16 (autocast) spends its time in casts and memory traffic.
When not       When the last decimals of the loss matter; on devices without bf16 arithmetic.
Trade-off      train.wall_second x0.2-0.75 | train.energy_total_joule x0.2-0.75 | train.memory_gpu_max_byte x0.4-0.95
               | rouge2 -0.01..+0.005 (on a GPU with bf16 tensor cores)
Options        none
Works with     packing, token_budget, compile, sortish, freeze, truncate, early_stopping, adafactor; the engine loop.
               Conflicts with  bf16, fp16, tf32. With early_stopping the best weights come back as rounded to bfloat16.
Source         Micikevicius et al. 2018, arXiv 1710.03740, section 3.1 (master weights); Kalamkar et al. 2019, arXiv
               1905.12322. One padding-free step of BART-large on an H100: 135 ms with autocast, 100 ms so (measured
               on torch 2.11 before this project's own runs).
"""

from __future__ import annotations

from typing import Any, Final

from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun, TrainingCallback
from kilowit.settings import Settings

CONFLICTS_WITH: Final = ("bf16", "fp16", "tf32")
FAMILIES: Final = None
ENGINES: Final = ("loop",)
_STEP: Final = "BART-large, one H100: 100 ms against 135 ms with autocast, times the range of bf16"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.2, 0.75, source=_STEP),
    Expectation("train.energy_total_joule", 0.2, 0.75, source=_STEP),
    Expectation("train.memory_gpu_max_byte", 0.4, 0.95, source="arXiv 1710.03740: activations halved, weights not"),
    Expectation("rouge2", -0.01, 0.005, kind="difference", source="ours: an estimate, to be measured"),
)


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Ask for weights and gradients in bfloat16."""
    return settings.with_precision("bf16").with_weights("bf16")


def callbacks(options: NoOptions, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch in what the weights and their gradients really are."""
    return [StoredDtypes(facts)]


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show the dtypes of weights and gradients in training, and of what the optimizer stepped on."""
    masters = {str(p.dtype).removeprefix("torch.") for group in run.optimizer.param_groups for p in group["params"]}
    trained = {str(p.dtype).removeprefix("torch.") for p in run.model.parameters()}
    numbers = {
        "weight_dtype": run.facts.get("weight_dtype"),
        "gradient_dtype": run.facts.get("gradient_dtype"),
        "optimizer_dtype": ", ".join(sorted(masters)),
        "dtype_after_training": ", ".join(sorted(trained)),
    }
    in_half = numbers["weight_dtype"] == numbers["gradient_dtype"] == "bfloat16"
    return Evidence(in_half and masters == trained == {"float32"}, numbers)


class StoredDtypes(TrainingCallback):
    """Notes the dtype of the first trained weight and of its first gradient."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def on_train_begin(self, model: Any) -> None:
        """Hook the first trained weight; the hook removes itself once it has fired."""
        weight = next(parameter for parameter in model.parameters() if parameter.requires_grad)
        self.facts["weight_dtype"] = str(weight.dtype).removeprefix("torch.")

        def note(parameter: Any) -> None:
            self.facts["gradient_dtype"] = str(parameter.grad.dtype).removeprefix("torch.")
            handle.remove()

        handle = weight.register_post_accumulate_grad_hook(note)
