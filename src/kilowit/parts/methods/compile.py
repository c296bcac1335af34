"""compile: torch.compile of each layer, or of encoder and decoder whole.

What it does   Lets torch trace the model and write fused kernels for it. `region: layers` compiles one encoder and one
               decoder layer and uses them for all; `region: stacks` compiles encoder and decoder whole. Shapes
               are dynamic: one graph serves all lengths. Compilation happens in the warm-up, which runs batches of
               other shapes too, and stays on the bill.
When to use    Long trainings on a GPU, most of all with bf16_weights, where norms, dropout and activations are a third
               of the time.
When not       Runs of a minute: compiling takes 10 to 90 seconds. Needs a C++ compiler on a CPU, Triton on a GPU.
Trade-off      train.wall_second x0.5-1.1 | train.energy_total_joule x0.5-1.1 | rouge2 -0.005..+0.005; the warm-up takes
               10 to 90 s more
Options        region (layers, or stacks), backend (inductor; aot_eager traces and writes no kernels: to test)
Works with     packing, bf16, bf16_weights and all others, in both engines.
               Conflicts with  ddp, distill, fsdp, gradient_checkpointing, sparse_attention, zero, zero_offload.
Source         Ansel et al. 2024, PyTorch 2, ASPLOS. nanoT5 (github.com/PiotrNawrot/nanoT5), T5-base on one A100: bf16
               1.30 s a step, compiled 0.56 s; the upper end is ours: short runs and small models.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.settings import Block

_COUNTS: Final = "it counts inside the layers, and what is compiled would be compiled anew at every count"
_RANKS: Final = "it was never tried over several processes"
CONFLICTS_WITH: Final = {
    "ddp": _RANKS,
    "distill": "its hooks would be compiled with the layers that they watch",
    "fsdp": _RANKS,
    "gradient_checkpointing": _COUNTS,
    "sparse_attention": _COUNTS,
    "zero": _RANKS,
    "zero_offload": _RANKS,
}
FAMILIES: Final = ("bart", "mt5", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
_NANOT5: Final = "nanoT5: x0.43 in bf16 on one A100; upper end ours: short runs and small models"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.5, 1.1, source=_NANOT5),
    Expectation("train.energy_total_joule", 0.5, 1.1, source=_NANOT5),
    Expectation("rouge2", -0.005, 0.005, kind="difference", source="ours: the same mathematics, fused"),
)


class Options(Block):
    """What is compiled, and how."""

    region: Literal["layers", "stacks"] = Field("layers", description="layers: one graph for all of a kind")
    backend: Literal["inductor", "aot_eager"] = Field("inductor", description="aot_eager: trace only, to test")


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Compile when training begins, let go of it at its end."""
    return [Compiled(options.region, options.backend, facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the graphs that were made, what broke them, and the calls that they served."""
    numbers = {**run.facts, "backend": options.backend, "region": options.region}
    return Evidence(numbers.get("num_graphs", 0) > 0, numbers)


class Compiled(TrainingCallback):
    """Compiles in place: names of parameters stay; `facts` gets the counts of torch's tracer."""

    num_rehearsals = 3  # torch makes a size dynamic when it changes; the last batch of an epoch is another number

    def __init__(self, region: str, backend: str, facts: dict[str, Any]) -> None:
        self.region, self.backend, self.facts = region, backend, facts
        self.modules: list[Any] = []

    def on_train_begin(self, model: Any) -> None:
        """Mark the modules; the first forward pass compiles them."""
        import torch._dynamo
        from torch._dynamo.utils import counters

        torch._dynamo.reset()
        counters.clear()
        stacks = (model.get_encoder(), model.get_decoder())
        self.modules = [layer for stack in stacks for layer in _layers(stack)] if self.region == "layers" else [*stacks]
        for module in self.modules:
            module.compile(backend=self.backend, dynamic=True)

    def on_train_end(self, model: Any) -> None:
        """Count the graphs, and go back to plain calls: prediction has other shapes and a cache."""
        from torch._dynamo.utils import counters

        self.facts["num_graphs"] = int(counters["stats"]["unique_graphs"])
        self.facts["num_graph_breaks"] = sum(counters["graph_break"].values())
        self.facts["num_compiled_modules"] = len(self.modules)
        for module in self.modules:
            module._compiled_call_impl = None


def _layers(side: Any) -> Any:
    return side.layers if hasattr(side, "layers") else side.block  # T5 calls them blocks
