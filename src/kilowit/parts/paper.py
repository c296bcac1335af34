"""Published training settings by family and dataset: what ``train: paper`` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kilowit import factors
from kilowit.errors import PartError
from kilowit.settings import TrainSettings

_WHOLE: Final = (
    "num_steps", "batch_size", "gradient_accumulation_steps", "warmup_steps", "max_source_tokens", "max_target_tokens",
)  # fmt: skip
_REAL: Final = ("num_epochs", "learning_rate", "weight_decay", "max_grad_norm", "label_smoothing")
_WORDS: Final = ("schedule", "optimizer")


class PaperTraining(NamedTuple):
    """Settings as they were published, and where they could not be followed."""

    train: TrainSettings
    source: str
    departs: str  # "" = nothing is known to differ


def paper_training(family: str, dataset: str, overrides: Mapping[str, Any]) -> PaperTraining:
    """Return the published settings of a family on a dataset; what a source does not say is the usual default.

    Args:
        overrides: settings of the study's own; `num_epochs` takes the place of published steps, and the other way.

    Raises:
        PartError: none are known, with the datasets that they are known for.
    """
    row = factors.paper_training(family, dataset)
    if row is None:
        known = factors.paper_datasets(family)
        raise PartError(
            f"no published training settings of {family} on {dataset}",
            hint=f"Known: {family} on {', '.join(known)}." if known else f"None are known of {family}.",
        )
    published: dict[str, Any] = {
        **{name: int(row[name]) for name in _WHOLE if row[name]},
        **{name: float(row[name]) for name in _REAL if row[name]},
        **{name: row[name] for name in _WORDS},
    }
    if "num_epochs" in overrides:
        published.pop("num_steps", None)
    return PaperTraining(TrainSettings.model_validate({**published, **overrides}), row["source"], row["departs"])
