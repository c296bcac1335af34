"""ensemble: several trainings answer as one.

What it does   probability trains as many models as it has members, each from a seed of its own, and generates with the
               mean of their probabilities at every word, under one beam search.
               checkpoint_soup trains one and averages its weights at the last validations: one model, one training.
When to use    probability: when quality is all that counts, or to see what it costs to buy some with joules.
               checkpoint_soup: nearly always worth a try, as it costs nothing but memory while training.
When not       probability: when energy counts. Members trained are members paid, once to train, and again with every
               summary.
Trade-off      train.energy_total_joule x0.95-5.2 | predict.energy_total_joule x0.95-5.5 | rouge2 -0.01..+0.02:
               probability takes about as many times the plain energy as it has members, checkpoint_soup once
Options        kind (probability or checkpoint_soup), members (3): models, or validations whose weights are averaged
Works with     all others; checkpoint_soup not with early_stopping where that restores the best weights.
               Conflicts with  distill, prune, ctranslate2_int8, fp16_export, int8_dynamic, int8_static.
               Over several processes with ddp. Conflicts with  fsdp, zero, zero_offload, which keep weights in parts.
Source         probability: Sutskever et al. 2014, arXiv 1409.3215, table 1: 5 models, beam 2: 34.50 BLEU, one: 33.27 at
               beam 12 (reversed input). Checkpoints: Vaswani et al. 2017, arXiv 1706.03762, section 6.1. Ranges ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback, Workbench
from kilowit.parts.methods.freeze import checksum
from kilowit.settings import Block, Settings

CONFLICTS_WITH: Final = (
    "ctranslate2_int8", "distill", "fp16_export", "fsdp", "int8_dynamic", "int8_static", "prune", "zero",
    "zero_offload",
)  # fmt: skip
FAMILIES: Final = ("bart", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: cost in proportion to 1 (checkpoint_soup) to 5 members"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.95, 5.2, source=_OURS),
    Expectation("predict.energy_total_joule", 0.95, 5.5, source=_OURS),
    Expectation("rouge2", -0.01, 0.02, kind="difference", source="ours: an estimate; gains in BLEU in arXiv 1409.3215"),
)
SEED_STEP: Final = 1000  # cells of neighbouring seeds share no member


class Options(Block):
    """Who answers together."""

    kind: Literal["probability", "checkpoint_soup"] = "probability"
    members: Annotated[int, Field(ge=2, le=16)] = Field(3, description="models, or validations averaged")


def plan(settings: Settings, options: Options) -> Settings:
    """Check that there are validations enough to take the weights at.

    Raises:
        PartError: there are not.
    """
    if options.kind == "checkpoint_soup" and settings.train.num_validations < options.members:
        raise PartError(
            f'method "ensemble" averages the weights at the last {options.members} validations, and there are '
            f"{settings.train.num_validations}",
            hint=f"Set train.num_validations to {options.members} or more.",
        )
    return settings


def num_members(options: Options) -> int:
    """Count the models that generate."""
    return options.members if options.kind == "probability" else 1


def compress(model: Any, options: Options, facts: dict[str, Any], bench: Workbench) -> Any:
    """Train the other members; the cell's own training is that of the first."""
    if options.kind == "probability":
        facts["seeds"] = [bench.seed + SEED_STEP * number for number in range(options.members)]
        facts["others"] = [bench.train_member("ensemble", seed) for seed in facts["seeds"][1:]]
    return model


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Collect the weights of a soup."""
    if options.kind == "probability":
        return []
    facts["callback"] = MeanOfCheckpoints(options.members)
    return [facts["callback"]]


def on_trained(model: Any, options: Options, facts: dict[str, Any]) -> Any:
    """Put the members together."""
    if options.kind == "checkpoint_soup":
        return model
    from kilowit.parts.averaged import AveragedModel

    return AveragedModel([model, *(other.to(model.device) for other in facts.pop("others"))])


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the members and that no two are the same, or the steps whose weights were averaged."""
    if options.kind == "checkpoint_soup":
        soup = run.facts["callback"]
        names = [name for name, _ in run.model.named_parameters()]
        is_soup = soup.checksum == checksum(run.model, names)
        steps = soup.steps[-options.members :]
        return Evidence(is_soup and len(steps) == options.members, {"steps_averaged": steps, "is_mean": is_soup})
    models = [run.model, *run.facts["others"]]
    sums = [checksum(model, [name for name, _ in model.named_parameters()]) for model in models]
    numbers = {
        "num_members": len(models),
        "seeds": run.facts["seeds"],
        "num_distinct_members": len(set(sums)),
        "num_parameters_all": sum(p.numel() for model in models for p in model.parameters()),
        "model_byte_all": sum(p.nbytes for model in models for p in model.parameters()),
    }
    return Evidence(len(set(sums)) == options.members, numbers)


class MeanOfCheckpoints(TrainingCallback):
    """Ends training with the mean of the weights at the last validations."""

    def __init__(self, num_averaged: int) -> None:
        self.num_averaged = num_averaged
        self.checkpoints: list[dict[str, Any]] = []
        self.steps: list[int] = []
        self.checksum: int | None = None

    def on_validation(self, model: Any, num_steps: int, loss: float) -> bool:
        """Keep the weights, and forget those of the earliest validation kept. Memory: the weights, members times."""
        self.steps.append(num_steps)
        weights = {name: value.detach().cpu().clone() for name, value in model.named_parameters()}
        self.checkpoints = [*self.checkpoints, weights][-self.num_averaged :]
        return False

    def on_train_end(self, model: Any) -> None:
        """Put the mean in the place of the last weights."""
        import torch

        if len(self.checkpoints) == self.num_averaged:
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    stacked = torch.stack([kept[name].double() for kept in self.checkpoints])
                    weight.copy_(stacked.mean(dim=0).to(weight.dtype))
            self.checksum = checksum(model, [name for name, _ in model.named_parameters()])
        self.checkpoints = []
