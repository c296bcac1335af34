"""What a study's `search` means: an algorithm, a space of settings, objectives, and how much may be tried.

A study with a search has the same cells as without. Each cell that is trained becomes the template of one search, with
the cell's seed; its trials are cells of the same kind with other settings, judged on the validation split.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import Field, ValidationError

from kilowit import parts
from kilowit.cell import Cell
from kilowit.errors import PartError, near_name_hint
from kilowit.parts.search import Dimension, Goal, Parameters, Searcher
from kilowit.settings import Block, BudgetSettings, Count, PredictSettings, Settings, TrainSettings
from kilowit.study_parts import Reading, check_block, found
from kilowit.study_yaml import DocumentPath

RANGES: Final = ("uniform", "log_uniform", "int_uniform", "int_log_uniform")
VALIDATION_LOSS: Final = "validation_loss"
COSTS: Final = (VALIDATION_LOSS, "energy_kwh", "wall_hour")  # objectives that are no scores: lower is better
LENGTHS: Final = ("train.num_epochs", "train.num_steps")
_BLOCKS: Final[Mapping[str, type[Block]]] = {"train": TrainSettings, "predict": PredictSettings}
_NUM_SAMPLES: Final = 20  # points of the space that are checked like a study


class SearchSettings(Block):
    """Tune settings. Trials are judged on the validation split; the winner is run once more, on the test split.

    `space` maps a setting of `train` or `predict` to `{uniform: [low, high]}`, `{log_uniform: [low, high]}`,
    `{int_uniform: [low, high]}`, `{int_log_uniform: [low, high]}` or `{choice: [...]}`. An objective is a score, which
    is to be high, or one of `validation_loss`, `energy_kwh`, `wall_hour`, which are to be low. Each seed of the study
    is one repeat of the search.
    """

    algorithm: str = Field(description="`kilowit parts searches` lists them")
    space: dict[str, Any] = Field(min_length=1, description="setting -> range or choices")
    objective: str | list[str] = Field("rouge2", description="of the validation split; a list for nsga2")
    num_trials: Count = Field(20, description="most trials of one search, failed ones included")
    budget: BudgetSettings = Field(BudgetSettings(), description="of one search, its winner's last run included")
    options: dict[str, Any] = Field({}, description="the algorithm's own, see its card")


@dataclass(frozen=True)
class Search:
    """A validated search."""

    algorithm: str
    options: dict[str, Any]  # that are not the defaults
    space: tuple[Dimension, ...]
    goals: tuple[Goal, ...]
    num_trials: int
    budget: BudgetSettings

    @property
    def continues(self) -> bool:
        """Whether trials go on from models that earlier trials left."""
        return bool(parts.load("searches", self.algorithm).CONTINUES)

    def key(self, template: Cell) -> str:
        """Return what names one search: all that decides its trials, but not how many there may be."""
        meaning = [self.algorithm, self.options, [asdict(d) for d in self.space], [asdict(g) for g in self.goals]]
        text = json.dumps([*meaning, template.key], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def searcher(self, seed: int) -> Searcher:
        """Return the search at its beginning.

        Raises:
            PartError: a library is not installed, or the space is too large for it.
        """
        module = parts.load("searches", self.algorithm)
        options = module.Options.model_validate(self.options)
        searcher: Searcher = module.searcher(self.space, options, self.goals, seed)
        return searcher

    def settings(self, template: Settings, parameters: Parameters) -> Settings:
        """Return a template's settings with those of a trial.

        Raises:
            ValidationError: a value that the setting does not take.
        """
        for block in _BLOCKS:
            own = {k.partition(".")[2]: v for k, v in parameters.items() if k.partition(".")[0] == block}
            if own:
                template = template.with_train(**own) if block == "train" else template.with_predict(**own)
        return template

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: the part of a trial's cell that says which search it is of."""
        return {
            "algorithm": self.algorithm,
            "options": self.options,
            "space": {d.name: _written(d) for d in self.space},
            "objective": [goal.name for goal in self.goals],
        }


