"""zero_shot: train nothing; the model summarizes as it was loaded.

What it does   Leaves out training and validation. One forward pass warms the kernels up and shows the methods the
               number format, as training would have, then the model writes its summaries.
When to use    For an instructed decoder-only model with its prompt, or a checkpoint that was fine-tuned elsewhere: what
               is it worth before a joule is spent on it?
When not       With a model from scratch: it writes noise. With a model that was only pretrained to fill gaps.
Trade-off      predict.energy_total_joule x0.8-1.5 (longer summaries, where none were learned) | rouge2 -0.3..+0.01
Options        none.
Works with     bf16, fp16, truncate.   Conflicts with  all others: they change how a model is trained.
Source         Brown et al. 2020, arXiv 2005.14165, section 2 (zero-shot: a request, no examples, no updates). Ranges
               ours.
"""

from __future__ import annotations

from typing import Any, Final

from kilowit.parts.method import Evidence, Expectation, NoOptions, TrainedRun
from kilowit.parts.methods.freeze import checksum
from kilowit.settings import Settings

CONFLICTS_WITH: Final = ()  # but for those with WITHOUT_TRAINING every method is refused beside it
WITHOUT_TRAINING: Final = True
FAMILIES: Final = None
_OURS: Final = "ours: an estimate, to be replaced by a measured range"
EXPECTS: Final = (
    Expectation("predict.energy_total_joule", 0.8, 1.5, source=_OURS),
    Expectation("rouge2", -0.3, 0.01, kind="difference", source=_OURS),
)


def plan(settings: Settings, options: NoOptions) -> Settings:
    """Leave training out."""
    return settings.model_copy(update={"trains": False})


def on_model(model: Any, options: NoOptions, facts: dict[str, Any]) -> Any:
    """Note what the weights are before."""
    facts["checksum"] = checksum(model, [name for name, _ in model.named_parameters()])
    return model


def applied(run: TrainedRun, options: NoOptions) -> Evidence:
    """Show that no step was taken, and that no weight has moved."""
    unmoved = checksum(run.model, [name for name, _ in run.model.named_parameters()]) == run.facts["checksum"]
    return Evidence(run.num_steps == 0 and unmoved, {"num_steps": run.num_steps, "unmoved": unmoved})
