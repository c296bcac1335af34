"""gradient_checkpointing: keep the input of each layer alone, and compute the rest again in the backward pass.

What it does   In the forward pass nothing inside a layer is kept for the backward pass; when its turn comes, its
               forward pass runs once more from its input. Weights and gradients are what they were, to rounding.
When to use    When activations do not fit: long sources, large batches.
When not       When they fit: a third more FLOPs buy nothing. A larger batch that it makes room for seldom pays for it.
Trade-off      train.memory_gpu_max_byte x0.15-0.8 | train.wall_second x1.15-1.45 | train.energy_total_joule x1.15-1.45
               | rouge2 -0.003..+0.003
Options        none
Works with     all others.   Conflicts with  compile, cuda_graph. (It is no part of prediction.)
Source         Chen et al. 2016, arXiv 1604.06174: memory of n layers falls to their inputs at the price of one more
               forward pass, x1.33 of the FLOPs. Ranges ours, from it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun, TrainingCallback

CONFLICTS_WITH: Final = ("compile", "cuda_graph")
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
_CHEN: Final = "arXiv 1604.06174, section 4: one more forward pass is x1.33; range ours"
EXPECTS: Final = (
    Expectation("train.memory_gpu_max_byte", 0.15, 0.8, source="ours: layer inputs in place of all activations"),
    Expectation("train.wall_second", 1.15, 1.45, source=_CHEN),
    Expectation("train.energy_total_joule", 1.15, 1.45, source=_CHEN),
    Expectation("rouge2", -0.003, 0.003, kind="difference", source="ours: the same gradient to rounding"),
)


def on_model(model: Any, options: NoOptions, facts: dict[str, Any]) -> Any:
    """Switch recomputation on.

    Raises:
        PartError: the model has no layers that can do it.
    """
    if not recompute_layers(model, True):
        raise PartError(
            f'method "gradient_checkpointing": {type(model).__name__} cannot recompute its layers',
            hint="Take another model, or a smaller batch with gradient_accumulation.",
        )
    return model


def callbacks(options: NoOptions, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Count what is computed again."""
    return [CountRecomputed(facts)]


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show how often a layer ran per pass through its stack: twice, when the backward pass runs it again."""
    return Evidence(run.facts.get("num_recomputed_layers", 0) > 0, dict(run.facts))


def on_trained(model: Any, options: NoOptions, facts: dict[str, Any]) -> Any:
    """Switch it off: nothing after training needs it."""
    recompute_layers(model, False)
    return model


def recompute_layers(model: Any, enable: bool) -> int:
    """Let every layer that can recompute itself in the backward pass do so, or not; return how many there are.

    Not by the model's own switch: it also makes the embeddings' output require a gradient, and with frozen embeddings
    and encoder that would bring back the backward pass that freezing saves. The non-reentrant way needs no such thing.
    """
    from torch.utils.checkpoint import checkpoint

    layers = _layers(model)
    for layer in layers:
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.gradient_checkpointing = enable
    return len(layers)


def _layers(module: Any) -> list[Any]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]


class CountRecomputed(TrainingCallback):
    """Compares the passes through the layers with those through their stacks, in training mode.

    A layer's pass is seen at its first linear map: some versions of transformers recompute outside the layer's own
    hooks, some inside.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.handles: list[Any] = []
        facts.update(num_layer_passes=0, num_recomputed_layers=0)

    def on_train_begin(self, model: Any) -> None:
        """Hook the stacks and their layers."""
        from torch import nn
        from transformers.pytorch_utils import Conv1D  # GPT-2's linear map

        decoder = model.get_decoder()
        is_one_stack = decoder in set(model.get_encoder().modules())
        for stack in (decoder,) if is_one_stack else (model.get_encoder(), decoder):
            layers = _layers(stack)
            self.handles.append(stack.register_forward_pre_hook(self._counter(stack, -len(layers))))
            for layer in layers:
                linear = next(module for module in layer.modules() if isinstance(module, nn.Linear | Conv1D))
                self.handles.append(linear.register_forward_pre_hook(self._counter(stack, 1)))

    def _counter(self, stack: Any, change: int) -> Any:
        def count(module: Any, inputs: Any) -> None:
            if stack.training:
                self.facts["num_layer_passes"] += max(change, 0)
                self.facts["num_recomputed_layers"] += change

        return count

    def on_train_end(self, model: Any) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()
