"""What a method is: one named change to a run, in one file, whose docstring is its card.

A file ``parts/methods/<name>.py`` defines

* ``Options``: a `Block` (pydantic) of its options; absent = no options;
* ``CONFLICTS_WITH``: names of methods that cannot stand in the same recipe, as a tuple or with the reason of each;
* ``FAMILIES``: families it works with; None = all trained families;
* ``EXPECTS``: what its card promises, as ranges that the report sets beside the measured ratio;
* ``WITHOUT_TRAINING``: True where it takes effect on a model that is not trained (zero_shot); absent = it does not;
* ``ENGINES``: names of the training engines it works with; absent = the trainer alone;
* ``REQUIRES``: what the machine that runs it must have, of `REQUIREMENTS`; absent = nothing;
* ``UNAVAILABLE`` and ``SUCCESSOR``: why a method that people ask for is not to be had, and what took its place; such a
  file is a card only, and a study that names it is refused when it is checked;
* ``requires(options)``: likewise, where it depends on the options;
* ``lacks_here(options)``: the `Lack` of this machine that the options meet; None = nothing;
* ``check(options, family)``: refuse what FAMILIES cannot express, at plan time;
* ``on_size(dimensions, options)``: the sizes that are left to train, for the plan; PartError if there are none;
* ``num_extra_trainings(options, has_random_weights)``: trainings of the whole model on the bill of ``compress``;
* ``writes_training_summaries(options)``: whether the whole model summarizes the training documents there too;
* ``num_members(options)``: models that are trained alike and generate together; these three are for the plan;
* ``compress(model, options, facts, bench)``: return the model to train in place of the one loaded, before any
  ``on_model``, in the metered phase ``compress``; `Workbench` says what it has at hand;
* up to six plain functions, called in the order of the recipe, each taking a value and returning one:
  ``plan(settings, options)``, ``on_data(data, options, facts)``, ``on_model(model, options, facts)``,
  ``tune(settings, options, facts, rehearsal)``, ``callbacks(options, facts)``, ``on_trained(model, options, facts)``;
  `tune` settles in the warm-up what only a look at the memory can tell;
* ``compress_trained(model, folder, options, facts)``: put the trained model, a folder as save_pretrained leaves it, in
  another as the runtime of ``settings.predict`` loads it; in the phase ``compress``, which then follows training;
* ``applied(run, options)``: the evidence that it took effect. It must be there: libraries accept options
  that do nothing, and a saving that was never applied must fail the run, not flatter it.

`facts` is the method's own notebook, a dict that begins empty: what the functions note on the way, ``applied`` finds in
``run.facts``. Methods import torch inside functions only: a study is checked and planned without it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final, Protocol

from pydantic import ValidationError

from kilowit import parts
from kilowit.errors import PartError, PlanError
from kilowit.parts.model import Dimensions
from kilowit.parts.ranks import RankFacts, check_shares, num_nvidia_gpus
from kilowit.parts.tokenized import TokenizedSplit, TrainingData
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

    def on_loss(self, model: Any, inputs: Mapping[str, Any], outputs: Any, loss_sum: Any) -> Any:
        """Called after each forward pass of training with its summed token loss, 0-d; return the sum to descend.

        `inputs` holds what the forward pass was given, and ``labels``; `outputs` what it returned.
        """
        return loss_sum

    def on_replay(self, model: Any, inputs: Mapping[str, Any]) -> None:
        """Called, in place of `on_loss`, after each pass that is replayed as it was recorded: to count, no more.

        `on_loss` is called as passes are recorded, and what it does to the loss is recorded with them.
        """

    def on_validation(self, model: Any, num_steps: int, loss: float) -> bool:
        """Called after each validation, `num_steps` optimizer steps into training; True ends training."""
        return False

    def on_train_end(self, model: Any) -> None:
        """Called once, after the last step and validation, within the train phase."""


class Workbench(Protocol):
    """What a method's ``compress`` has at hand: the cell's data, its training and its generation, all metered."""

    settings: Settings  # as the methods changed them
    seed: int
    data: TrainingData  # assign to it, and the cell trains on that
    has_random_weights: bool  # nothing has been learned yet: the model is from scratch

    def train(self, model: Any) -> float | None:
        """Fine-tune a model in place as the study says, without methods, on the bill of ``compress``.

        Returns:
            Its validation loss at the end; None where the study asks for no validation.
        """
        ...

    def train_member(self, method: str, seed: int) -> Any:
        """Load the cell's model anew from `seed` and train it with all methods but `method`; billed as training."""
        ...

    def summarize(self, model: Any, split: TokenizedSplit, num_beams: int | None) -> list[array[int] | None]:
        """Write a summary of each source; return them as targets, tokenized and cut; None where nothing was written.

        Args:
            num_beams: None = as the study predicts.
        """
        ...


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
    ranks: tuple[RankFacts, ...] = ()  # what each process held, where there were several


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
        PartError: two methods conflict, or one is not available or does not work with the family or the settings.
    """
    used = {call.name for call in methods}
    for call in methods:
        module = call.module
        if reason := getattr(module, "UNAVAILABLE", None):
            raise PartError(f'method "{call.name}" is not available: {reason}', hint=f"Take {module.SUCCESSOR}.")
        _refuse_conflicts(call, used)
        for needed, why in getattr(module, "NEEDS", {}).items():
            if needed not in used:
                raise PartError(f'method "{call.name}" needs "{needed}": {why}', hint=f"Add {needed} to the recipe.")
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
    check_shares(settings)
    if not settings.trains:
        _require_no_training(methods)
        return settings
    choose_engine(settings, methods)
    return settings


def _require_no_training(methods: Iterable[MethodCall]) -> None:
    for call in methods:
        if not getattr(call.module, "WITHOUT_TRAINING", False):
            raise PartError(
                f'method "{call.name}" is about training, which "zero_shot" leaves out', hint="Put them in two recipes."
            )


def _refuse_conflicts(call: MethodCall, used: set[str]) -> None:
    conflicts = getattr(call.module, "CONFLICTS_WITH", ())
    if clash := sorted(used & set(conflicts)):
        other = clash[0]
        both = ((conflicts, other), (getattr(parts.load("methods", other), "CONFLICTS_WITH", ()), call.name))
        reasons = [named[name] for named, name in both if isinstance(named, Mapping)]
        why = f": {reasons[0]}" if reasons else ""
        raise PartError(f'method "{call.name}" conflicts with "{other}"{why}', hint="Put them in two recipes.")


def plan_size(dimensions: Dimensions, methods: Iterable[MethodCall]) -> Dimensions:
    """Let each method of a recipe change the sizes of the model, in order.

    Raises:
        PartError: a method names parts that the model lacks, or would leave it as it is.
    """
    for call in methods:
        if hasattr(call.module, "on_size"):
            dimensions = call.module.on_size(dimensions, call.parsed_options)
    return dimensions


def choose_engine(settings: Settings, methods: Iterable[MethodCall]) -> str:
    """Return the engine that the settings name, else the first of `ENGINES` that all methods work with.

    Raises:
        PartError: a method does not work with the engine that is named, or no engine fits all.
    """
    fits = {f'method "{call.name}"': tuple(getattr(call.module, "ENGINES", ENGINES[:1])) for call in methods}
    if settings.train.optimizer == "adam8bit" and 'method "adam8bit"' not in fits:
        fits["train.optimizer adam8bit"] = ENGINES[:1]
    if (named := settings.train.engine) is not None:
        for who, engines in fits.items():
            if named not in engines:
                hint = f"Set train.engine to {engines[0]}, or leave it out."
                raise PartError(f"{who} does not work with the engine {named}", hint=hint)
        return named
    common = [engine for engine in ENGINES if all(engine in engines for engines in fits.values())]
    if not common:
        needs = ", ".join(f"{who} needs {engines[0]}" for who, engines in fits.items() if len(engines) == 1)
        raise PartError(f"no engine works with all of the recipe: {needs}", hint="Put them in two recipes.")
    return common[0]


def has_nvidia_gpu() -> bool:
    """Whether the driver knows a GPU."""
    return num_nvidia_gpus() > 0


def has_ampere_gpu() -> bool:
    """Whether the driver has an NVIDIA GPU of compute capability 8.0 or higher."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return any(pynvml.nvmlDeviceGetCudaComputeCapability(device)[0] >= 8 for device in devices)
    finally:
        pynvml.nvmlShutdown()


