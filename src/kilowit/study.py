"""What was asked: YAML -> Study -> list of Cells. Everything that can be found wrong is found here, at once.

The grammar is `StudyDocument` and the blocks of `kilowit.settings`; docs/reference/study.md is generated from
them. `kilowit.study_yaml` gives every value its place, `kilowit.study_parts` says what the names mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit import factors as factor_tables
from kilowit.cell import Cell, model_name
from kilowit.errors import PartError, near_name_hint
from kilowit.parts import catalogue
from kilowit.parts.executor import ExecutorCall
from kilowit.parts.method import MethodCall, plan_settings, plan_size
from kilowit.parts.metric import repeated_score
from kilowit.parts.recipe import packaged_methods
from kilowit.settings import (
    Block,
    BudgetSettings,
    FactorSettings,
    MaintenanceSettings,
    MeasureSettings,
    MirrorSettings,
    PredictSettings,
    ServeSettings,
    Settings,
    TrainSettings,
)
from kilowit.study_models import read_model
from kilowit.study_paper import as_published, take_paper
from kilowit.study_parts import (
    Metric,
    Reading,
    check_block,
    found,
    read_dataset,
    read_executor,
    read_method,
    read_metric,
)
from kilowit.study_search import Search, SearchSettings, check_template, read_search
from kilowit.study_serving import check_maintenance, check_runtimes
from kilowit.study_yaml import DocumentPath, override, parse_document, read_text, study_error

MAX_CELLS: Final = 10_000  # beyond it somebody mistyped a list; split the study
HARDWARE: Final = ("local",)
BASELINE_RECIPE: Final = ""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Exclude(Block):
    """A partial match: a cell that has all the named values is left out."""

    model: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    hardware: str | None = None
    seed: int | None = None


class StudyDocument(Block):
    """The top level of a study. Cells are models x datasets x recipes x hardware x seeds, less `exclude`."""

    name: Name = Field(description="letters, digits, dot, dash, underscore")
    description: str = Field("", description="one paragraph for the report")
    models: list[Any] = Field(min_length=1, description="hub ids, ./folders, {scratch: size}, baselines")
    datasets: list[Any] = Field(min_length=1, description="names, or {name: ..., options}")
    recipes: dict[Name, list[Any]] = Field(
        {"full": []},
        min_length=1,
        description="name -> ordered list of methods, or the name of a packaged recipe; [] = plain fine-tuning",
    )
    hardware: list[str] = Field(["local"], min_length=1, description="local: the machine that runs the study")
    seeds: list[Seed] = Field([0], min_length=1, description="one repeat each: initial weights, order, dropout")
    exclude: list[Exclude] = Field([], description="partial matches: {model:, dataset:, recipe:, hardware:, seed:}")
    train: TrainSettings = TrainSettings()
    predict: PredictSettings = PredictSettings()
    serve: ServeSettings | None = Field(None, description="runtimes and patterns of requests; absent = not served")
    metrics: list[Any] = Field(
        ["rouge"], min_length=1, description="names, or {name: {options}}; `kilowit parts metrics` lists them"
    )
    measure: MeasureSettings = MeasureSettings()
    factors: FactorSettings = FactorSettings()
    budget: BudgetSettings = BudgetSettings()
    mirror: MirrorSettings | None = Field(None, description="shown in MLflow too, live; absent = not")
    maintenance: MaintenanceSettings | None = Field(
        None, description="load, drift checks and retraining of a working life; absent = not priced"
    )
    executor: Any = Field("local", description="where cells run: a name, or {name: ..., options}")
    search: SearchSettings | None = Field(None, description="tune settings instead of running each cell once")


@dataclass(frozen=True)
class Study:
    """A validated study and its cells, in the order of the document: models, datasets, recipes, seeds."""

    name: str
    description: str
    cells: tuple[Cell, ...]
    settings: Settings
    metrics: tuple[str | dict[str, Any], ...]
    factors: FactorSettings
    budget: BudgetSettings
    place: str
    maintenance: MaintenanceSettings | None = None
    search: Search | None = None  # each trained cell is the template of one
    executor: ExecutorCall = field(default_factory=ExecutorCall)
    notes: tuple[str, ...] = ()  # what its author should know and what stops nothing
    mirror: MirrorSettings | None = None

    @property
    def measure(self) -> MeasureSettings:
        """How its cells are measured."""
        return self.settings.measure

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Study:
        """Read a study's file; `overrides` are assignments such as ``train.num_epochs=1``.

        Raises:
            StudyError: the file, or what it asks, is wrong; every fault at once, each with its place.
        """
        path = Path(path)
        return cls.parse(read_text(path), place=str(path), folder=path.parent, overrides=overrides)

    @classmethod
    def parse(
        cls, text: str, place: str = "study.yaml", *, folder: Path = Path(), overrides: Sequence[str] = ()
    ) -> Study:
        """Read a study from text; relative paths in it start from `folder`.

        >>> Study.parse("{name: a, models: [lead], datasets: [docstrings]}").cells[0].label
        'lead_docstrings_s0'

        Raises:
            StudyError: every fault at once, each with its place.
        """
        document = parse_document(text, place)
        for assignment in overrides:
            override(document, assignment)
        return _read(Reading(document, folder))


@dataclass(frozen=True)
class _Axes:
    """What is multiplied: canonical specs by their place in the lists of the document."""

    models: list[dict[str, Any]]
    datasets: list[dict[str, Any]]
    recipes: dict[str, tuple[MethodCall, ...]]
    hardware: list[str]
    seeds: list[int]

    @property
    def num_points(self) -> int:
        axes: list[Any] = [self.models, self.datasets, self.recipes, self.hardware, self.seeds]
        return math.prod(len(axis) for axis in axes)


def _unpack_recipes(reading: Reading) -> None:
    """Put the methods of a packaged recipe in the place of its name, in the document."""
    recipes: Any = reading.document.value.get("recipes")
    for name, written in list(recipes.items()) if isinstance(recipes, dict) else []:  # else the schema says so
        if isinstance(written, str):
            try:
                recipes[name] = packaged_methods(written)
            except PartError as error:
                reading.part_fault(("recipes", name), error)
                recipes[name] = []
                if len(recipes) > 1:  # it would be said to equal another that is empty
                    del recipes[name]


def _read(reading: Reading) -> Study:
    value = reading.document.value
    value.setdefault("metrics", ["rouge"])
    is_paper = take_paper(reading)
    _unpack_recipes(reading)
    top: StudyDocument | None = check_block(reading, (), StudyDocument, value)
    axes = _Axes(
        models=_each(reading, "models", read_model),
        datasets=_each(reading, "datasets", read_dataset),
        recipes=_recipes(reading),
        hardware=top.hardware if top else list(HARDWARE),
        seeds=top.seeds if top else [0],
    )
    metrics = _metrics(reading)
    executor = read_executor(reading)
    _check_names(reading)
    if top is None or reading.problems:
        raise study_error(reading.problems)
    _check_exclude(reading, top.exclude, axes)
    if axes.num_points > MAX_CELLS:
        reading.fault((), f"{axes.num_points:,} cells, more than {MAX_CELLS:,}. Split the study.")
    if reading.problems:
        raise study_error(reading.problems)
    cells = _expand(reading, top, axes, metrics)
    if not cells:
        reading.fault(("exclude",), "nothing is left to run. Remove an exclusion.", at_key=True)
    if is_paper:
        cells = tuple(as_published(reading, cell) for cell in cells)
        if reading.problems:
            raise study_error(reading.problems)
    _check_recipes(reading, cells)
    search = _search(reading, top, cells, [name for metric in metrics for name in metric.call.score_names])
    if not reading.problems:
        check_runtimes(reading, cells)
        check_maintenance(reading, top.maintenance, top.serve)
    if reading.problems:
        raise study_error(reading.problems)
    return Study(
        name=top.name, description=top.description, cells=cells, settings=cells[0].settings,
        metrics=cells[0].metrics, factors=top.factors, budget=top.budget, place=reading.document.place,
        maintenance=top.maintenance, search=search, executor=executor, notes=tuple(reading.notes), mirror=top.mirror,
    )  # fmt: skip


def _search(reading: Reading, top: StudyDocument, cells: Sequence[Cell], score_names: Sequence[str]) -> Search | None:
    if top.search is None:
        return None
    search = read_search(reading, top.search, cells[0].settings, score_names)
    if search is not None:
        for cell in cells:
            check_template(reading, search, cell)
    num = sum(not cell.is_baseline for cell in cells)
    reading.note(f"search {top.search.algorithm}: {num} searches of at most {top.search.num_trials} trials each")
    return search


def _each(reading: Reading, key: str, read: Callable[[Reading, DocumentPath, Any], Any]) -> list[Any]:
    """Return the canonical values of a list of the document; a value that stands twice is a problem."""
    items = reading.document.value.get(key)
    values: list[Any] = []
    for i, item in enumerate(items if isinstance(items, list) else []):
        value = read(reading, (key, i), item)
        if value is not None and value in values:
            reading.fault((key, i), f"the same as {key}[{values.index(value)}]. Remove one.")
        values.append(value)
    return values


def _metrics(reading: Reading) -> tuple[Metric, ...]:
    """Return the metrics, of which no two may give the same score."""
    metrics = [metric for metric in _each(reading, "metrics", read_metric) if metric is not None]
    if not reading.problems and (twin := repeated_score(metric.call for metric in metrics)):
        at = max(i for i, metric in enumerate(metrics) if metric.call.name == twin[1])
        reading.fault(("metrics", at), f'gives "{twin[0]}", as a metric before it does. Leave one out.')
    return tuple(metrics)


def _recipes(reading: Reading) -> dict[str, tuple[MethodCall, ...]]:
    written = reading.document.value.get("recipes", {"full": []})
    recipes: dict[str, tuple[MethodCall, ...]] = {}
    for name, items in written.items() if isinstance(written, dict) else ():
        path: DocumentPath = ("recipes", name)
        listed = items if isinstance(items, list) else []
        calls = [read_method(reading, (*path, i), item) for i, item in enumerate(listed)]
        methods = tuple(call for call in calls if call is not None)
        repeated = [i for i, call in enumerate(calls) if call and call.name in {c.name for c in calls[:i] if c}]
        for i in repeated:
            reading.fault((*path, i), "the same method twice in one recipe. Remove one.")
        twin = next((other for other, known in recipes.items() if known == methods), None)
        if twin is not None and None not in calls and isinstance(items, list):
            reading.fault(path, f'the same methods as recipe "{twin}". Remove one.', at_key=True)
        recipes[name] = methods
    return recipes


def _check_names(reading: Reading) -> None:
    """Check the names that are neither parts nor recipes: hardware, seeds given twice, region and machine."""
    value = reading.document.value
    for key in ("hardware", "seeds"):
        written = value.get(key)
        items = written if isinstance(written, list) else []
        for i, item in enumerate(items):
            if item in items[:i]:
                reading.fault((key, i), f"{found(item)} stands twice. Remove one.")
            elif key == "hardware" and isinstance(item, str) and item not in HARDWARE:
                reading.fault((key, i), f'no hardware "{item}". Known: local, the machine that runs the study.')
    chosen = value.get("factors")
    region, machine = (chosen.get(key) if isinstance(chosen, dict) else None for key in ("region", "machine"))
    if isinstance(region, str):
        try:
            factor_tables.carbon(region)
        except PartError as error:
            reading.part_fault(("factors", "region"), error)
    if isinstance(machine, str) and factor_tables.machine(machine) is None:
        hint = near_name_hint(machine, factor_tables.machines())
        reading.fault(("factors", "machine"), f'no machine "{machine}". {hint}')


def _model_names(spec: Mapping[str, Any]) -> set[str]:
    """All names by which `exclude` may call a model."""
    return {model_name(spec)} | {spec[key] for key in ("hub", "folder") if key in spec}


def _check_exclude(reading: Reading, excludes: Iterable[Exclude], axes: _Axes) -> None:
    known: dict[str, set[Any]] = {
        "model": set().union(*(_model_names(spec) for spec in axes.models)),
        "dataset": {spec["name"] for spec in axes.datasets},
        "recipe": set(axes.recipes),
        "hardware": set(axes.hardware),
        "seed": set(axes.seeds),
    }
    for i, exclude in enumerate(excludes):
        wanted = exclude.model_dump(exclude_none=True)
        if not wanted:
            reading.fault(("exclude", i), f"names nothing. Give one of {', '.join(known)}.")
        for key, name in wanted.items():
            if name not in known[key]:
                hint = near_name_hint(str(name), map(str, known[key]))
                reading.fault(("exclude", i, key), f"{found(name)} matches no {key} of this study. {hint}")


def _expand(reading: Reading, top: StudyDocument, axes: _Axes, metrics: tuple[Metric, ...]) -> tuple[Cell, ...]:
    settings = Settings(train=top.train, predict=top.predict, measure=top.measure, serve=top.serve)
    written = tuple(metric.call.written for metric in metrics)
    signatures = tuple(metric.signature for metric in metrics)

    def cell(model: dict[str, Any], dataset: dict[str, Any], recipe: str, hardware: str, seed: int) -> Cell:
        return Cell(
            study_name=top.name, model=model, dataset=dataset, recipe=recipe, methods=axes.recipes.get(recipe, ()),
            hardware=hardware, seed=seed, settings=settings, metrics=written, factors=top.factors,
            metric_signatures=signatures, content=_content_of(reading, model, dataset),
            maintenance=top.maintenance,
        )  # fmt: skip

    cells: list[Cell] = []
    for model in axes.models:
        for dataset in axes.datasets:
            for hardware in axes.hardware:
                if "baseline" in model:  # nothing of it is trained or drawn: one cell says all
                    cells.append(cell(model, dataset, BASELINE_RECIPE, hardware, 0))
                    continue
                for recipe in axes.recipes:
                    cells += [cell(model, dataset, recipe, hardware, seed) for seed in axes.seeds]
    return tuple(cell for cell in cells if not any(_matches(exclude, cell) for exclude in top.exclude))


def _content_of(reading: Reading, *specs: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the local files that these specs name."""
    if not reading.content:
        return {}
    written = {text for spec in specs for text in _texts(spec)}
    return {path: digest for path, digest in reading.content.items() if path in written}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _matches(exclude: Exclude, cell: Cell) -> bool:
    """Whether all that `exclude` names is in the cell; a baseline has neither recipe nor seed to match."""
    if cell.is_baseline and (exclude.recipe is not None or exclude.seed is not None):
        return False
    return (
        (exclude.model is None or exclude.model in _model_names(cell.model))
        and exclude.dataset in (None, cell.dataset["name"])
        and exclude.recipe in (None, cell.recipe)
        and exclude.hardware in (None, cell.hardware)
        and exclude.seed in (None, cell.seed)
    )


def _check_recipes(reading: Reading, cells: Iterable[Cell]) -> None:
    """Let every recipe plan once for each model it will meet: conflicts are found now, not in hour three."""
    met: set[tuple[str, str]] = set()
    for cell in cells:
        name = model_name(cell.model)
        if cell.is_baseline or (cell.recipe, name) in met:
            continue
        met.add((cell.recipe, name))
        known = catalogue.resolve_dimensions(cell.model)
        family = known.family.name if known else None
        try:
            plan_settings(cell.settings, cell.methods, family)
            if known is not None:
                plan_size(known.dimensions, cell.methods)
        except PartError as error:
            hint = f"{error.hint} " if error.hint else ""
            of_family = family is not None and family in error.message
            way_out = f"Or exclude {{model: {name}, recipe: {cell.recipe}}}." if of_family else ""
            message = f"{error.message}. {hint}{way_out}".rstrip()
            reading.fault(("recipes", cell.recipe), message, at_key=True)