def read_search(
    reading: Reading, settings: SearchSettings, template: Settings, score_names: Sequence[str]
) -> Search | None:
    """Return the search of a study, or None with its problems."""
    path: DocumentPath = ("search",)
    if settings.algorithm not in parts.names("searches"):
        hint = near_name_hint(settings.algorithm, parts.names("searches"))
        reading.fault((*path, "algorithm"), f'no search "{settings.algorithm}". {hint}')
        return None
    try:
        module = parts.load("searches", settings.algorithm)
    except PartError as error:
        reading.part_fault((*path, "algorithm"), error)
        return None
    options = check_block(reading, (*path, "options"), module.Options, dict(settings.options))
    space = [_dimension(reading, (*path, "space", name), name, value) for name, value in settings.space.items()]
    goals = _goals(reading, settings, score_names, module.MAX_OBJECTIVES)
    known = [dimension for dimension in space if dimension is not None]
    if module.CONTINUES:
        for dimension in known:
            if dimension.name in LENGTHS:
                reading.fault((*path, "space", dimension.name), f"{settings.algorithm} sets the length itself.")
        if template.train.schedule != "constant":
            reading.note(
                f"search {settings.algorithm}: the schedule {template.train.schedule} runs anew in each stretch of a "
                "training; train.schedule: constant is nearest to one that is not interrupted"
            )
    if reading.problems or options is None:
        return None
    search = Search(
        settings.algorithm,
        options.model_dump(mode="json", exclude_defaults=True),
        tuple(known),
        tuple(goals),
        settings.num_trials,
        settings.budget,
    )
    _check_values(reading, search, template)
    try:
        search.searcher(0)
    except PartError as error:
        reading.part_fault((*path, "algorithm"), error)
    return search


def check_template(reading: Reading, search: Search, cell: Cell) -> None:
    """Refuse a recipe that would be applied twice to a model that goes on."""
    if not search.continues or cell.is_baseline:
        return
    for call in cell.methods:
        if any(hasattr(call.module, function) for function in ("compress", "on_trained", "on_size")):
            reading.fault(
                ("recipes", cell.recipe),
                f'search {search.algorithm} goes on from models, and method "{call.name}" changes a model once. '
                "Search by tpe, or leave the method out.",
                at_key=True,
            )


def _dimension(reading: Reading, path: DocumentPath, name: str, value: Any) -> Dimension | None:
    known = [f"{b}.{f}" for b, kind in _BLOCKS.items() for f in kind.model_fields if f not in ("split", "engine")]
    if name not in known:
        reading.fault(path, f'no setting "{name}" to search. {near_name_hint(name, known)}', at_key=True)
        return None
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in (*RANGES, "choice"):
        reading.fault(path, f"expected one of {', '.join(RANGES)}, choice; found {found(value)}.")
        return None
    kind, given = next(iter(value.items()))
    if not isinstance(given, list) or len(given) < 2:
        reading.fault((*path, kind), f"expected a list of two or more, found {found(given)}.")
        return None
    if kind == "choice":
        if len({repr(choice) for choice in given}) < len(given):
            reading.fault((*path, kind), "a choice stands twice. Remove one.")
        return Dimension(name, choices=tuple(given))
    return _range(reading, (*path, kind), name, kind, given)


def _range(reading: Reading, path: DocumentPath, name: str, kind: str, given: list[Any]) -> Dimension | None:
    is_whole, is_log = kind.startswith("int_"), kind.endswith("log_uniform")
    numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(given) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        reading.fault(path, "expected [low, high], two numbers, the lower first.")
        return None
    if is_log and numbers[0] <= 0:
        reading.fault(path, "a logarithmic range begins above 0.")
        return None
    if is_whole and not all(float(v).is_integer() for v in numbers):
        reading.fault(path, "expected two whole numbers.")
        return None
    return Dimension(name, float(numbers[0]), float(numbers[1]), is_log, is_whole)


def _goals(reading: Reading, settings: SearchSettings, score_names: Sequence[str], most: int) -> list[Goal]:
    named = [settings.objective] if isinstance(settings.objective, str) else list(settings.objective)
    path: DocumentPath = ("search", "objective")
    if not named or len(named) > most:
        reading.fault(path, f"{settings.algorithm} takes 1 to {most} objectives, found {len(named)}.")
    known = [*COSTS, *score_names]
    for name in named:
        if name not in known:
            reading.fault(path, f'no objective "{name}" of this study. {near_name_hint(name, known)}')
    return [Goal(name, name not in COSTS) for name in named]


def _check_values(reading: Reading, search: Search, template: Settings) -> None:
    """Check the ends of every range, every choice, and some points of the whole space, like a study."""
    points = [{d.name: value} for d in search.space for value in (d.choices or (d.at(0.0), d.at(1.0)))]
    generator = random.Random(0)
    points += [{d.name: d.draw(generator) for d in search.space} for _ in range(_NUM_SAMPLES)]
    for point in points:
        try:
            search.settings(template, point)
        except ValidationError as error:
            detail = error.errors()[0]
            name = next(iter(point)) if len(point) == 1 else ""
            said = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {found(detail['input'])}."
            reading.fault(("search", "space", name) if name else ("search", "space"), said)
            return


def _written(dimension: Dimension) -> dict[str, Any]:
    if dimension.choices:
        return {"choice": list(dimension.choices)}
    kind = ("int_" if dimension.is_whole else "") + ("log_uniform" if dimension.is_log else "uniform")
    ends = [dimension.low, dimension.high]
    return {kind: [int(end) for end in ends] if dimension.is_whole else ends}