def _package(name: str, extra: str) -> tuple[str, Callable[[], bool]]:
    return f"the package {name} (pip install 'kilowit[{extra}]')", lambda: find_spec(name) is not None


REQUIREMENTS: Final[Mapping[str, tuple[str, Callable[[], bool]]]] = {
    "nvidia_gpu": ("an NVIDIA GPU", has_nvidia_gpu),
    "ampere_gpu": ("an NVIDIA GPU of Ampere or newer", has_ampere_gpu),
    "bitsandbytes": _package("bitsandbytes", "adam8bit"),
    "peft": _package("peft", "lora"),
    "onnx": _package("onnx", "onnx"),
    "onnxruntime": _package("onnxruntime", "onnx"),
    "ctranslate2": _package("ctranslate2", "ctranslate2"),
}


def require_machine(methods: Iterable[MethodCall]) -> None:
    """Refuse methods that this machine cannot run, before anything is spent on them.

    Raises:
        PlanError: naming the first such method and what it lacks here.
    """
    for call in methods:
        module = call.module
        needed = module.requires(call.parsed_options) if hasattr(module, "requires") else ()
        for requirement in (*getattr(module, "REQUIRES", ()), *needed):
            what, is_met = REQUIREMENTS[requirement]
            if not is_met():
                place = "run the study where there is one; `kilowit plan --gpu` plans for it"
                instead = place if requirement.endswith("_gpu") else "install it in the environment that runs the study"
                raise PlanError(
                    f'method "{call.name}" needs {what} and there is none here', hint=f"Exclude it, or {instead}."
                )
        lacks_here = getattr(call.module, "lacks_here", None)
        if lacks_here is not None and (lack := lacks_here(call.parsed_options)) is not None:
            raise PlanError(f'method "{call.name}" needs {lack.what}', hint=lack.hint)
