"""bf16: matrix products in bfloat16, weights and optimizer in float32.

What it does   Runs every forward pass (training, validation, prediction) under autocast to bfloat16: 8 bits of
               exponent as in float32, 8 bits of precision. Sums, norms and the loss stay in float32. No loss scaling.
When to use    On NVIDIA Ampere and later (A100, RTX 30, H100), where it runs on tensor cores. With T5 and PEGASUS too,
               which overflow in fp16.
When not       On a CPU without AMX or AVX-512 BF16 and on GPUs before Ampere: emulated there, slower than fp32.
Trade-off      train.wall_second x0.3-1.5 | train.energy_total_joule x0.25-0.65 | train.memory_gpu_max_byte x0.55-0.9
               | rouge2 -0.005..+0.005 (on a GPU with bf16 tensor cores)
Options        none
Works with     freeze, sortish, truncate, early_stopping, adafactor, packing, token_budget, compile; both engines.
               Conflicts with  bf16_weights, fp16, tf32.
Source         Kalamkar et al. 2019, arXiv 1905.12322. Step time: nanoT5 (github.com/PiotrNawrot/nanoT5), T5-base v1.1
               on one A100: fp32 4.10 s, bf16 1.30 s. Ours, batch 32, one H100: BART-large x0.61 (0.47-0.79) of the
               time, x0.29 (0.25-0.34) of the energy, x0.72 of the memory; BART-base beside a slow host x1.46,
               x0.60, x0.64: casts are more kernels to launch, and launching took the time (docs/results).
"""

from __future__ import annotations

from typing import Any, Final

from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun, TrainingCallback
from kilowit.settings import Settings

CONFLICTS_WITH: Final = ("bf16_weights", "fp16", "tf32")
FAMILIES: Final = None
WITHOUT_TRAINING: Final = True
ENGINES: Final = ("trainer", "loop")
_SEEN: Final = "ours, one H100: BART-large x0.61, energy x0.29; BART-base, slow host: x1.46, x0.60; nanoT5: x0.32"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.3, 1.5, source=_SEEN),
    Expectation("train.energy_total_joule", 0.25, 0.65, source=_SEEN),
    Expectation("train.memory_gpu_max_byte", 0.55, 0.9, source="ours, one H100: BART-large x0.72, BART-base x0.64"),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="arXiv 1905.12322, table 2: fp32 quality"),
)


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Ask for bfloat16 in every forward pass."""
    return settings.with_precision("bf16")


def callbacks(options: NoOptions, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch which dtype a linear layer really computes."""
    return [ForwardDtype(facts)]


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show the dtype that came out of a linear layer in training."""
    return Evidence(run.facts.get("linear_dtype") == "bfloat16", {"linear_dtype": run.facts.get("linear_dtype")})


class ForwardDtype(TrainingCallback):
    """Notes the dtype of the first linear layer's first output as ``facts["linear_dtype"]``."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def on_train_begin(self, model: Any) -> None:
        """Hook the first linear layer; the hook removes itself once it has fired."""
        from torch import nn

        layer = next(module for module in model.modules() if isinstance(module, nn.Linear))

        def note(module: Any, inputs: Any, output: Any) -> None:
            self.facts["linear_dtype"] = str(output.dtype).removeprefix("torch.")
            handle.remove()

        handle = layer.register_forward_hook(note)
