"""prune: leave out the weights that do least.

What it does   heads_layers removes whole attention heads, feed-forward units and layers, the lightest first: the
               matrices become smaller, and with them the file, the memory, the FLOPs and the time.
               magnitude sets the smallest weights of every matrix to zero and keeps them there: file, memory, FLOPs and
               time stay as they were, as dense kernels multiply zeros like any number. It is here to show that.
               n_m does so with 2 of every 4 neighbours, which sparse tensor cores skip: after training the weights are
               packed in bfloat16, in 9/16 of its bytes in memory. Not for keeping: a packed model is not saved.
               The fine-tuning that follows makes good part of the loss. A model from scratch is first trained as the
               study says, for its random weights say nothing of what matters.
When to use    heads_layers: when a little quality may go for speed and size on any device. n_m: large models and
               batches on a GPU of compute capability 8.0 or later.
When not       magnitude: to save anything. n_m: below a batch of 64, where the packing costs more than it saves.
Trade-off      heads_layers: predict.energy_total_joule x0.5-1.0 | predict.wall_second x0.5-1.0 | rouge2 -0.05..+0.005
               magnitude: x1 in all that is measured, and rouge2 within the same range. n_m: between the two.
Options        kind (heads_layers, magnitude or n_m)
               heads_removed_fraction (0.25), ffn_removed_fraction (0.25), encoder_layers (all), decoder_layers (all):
               of heads_layers; layers as a count, spread evenly, or the numbers of those kept
               sparsity (0.5): share of the weights that magnitude sets to zero
               train_first (null): train the whole model in this cell before; null = where its weights are random
Works with     all others; n_m not with fp16.   Conflicts with  ctranslate2_int8, distill, ensemble.
               Over several processes with ddp. Conflicts with  fsdp, zero, zero_offload, which keep weights in parts.
Source         Michel et al. 2019, arXiv 1905.10650 (heads); Han et al. 2015, arXiv 1506.02626 (magnitude); Mishra et
               al. 2021, arXiv 2104.08378 (2:4). Ranges ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback, Workbench
from kilowit.parts.model import Dimensions
from kilowit.parts.narrow import matrix_weights, narrow, num_kept
from kilowit.parts.shrink import Layers, choose_depth, keep_layers, num_layers_of
from kilowit.settings import Block

CONFLICTS_WITH: Final = ("ctranslate2_int8", "distill", "ensemble", "fsdp", "zero", "zero_offload")
FAMILIES: Final = ("bart", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: FLOPs and launches of the parts removed; 1 for magnitude, which removes none"
EXPECTS: Final = (
    Expectation("predict.energy_total_joule", 0.5, 1.0, source=_OURS),
    Expectation("predict.wall_second", 0.5, 1.0, source=_OURS),
    Expectation("rouge2", -0.05, 0.005, kind="difference", source="ours: an estimate; arXiv 1905.10650 for heads"),
)
GROUP, KEPT_OF_GROUP = 4, 2  # 2:4, the pattern of sparse tensor cores
ROWS_MULTIPLE, COLUMNS_MULTIPLE = 32, 64  # shapes that torch packs in half precision; others stay dense
_STRUCTURE: Final = ("heads_removed_fraction", "ffn_removed_fraction", "encoder_layers", "decoder_layers")
Removed = Annotated[float, Field(ge=0, lt=1)]


class Options(Block):
    """What to leave out."""

    kind: Literal["heads_layers", "magnitude", "n_m"] = "heads_layers"
    heads_removed_fraction: Removed = Field(0.25, description="of the heads of every attention")
    ffn_removed_fraction: Removed = Field(0.25, description="of the units of every feed-forward")
    encoder_layers: Layers | None = Field(None, description="how many, or which, are kept; None = all")
    decoder_layers: Layers | None = Field(None, description="how many, or which, are kept; None = all")
    sparsity: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="share of weights that magnitude zeroes")
    train_first: bool | None = Field(None, description="train the whole model here; None = if its weights are random")

    @model_validator(mode="after")
    def _mean_something(self) -> Self:
        foreign = {name for name in _STRUCTURE if self.kind != "heads_layers"}
        foreign |= {"sparsity"} if self.kind != "magnitude" else set()
        if wrong := sorted(foreign & self.model_fields_set):
            raise ValueError(f"{wrong[0]} is not an option of {self.kind}")
        return self


def requires(options: Options) -> tuple[str, ...]:
    """Ask for sparse tensor cores where only they make the method more than zeros."""
    return ("ampere_gpu",) if options.kind == "n_m" else ()


def on_size(dimensions: Dimensions, options: Options) -> Dimensions:
    """Return the sizes that are left.

    Raises:
        PartError: nothing would be removed, or layers are named that the model lacks.
    """
    if options.kind != "heads_layers":
        return dimensions
    d = dimensions
    encoder, decoder = _kept_layers((d.encoder_layers, d.decoder_layers), options)
    num_heads = num_kept(d.num_heads, 1 - options.heads_removed_fraction)
    left = replace(
        d,
        encoder_layers=len(encoder),
        decoder_layers=len(decoder),
        num_heads=num_heads,
        d_attention=d.d_attention // d.num_heads * num_heads,
        encoder_ffn=num_kept(d.encoder_ffn, 1 - options.ffn_removed_fraction),
        decoder_ffn=num_kept(d.decoder_ffn, 1 - options.ffn_removed_fraction),
    )
    if left == d:
        raise PartError(
            'method "prune" would remove nothing from this model', hint="Raise a fraction, or keep fewer layers."
        )
    return left


def num_extra_trainings(options: Options, has_random_weights: bool) -> int:
    """Count the training of the whole model."""
    return int(has_random_weights if options.train_first is None else options.train_first)


def compress(model: Any, options: Options, facts: dict[str, Any], bench: Workbench) -> Any:
    """Train the model where it knows nothing yet, and remove the parts, or the weights, that do least."""
    if num_extra_trainings(options, bench.has_random_weights):
        facts["whole_validation_loss"] = bench.train(model)
    facts.update(num_parameters_before=_num_parameters(model), model_byte_before=_model_byte(model))
    if options.kind == "heads_layers":
        return remove_parts(model, options)
    masks = {
        name: two_of_four(weight) if options.kind == "n_m" else largest(weight, options.sparsity)
        for name, weight in matrix_weights(model).items()
    }
    facts["callback"] = KeepZeros(masks)
    facts["callback"].zero(model)
    return model


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Keep zeros zero."""
    return [facts["callback"]] if "callback" in facts else []


