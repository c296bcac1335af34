"""What every file of an export is written from: the study, its options, and the names that the files share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from kilowit.azureml.options import DEFAULT_TIMEOUT_SECOND, AzureOptions, azure_name
from kilowit.azureml.space import sampling_of
from kilowit.cell import Cell
from kilowit.errors import StudyError
from kilowit.parts.metric import MetricCall
from kilowit.study import Study

SCHEMAS: Final = "https://azuremlschemas.azureedge.net/latest"
SOURCE, ENVIRONMENT, SERVING_ENVIRONMENT, SCORING = "source", "environment", "serving", "scoring"
STEPS_CLUSTER, TRAIN_CLUSTER, SPOT_CLUSTER = "steps", "train", "train-low"
_PREFERRED: Final = "rouge2"
Yaml = dict[str, Any]


def schema(kind: str) -> str:
    """Return the address of a schema, which says of what kind a file is."""
    return f"{SCHEMAS}/{kind}.schema.json"


@dataclass(frozen=True, kw_only=True)
class Context:
    """One export.

    Attributes:
        versions: of the environments and the data, from what is in them: another content has another version.
        has_data: whether the study names local files.
    """

    study: Study
    options: AzureOptions
    versions: dict[str, str]
    has_data: bool

    @cached_property
    def name(self) -> str:
        """What clusters, assets and the endpoint are named after."""
        return azure_name(self.study.name)

    @property
    def machine(self) -> str:
        """VM size that trains."""
        return self.options.machine_of(self.study)

    @cached_property
    def trained(self) -> list[Cell]:
        """The cells that are trained."""
        return trained_cells(self.study)

    @cached_property
    def objective(self) -> str:
        """The score by which models are chosen: the search's, else rouge2, else the first that the study takes."""
        goals = [goal.name for goal in self.study.search.goals if goal.is_high_better] if self.study.search else []
        scores = [name for written in self.study.metrics for name in MetricCall.of(written).score_names]
        return (goals or [_PREFERRED] * (_PREFERRED in scores) or scores)[0]

    @property
    def sampling(self) -> str | None:
        """Azure's sampling algorithm for the study's search; None: no search, or one that only kilowit runs."""
        return None if self.study.search is None else sampling_of(self.study.search)

    @property
    def timeout_second(self) -> int:
        """Time after which a job is ended: the study's budget, else a day."""
        hours = self.study.budget.wall_hour
        return DEFAULT_TIMEOUT_SECOND if hours is None else max(60, math.ceil(hours * 3600))

    def environment(self, kind: str) -> str:
        """Return the name and version of an environment, as jobs and deployments refer to it."""
        return f"azureml:{self.name}-{kind}:{self.versions[kind]}"

    @property
    def data(self) -> str:
        """The name and version of the data asset."""
        return f"azureml:{self.name}-data:{self.versions['data']}"


def trained_cells(study: Study) -> list[Cell]:
    """Return the cells that are trained.

    Raises:
        StudyError: there are none.
    """
    found = [cell for cell in study.cells if not cell.is_baseline]
    if not found:
        raise StudyError(
            "no cell of this study is trained",
            place=study.place,
            hint="Baselines run here in seconds: `kilowit run`. Add a model to train.",
        )
    return found
