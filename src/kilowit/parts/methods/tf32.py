"""tf32: matrix products of float32 numbers with 10 bits of mantissa, on tensor cores.

What it does   Lets every product of float32 matrices (training, validation, prediction) round its inputs to TensorFloat
               32: the 8 bits of exponent of float32, the 10 bits of mantissa of float16. Sums stay in float32. Weights,
               activations and optimizer keep their size.
When to use    On NVIDIA Ampere and later where half precision is not wanted: the same code, no overflow, no scaling.
When not       Where bf16 trains: its products are twice as fast and its activations half as large.
Trade-off      train.wall_second x0.3-0.65 | train.energy_total_joule x0.3-0.6 | train.memory_gpu_max_byte x0.8-1.03
               | rouge2 -0.003..+0.003 (against float32 products)
Options        none
Works with     all but other number formats.   Conflicts with  bf16, bf16_weights, fp16.
Source         Ampere white paper (NVIDIA 2020), third-generation tensor cores. Step time: nanoT5 (github.com/
               PiotrNawrot/nanoT5), T5-base v1.1 on one A100: fp32 4.10 s, tf32 1.39 s. Ours, BART-base, batch 32, one
               H100, one seed: x0.52 of the time, x0.44 of the energy, x0.82 of the memory (docs/results).
"""

from __future__ import annotations

from typing import Any, Final

from kilowit.errors import PlanError
from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun
from kilowit.settings import Settings

CONFLICTS_WITH: Final = ("bf16", "bf16_weights", "fp16")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
REQUIRES: Final = ("ampere_gpu",)
FIRST_CAPABILITY: Final = (8, 0)  # of Ampere, the first with TF32
_SEEN: Final = "ours: BART-base on one H100 x0.52, energy x0.44, one seed; nanoT5, T5-base on one A100: x0.34"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.3, 0.65, source=_SEEN),
    Expectation("train.energy_total_joule", 0.3, 0.6, source=_SEEN),
    Expectation("train.memory_gpu_max_byte", 0.8, 1.03, source="ours: x0.82 on one H100, one seed; no size changes"),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="ours: an estimate"),
)


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Ask for TF32 products."""
    return settings.with_precision("tf32")


def on_model(model: Any, options: NoOptions, facts: dict[str, Any]) -> Any:
    """Switch TF32 on for this process.

    Raises:
        PlanError: torch sees no device that has it.
    """
    import torch

    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < FIRST_CAPABILITY:
        raise PlanError(
            'method "tf32" needs a CUDA device of compute capability 8.0 and torch sees none',
            hint="Leave out the method, or run the study on Ampere or later.",
        )
    torch.backends.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    return model


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show that the device's products of float32 matrices round as TF32 does, by taking one."""
    error = product_error(run.model.device)
    return Evidence(error > 0, {"product_relative_error": error, "device": str(run.model.device)})


def product_error(device: Any) -> float:
    """Return the relative error of (1 + 2^-12) times one by a matrix product: 0 in float32, 2^-12 in TF32."""
    import torch

    number = 1 + 2**-12  # 13 bits: float32 holds it, TF32's 11 do not
    square = torch.full((256, 256), number, dtype=torch.float32, device=device)
    product = square @ torch.eye(256, dtype=torch.float32, device=device)
    return float((product.double() / number - 1).abs().max())