def on_trained(model: Any, options: Options, facts: dict[str, Any]) -> Any:
    """Pack a 2:4 model for sparse tensor cores; others stay as they are."""
    return pack_two_of_four(model) if options.kind == "n_m" else model


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show what is left: parameters, bytes, heads, units and layers, or zeros."""
    numbers = {name: value for name, value in run.facts.items() if name != "callback"}
    numbers.update(num_parameters_after=_num_parameters(run.model), model_byte_after=_model_byte(run.model))
    weights = matrix_weights(run.model)
    num_zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    numbers["zero_fraction"] = num_zeros / sum(weight.numel() for weight in weights.values())
    numbers["is_smaller"] = numbers["num_parameters_after"] < numbers["num_parameters_before"]
    if options.kind == "heads_layers":
        numbers.update({f"{side}_layers_after": num_layers_of(run.model, side) for side in ("encoder", "decoder")})
        numbers["num_heads_after"] = run.model.config.num_attention_heads
        return Evidence(numbers["is_smaller"], numbers)
    stayed = run.facts["callback"].all_zero(run.model)
    share = (GROUP - KEPT_OF_GROUP) / GROUP if options.kind == "n_m" else options.sparsity
    return Evidence(stayed and numbers["zero_fraction"] > 0.9 * share, {**numbers, "zeros_stayed": stayed})


def remove_parts(model: Any, options: Options) -> Any:
    """Return a copy without the layers, heads and units that the options leave out."""
    kept = _kept_layers((num_layers_of(model, "encoder"), num_layers_of(model, "decoder")), options)
    shallow = keep_layers(model, *kept)
    return narrow(shallow, 1 - options.heads_removed_fraction, 1 - options.ffn_removed_fraction)


def largest(weight: Any, sparsity: float) -> Any:
    """Return the mask, True where kept, of all but the smallest `sparsity` of a matrix's weights."""
    import torch

    num_removed = int(weight.numel() * sparsity)
    removed = weight.detach().abs().flatten().topk(num_removed, largest=False).indices
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[removed] = False
    return mask.reshape(weight.shape)


def two_of_four(weight: Any) -> Any:
    """Return the mask, True where kept, of the 2 largest of every 4 neighbours in a row; all if 4 does not divide."""
    import torch

    if weight.shape[1] % GROUP:
        return torch.ones_like(weight, dtype=torch.bool)
    groups_N4 = weight.detach().abs().reshape(-1, GROUP)
    kept_N2 = groups_N4.topk(KEPT_OF_GROUP, dim=1).indices
    mask_N4 = torch.zeros_like(groups_N4, dtype=torch.bool).scatter_(1, kept_N2, True)
    return mask_N4.reshape(weight.shape)


def pack_two_of_four(model: Any) -> Any:
    """Turn a model to bfloat16 and its 2:4 matrices into torch's semi-structured sparse tensors; CUDA only."""
    import torch
    from torch.sparse import to_sparse_semi_structured

    model.to(torch.bfloat16)
    for name in matrix_weights(model):
        linear = model.get_submodule(name.removesuffix(".weight"))
        num_rows, num_columns = linear.weight.shape
        if num_rows % ROWS_MULTIPLE == 0 and num_columns % COLUMNS_MULTIPLE == 0:
            packed = to_sparse_semi_structured(linear.weight.detach())
            linear.weight = torch.nn.Parameter(packed, requires_grad=False)
    return model


class KeepZeros(TrainingCallback):
    """Masks gradients, so that weights that are zero stay zero: no optimizer here moves a zero without a gradient."""

    def __init__(self, masks: Mapping[str, Any]) -> None:
        self.masks = dict(masks)
        self.handles: list[Any] = []

    def zero(self, model: Any) -> None:
        """Set the masked weights to zero."""
        import torch

        with torch.no_grad():
            for name, mask in self.masks.items():
                model.get_parameter(name).mul_(mask)

    def on_train_begin(self, model: Any) -> None:
        """Mask the gradients of the weights that are trained."""
        for name, mask in self.masks.items():
            weight = model.get_parameter(name)
            self.masks[name] = mask.to(weight.device)
            if weight.requires_grad:
                self.handles.append(weight.register_hook(self._mask_gradient(name)))

    def _mask_gradient(self, name: str) -> Any:
        return lambda gradient: gradient * self.masks[name]

    def on_train_end(self, model: Any) -> None:
        """Let the gradients go."""
        for handle in self.handles:
            handle.remove()

    def all_zero(self, model: Any) -> bool:
        """Whether every masked weight is zero still."""
        return not any(model.get_parameter(name)[~mask].any().item() for name, mask in self.masks.items())


def _kept_layers(num_layers: tuple[int, int], options: Options) -> tuple[list[int], list[int]]:
    return choose_depth(num_layers, options.encoder_layers, options.decoder_layers, "prune")


def _num_parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _model_byte(model: Any) -> int:
    return sum(p.nbytes for p in model.parameters())
