"""label_smoothing: teach the reference token with probability 1 - epsilon, and every token with the rest.

What it does   Sets train.label_smoothing for this recipe alone, so that one study can hold it against hard targets: a
               block `train` holds for all recipes. Training losses of the two are not comparable; the validation loss
               is always taken without it.
When to use    To fine-tune as BART and PEGASUS were (0.1): beam search profits from less certain models.
When not       To distil: a teacher's own distribution says more. With a few hundred steps: it slows their fall.
Trade-off      train.energy_total_joule x0.97-1.1 | rouge2 -0.005..+0.01
Options        epsilon (0.1)
Works with     all others.   Conflicts with  fused_loss. Not beside train.label_smoothing, which says the same.
Source         Szegedy et al. 2016, arXiv 1512.00567, section 7. 0.1 for BART and PEGASUS: arXiv 1910.13461, 1912.08777
               (table 12). Ranges ours. (The stock Trainer's label_smoothing_factor shifts BART's source in place of its
               labels; kilowit computes its own loss.)
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback
from kilowit.settings import Block, Settings

CONFLICTS_WITH: Final = ("fused_loss",)
FAMILIES: Final = None
ENGINES: Final = ("trainer", "loop")
NUM_ROWS: Final = 64  # target tokens that epsilon is measured on
TOLERANCE: Final = 0.25  # of epsilon; logits of half precision are coarse
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.97, 1.1, source="ours: an estimate; one more sum over the vocabulary"),
    Expectation("rouge2", -0.005, 0.01, kind="difference", source="ours: an estimate"),
)


class Options(Block):
    """How much to smooth."""

    epsilon: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="probability spread over the vocabulary")


def plan(settings: Settings, options: Options) -> Settings:
    """Smooth the targets.

    Raises:
        PartError: the study smooths them already.
    """
    if settings.train.label_smoothing > 0:
        raise PartError(
            f'method "label_smoothing" beside train.label_smoothing {settings.train.label_smoothing:g}',
            hint="Leave one of them out.",
        )
    return settings.with_train(label_smoothing=options.epsilon)


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Watch the gradient of the logits."""
    return [MeasureEpsilon(facts)]


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the epsilon that the gradient of the first batch's logits was computed with."""
    measured = run.facts.get("measured_epsilon")
    close = measured is not None and abs(measured - options.epsilon) <= TOLERANCE * options.epsilon
    return Evidence(close, {"measured_epsilon": measured, "epsilon": options.epsilon})


class MeasureEpsilon(TrainingCallback):
    """Notes ``facts["measured_epsilon"]``: what the loss did, seen from the outside, whatever computes it."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def on_train_begin(self, model: Any) -> None:
        """Hook the model's first logits that get a gradient; the hook removes itself."""

        def watch(module: Any, inputs: Any, output: Any) -> None:
            logits_BTV = output.logits
            if not logits_BTV.requires_grad:
                return
            handle.remove()
            seen_BTV = logits_BTV.detach()
            logits_BTV.register_hook(lambda gradient: self._note(seen_BTV, gradient))

        handle = model.register_forward_hook(watch)

    def _note(self, logits_BTV: Any, gradient_BTV: Any) -> None:
        gradient_NV = gradient_BTV.flatten(0, 1)
        trained = gradient_NV.abs().amax(dim=1).nonzero().flatten()[:NUM_ROWS]
        self.facts["measured_epsilon"] = epsilon_of(logits_BTV.flatten(0, 1)[trained], gradient_NV[trained])


def epsilon_of(logits_NV: Any, gradient_NV: Any) -> float:
    """Return the epsilon of a smoothed cross entropy from its gradient by the logits.

    For a token j that is not the reference the gradient is c (p_j - epsilon / V), with c the same for all tokens: a
    straight line in p_j, whose slope and intercept give epsilon. The reference has the lowest gradient of its row.
    """
    import torch

    p_NV, g_NV = logits_NV.double().softmax(-1), gradient_NV.double()
    is_other_NV = torch.ones_like(p_NV, dtype=torch.bool).scatter_(1, g_NV.argmin(1, keepdim=True), False)
    p, g = p_NV[is_other_NV], g_NV[is_other_NV]
    slope = ((p - p.mean()) * (g - g.mean())).sum() / ((p - p.mean()) ** 2).sum()
    intercept = g.mean() - slope * p.mean()
    return float(-intercept / slope * logits_NV.shape[-1])
