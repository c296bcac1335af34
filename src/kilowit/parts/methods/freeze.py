"""freeze: train only a part of the weights.

What it does   Takes the named modules out of training: no gradient, no optimizer state; where nothing below a frozen
               module is trained, no backward pass through it either.
When to use    When memory or energy is short and the pretrained encoder already reads your kind of text.
When not       With a model from scratch: frozen random weights stay random.
Trade-off      train.energy_total_joule x0.5-0.95 | train.memory_gpu_max_byte x0.4-0.95 | rouge2 -0.02..+0.005
               (pretrained, modules [embeddings, encoder])
Options        modules: embeddings, encoder, decoder, or patterns of parameter names ("model.decoder.layers.0.*").
               embeddings = token embeddings, which are the vocabulary head too where the two are tied (BART, T5,
               PEGASUS). encoder and decoder leave the token embeddings that they share trainable: the backward pass
               then still runs through the encoder to reach them. Name both to save it.
Works with     all others.   Conflicts with  lora, which freezes all else itself.
Source         Shleifer and Rush 2020, arXiv 2010.13002 (embeddings and encoder frozen in fine-tuning). Ranges
               ours: FLOPs of the backward pass left out, two thirds of the encoder's. Measured, BART-base, batch 32,
               bf16, one H100, one seed: energy x0.69, time x0.74, memory x0.77; embeddings alone x0.88, x0.84, x0.97
               (docs/results/freeze).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.settings import Block

CONFLICTS_WITH: Final = ("lora",)
FAMILIES: Final = None
ONE_STACK: Final = ("gpt2", "llama", "unilm")  # families without an encoder
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: backward FLOPs left out, by torch's counter on BART"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.5, 0.95, source=_OURS),
    Expectation("train.memory_gpu_max_byte", 0.4, 0.95, source="ours: gradients and AdamW state, 12 bytes a parameter"),
    Expectation("rouge2", -0.02, 0.005, kind="difference", source="ours: an estimate for pretrained models"),
)


class Options(Block):
    """What not to train."""

    modules: Annotated[list[str], Field(min_length=1)] = Field(
        description="embeddings, encoder, decoder, or patterns of parameter names"
    )


def check(options: Options, family: str | None) -> None:
    """Refuse halves that a family does not have.

    Raises:
        PartError: the encoder or the decoder of a model whose one stack is both.
    """
    halves = [name for name in options.modules if name in ("encoder", "decoder")]
    if family in ONE_STACK and halves:
        raise PartError(
            f'method "freeze": {family} has no {halves[0]} of its own, one stack reads and writes',
            hint='Name its layers by a pattern, such as "*.layers.0.*", or embeddings.',
        )


def on_model(model: Any, options: Options, facts: dict[str, Any]) -> Any:
    """Freeze, and note what the frozen parameters hold."""
    names = freeze_parameters(model, options.modules)
    facts.update(names=names, checksum=checksum(model, names))
    return model


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show how many parameters were frozen, and that none of them moved."""
    parameters = dict(run.model.named_parameters())
    names = run.facts["names"]
    num_frozen = sum(parameters[name].numel() for name in names)
    still_frozen = not any(parameters[name].requires_grad for name in names)
    unmoved = checksum(run.model, names) == run.facts["checksum"]
    numbers = {
        "num_frozen_parameters": num_frozen,
        "num_frozen_tensors": len(names),
        "frozen_fraction": num_frozen / sum(p.numel() for p in parameters.values()),
        "unmoved": unmoved,
    }
    return Evidence(num_frozen > 0 and still_frozen and unmoved, numbers)


def freeze_parameters(model: Any, modules: Sequence[str]) -> list[str]:
    """Take the parameters of the named modules out of training; return their names.

    Raises:
        PartError: a name matches nothing, or nothing is left to train.
    """
    frozen: set[str] = set()
    for module in modules:
        matched = _parameters_of(model, module)
        if not matched:
            example = next(name for name, _ in model.named_parameters())
            raise PartError(
                f'method "freeze": no parameter matches "{module}"',
                hint=f"Take embeddings, encoder, decoder or a pattern of names such as {example}.",
            )
        frozen |= matched
    names = [name for name, _ in model.named_parameters() if name in frozen]
    if len(names) == sum(1 for _ in model.named_parameters()):
        raise PartError(f'method "freeze": {", ".join(modules)} leave nothing to train', hint="Freeze less.")
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return names


def checksum(model: Any, names: Sequence[str]) -> int:
    """Sum the bits of parameters as integers: exact, in any order, on any device. Cost: one reading of them."""
    import torch

    total = 0
    for name in names:
        value = model.get_parameter(name).detach().contiguous()
        bits = value.view(torch.int32) if value.element_size() == 4 else value.view(torch.int16)
        total += int(bits.sum(dtype=torch.int64).item())
    return total


def _parameters_of(model: Any, module: str) -> set[str]:
    shared = set(map(id, model.get_input_embeddings().parameters()))
    named = list(model.named_parameters())
    if module == "embeddings":
        return {name for name, parameter in named if id(parameter) in shared}
    if module in ("encoder", "decoder"):
        inside = getattr(model, f"get_{module}")().parameters()
        chosen = set(map(id, inside)) - shared
        return {name for name, parameter in named if id(parameter) in chosen}
    return {name for name, _ in named if fnmatchcase(name, module)}
