"""What a method is: one named change to a run, in one file, whose docstring is its card.

A file ``parts/methods/<name>.py`` defines

* ``Options``: a `Block` (pydantic) of its options; absent = no options;
* ``CONFLICTS_WITH``: names of methods that cannot stand in the same recipe;
* ``FAMILIES``: families it works with; None = all trained families;
* ``EXPECTS``: what its card promises, as ranges that the report sets beside the measured ratio;
* ``ENGINES``: names of the training engines it works with; absent = the trainer alone;
* ``REQUIRES``: what the machine that runs it must have, of `REQUIREMENTS`; absent = nothing;
* ``check(options, family)``: refuse what FAMILIES cannot express, at plan time;
* up to five plain functions, called in the order of the recipe, each taking a value and returning one:
  ``plan(settings, options)``, ``on_data(data, options, facts)``, ``on_model(model, options, facts)``,
  ``callbacks(options, facts)``, ``on_trained(model, options, facts)``;
* ``applied(run, options)``: the evidence that it took effect. It must be there: libraries accept options
  that do nothing, and a saving that was never applied must fail the run, not flatter it.

`facts` is the method's own notebook, a dict that begins empty: what the functions note on the way, ``applied`` finds in
``run.facts``. Methods import torch inside functions only: a study is checked and planned without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from pydantic import ValidationError

from kilowit import parts
from kilowit.errors import PartError, PlanError
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Block, Settings

ENGINES: Final = ("trainer", "loop")  # in the order in which they are taken


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
        """The options as the method's own `Options`.

        Raises:
            PartError: an option is unknown, missing or out of range.
        """
        options_type: type[Block] = getattr(self.module, "Options", NoOptions)
        try:
            return options_type.model_validate(dict(self.options))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "options"
            raise PartError(
                f'method "{self.name}": {where}: {first["msg"]}',
                hint=f"`kilowit parts methods {self.name}` lists them.",
            ) from error


class TrainingCallback:
    """What an engine calls while it trains; a method overrides the moments that it needs. Knows no engine."""

    num_rehearsals: int = 0  # batches of other shapes to run in the warm-up: what is compiled is compiled there

    def on_train_begin(self, model: Any) -> None:
        """Called once, before the first forward pass (the warm-up's)."""

    def on_validation(self, model: Any, num_steps: int, loss: float) -> bool:
        """Called after each validation, `num_steps` optimizer steps into training; True ends training."""
        return False

    def on_train_end(self, model: Any) -> None:
        """Called once, after the last step and validation, within the train phase."""


@dataclass
class TrainedRun:
    """What `applied` may look at: the run as it is after training."""

    model: Any  # torch.nn.Module
    optimizer: Any  # torch.optim.Optimizer
    settings: Settings
    seed: int
    data: TrainingData  # what the last on_data returned
    num_steps: int  # optimizer steps taken
    first_order: tuple[int, ...]  # indices of training examples as the first epoch's batches took them
    num_padding_tokens: int  # source and target positions that were computed for nothing, all steps
    num_real_tokens: int  # source and target tokens, all steps
    facts: dict[str, Any] = field(default_factory=dict)  # the notebook of the method that is asked


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
        options = call.parsed_options
        if hasattr(module, "check"):
            module.check(options, family)
        if hasattr(module, "plan"):
            settings = module.plan(settings, options)
    choose_engine(settings, methods)
    return settings


def choose_engine(settings: Settings, methods: tuple[MethodCall, ...]) -> str:
    """Return the engine that the settings name, else the first of `ENGINES` that all methods work with.

    Raises:
        PartError: a method does not work with the engine that is named, or no engine fits all.
    """
    fits = {call.name: tuple(getattr(call.module, "ENGINES", ENGINES[:1])) for call in methods}
    if (named := settings.train.engine) is not None:
        for name, engines in fits.items():
            if named not in engines:
                hint = f"Set train.engine to {engines[0]}, or leave it out."
                raise PartError(f'method "{name}" does not work with the engine {named}', hint=hint)
        return named
    common = [engine for engine in ENGINES if all(engine in engines for engines in fits.values())]
    if not common:
        needs = ", ".join(f'"{name}" needs {engines[0]}' for name, engines in fits.items() if len(engines) == 1)
        raise PartError(f"no engine works with all methods: {needs}", hint="Put them in two recipes.")
    return common[0]


def has_nvidia_gpu() -> bool:
    """Ask the driver, not torch: a study is checked without it."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        return bool(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


REQUIREMENTS: Final[Mapping[str, tuple[str, Callable[[], bool]]]] = {"nvidia_gpu": ("an NVIDIA GPU", has_nvidia_gpu)}


def require_machine(methods: Iterable[MethodCall]) -> None:
    """Refuse methods that this machine cannot run, before anything is spent on them.

    Raises:
        PlanError: naming the first such method and what it lacks here.
    """
    for call in methods:
        for requirement in getattr(call.module, "REQUIRES", ()):
            what, is_met = REQUIREMENTS[requirement]
            if not is_met():
                raise PlanError(
                    f'method "{call.name}" needs {what} and there is none here',
                    hint="Exclude it, or run the study where there is one; `kilowit plan --gpu` plans for it.",
                )
