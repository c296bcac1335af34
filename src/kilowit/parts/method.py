"""What a method is: one named change to a run, in one file, whose docstring is its card.

A file ``parts/methods/<name>.py`` defines

* ``Options``: a `Block` (pydantic) of its options; absent = no options;
* ``CONFLICTS_WITH``: names of methods that cannot stand in the same recipe;
* ``FAMILIES``: families it works with; None = all trained families;
* ``EXPECTS``: what its card promises, as ranges that the report sets beside the measured ratio;
* up to five plain functions, called in the order of the recipe: ``plan(settings, options)``,
  ``on_data(dataset, options)``, ``on_model(model, options)``, ``callbacks(options)``, ``on_trained(model, options)``;
* ``applied(run, options)``: the evidence that it took effect. It must be there: libraries accept options
  that do nothing, and a saving that was never applied must fail the run, not flatter it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from kilowit import parts
from kilowit.errors import PartError
from kilowit.settings import Block, Settings


class NoOptions(Block):
    """A method without options."""


@dataclass(frozen=True)
class Expectation:
    """The range that a card promises for one figure, as a ratio to (or difference from) plain fine-tuning.

    `figure` is a record's field, with its phase where it has one: ``train.energy_total_joule``, ``rouge2``.
    """

    figure: str
    low: float
    high: float
    kind: str = "ratio"  # ratio | difference
    source: str = ""


@dataclass(frozen=True)
class MethodCall:
    """One method of a recipe with its options, checked."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        """The file that defines the method."""
        return parts.load("methods", self.name)

    @property
    def parsed_options(self) -> Block:
        """The options as the method's own `Options`."""
        options_type: type[Block] = getattr(self.module, "Options", NoOptions)
        return options_type.model_validate(dict(self.options))


@dataclass
class TrainedRun:
    """What `applied` may look at: the run as it is after training."""

    model: Any  # torch.nn.Module
    trainer: Any  # transformers.Seq2SeqTrainer
    settings: Settings
    train_dataset: Any  # what on_data returned
    facts: dict[str, Any] = field(default_factory=dict)  # what callbacks and hooks noted on the way


@dataclass(frozen=True)
class Evidence:
    """Whether a method took effect, and the numbers that show it."""

    applied: bool
    numbers: dict[str, Any]


def plan_settings(settings: Settings, methods: tuple[MethodCall, ...], family: str | None) -> Settings:
    """Let each method of a recipe change the settings, in order.

    Args:
        family: the model family, or None when it is not known yet.

    Raises:
        PartError: two methods conflict, or one does not work with the family or the settings.
    """
    used = {call.name for call in methods}
    for call in methods:
        module = call.module
        if clash := sorted(used & set(getattr(module, "CONFLICTS_WITH", ()))):
            raise PartError(f'method "{call.name}" conflicts with "{clash[0]}"', hint="Put them in two recipes.")
        families = getattr(module, "FAMILIES", None)
        if families is not None and family is not None and family not in families:
            raise PartError(
                f'method "{call.name}" does not work with {family}', hint=f"It takes {', '.join(families)}."
            )
        if hasattr(module, "plan"):
            settings = module.plan(settings, call.parsed_options)
    return settings
