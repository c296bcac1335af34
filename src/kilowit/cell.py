"""A cell: one point of a study, model x dataset x recipe x hardware x seed, with a key that names its result.

Two cells with one key would give the same result, so a finished one need not run again. The key covers all that
can change the *result*; how it is measured, priced, labelled or stored is not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from kilowit.errors import StoreError
from kilowit.parts.method import MethodCall
from kilowit.parts.metric import MetricCall
from kilowit.settings import FactorSettings, MaintenanceSettings, Settings

KEY_VERSION: Final = 1  # raise it when the same words begin to mean another result
_FIELDS: Final = frozenset({
    "study_name", "model", "dataset", "recipe", "methods", "hardware", "seed", "settings", "metrics", "factors",
    "metric_signatures", "content",
})  # fmt: skip
_OPTIONAL: Final = frozenset({"search", "maintenance"})


@dataclass(frozen=True)
class Cell:
    """One point of a study. `settings` are as written: the methods have not changed them yet.

    `model` and `dataset` are canonical: defaults filled in, paths absolute. `content` maps each local file or
    folder named in them to the sha256 of what it holds. A training-free baseline has the recipe ``""``.
    """

    study_name: str
    model: dict[str, Any]
    dataset: dict[str, Any]
    recipe: str
    methods: tuple[MethodCall, ...]
    hardware: str
    seed: int
    settings: Settings
    metrics: tuple[str | dict[str, Any], ...]  # names, or {name: {options}}, paths absolute
    factors: FactorSettings = field(default_factory=FactorSettings)
    metric_signatures: tuple[str, ...] = ()
    content: dict[str, str] = field(default_factory=dict)
    search: dict[str, Any] | None = None  # which trial of which search it is; not part of the key
    maintenance: MaintenanceSettings | None = None  # how its working life is priced; not part of the key

    @cached_property
    def key(self) -> str:
        """The sha256 of the canonical JSON of all that can change the result, 64 hex digits."""
        text = json.dumps(self._meaning(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """A name to read aloud, e.g. ``bart-tiny_docstrings_bf16_s0``; not unique."""
        search = self.search or {}
        model = model_name(search["template"]["model"] if search else self.model)
        words = [model, self.dataset["name"], self.recipe, search.get("name", ""), f"s{search.get('seed', self.seed)}"]
        return "_".join(word for word in words if word)

    @property
    def is_baseline(self) -> bool:
        """Whether the model is training-free."""
        return "baseline" in self.model

    @property
    def metric_calls(self) -> list[MetricCall]:
        """Its metrics, ready to score."""
        return [MetricCall.of(written) for written in self.metrics]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of cell.json: plain JSON values; inverse of `from_dict`."""
        return {
            "study_name": self.study_name,
            "model": self.model,
            "dataset": self.dataset,
            "recipe": self.recipe,
            "methods": [{"name": call.name, "options": dict(call.options)} for call in self.methods],
            "hardware": self.hardware,
            "seed": self.seed,
            "settings": {**self.settings.model_dump(mode="json"), "predict": self._predict()},
            "metrics": list(self.metrics),
            "factors": self.factors.model_dump(mode="json"),
            "metric_signatures": list(self.metric_signatures),
            "content": self.content,
            **({} if self.search is None else {"search": self.search}),
            **({} if self.maintenance is None else {"maintenance": self.maintenance.model_dump(mode="json")}),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, place: str = "cell.json") -> Cell:
        """Build a cell from what `to_dict` returned.

        Raises:
            StoreError: a field is missing, unknown or wrong.
        """
        if wrong := sorted(_FIELDS.symmetric_difference(value) - _OPTIONAL):
            raise StoreError(f"fields missing or unknown: {', '.join(wrong)}", place=place, hint=_CORRUPT_HINT)
        life = value.get("maintenance")
        try:
            return cls(
                study_name=str(value["study_name"]),
                model=dict(value["model"]),
                dataset=dict(value["dataset"]),
                recipe=str(value["recipe"]),
                methods=tuple(MethodCall(call["name"], dict(call["options"])) for call in value["methods"]),
                hardware=str(value["hardware"]),
                seed=int(value["seed"]),
                settings=Settings.model_validate(value["settings"]),
                metrics=tuple(value["metrics"]),
                factors=FactorSettings.model_validate(value["factors"]),
                metric_signatures=tuple(value["metric_signatures"]),
                content=dict(value["content"]),
                search=dict(value["search"]) if "search" in value else None,
                maintenance=None if life is None else MaintenanceSettings.model_validate(life),
            )
        except (ValidationError, TypeError, ValueError, KeyError) as error:
            raise StoreError(f"not a cell ({error})", place=place, hint=_CORRUPT_HINT) from error

    def _meaning(self) -> dict[str, Any]:
        """All that can change the result, with local paths replaced by what they hold."""
        meaning: dict[str, Any] = {
            "key_version": KEY_VERSION,
            "model": self._without_paths(self.model),
            "dataset": self._without_paths(self.dataset),
            "metrics": sorted(self.metric_signatures),
            "hardware": self.hardware,
        }
        if not self.is_baseline:  # it is not trained, draws nothing at random and has options of its own
            meaning["methods"] = [[call.name, dict(call.options)] for call in self.methods]
            meaning["train"] = self.settings.train.model_dump(mode="json")
            meaning["predict"] = self._predict()
            meaning["seed"] = self.seed
            if self.settings.serve is not None:
                meaning["serve"] = self.settings.serve.model_dump(mode="json")
        return meaning

    def _predict(self) -> dict[str, Any]:
        """The settings of prediction, as they were written before there was a choice of split."""
        settings = self.settings.predict.model_dump(mode="json")
        if settings["split"] == "test":
            del settings["split"]
        return settings

    def _without_paths(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._without_paths(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._without_paths(item) for item in value]
        return f"sha256:{self.content[value]}" if isinstance(value, str) and value in self.content else value


_CORRUPT_HINT: Final = "Remove the folder, or `kilowit run` the study again to repeat the cell."


def model_name(spec: Mapping[str, Any]) -> str:
    """Return the short name of a canonical model spec.

    >>> model_name({"hub": "facebook/bart-base", "revision": None})
    'bart-base'
    """
    if "folder" in spec:
        return Path(spec["folder"]).name
    if "warm_start" in spec:
        encoder = str(spec["warm_start"]).removeprefix("packaged:").rstrip("/").rpartition("/")[2]
        return f"{spec.get('architecture', 'bert2bert')}-{encoder}"
    return str(spec.get("scratch") or spec.get("baseline") or spec["hub"].rpartition("/")[2])
