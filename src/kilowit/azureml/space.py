"""The search of a study as a sweep: which algorithms Azure has, and its space in Azure's words and back.

Azure samples trials side by side and knows no rungs, no parents and one objective. A sweep of grid, random or Bayesian
sampling stands for `grid`, `random` and `tpe`; the other searches run as they are, within one job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kilowit import parts
from kilowit.errors import StudyError, near_name_hint
from kilowit.parts.search import Dimension
from kilowit.study_search import Search

SAMPLING: Final[Mapping[str, str]] = {"grid": "grid", "random": "random", "tpe": "bayesian"}
MAX_LISTED: Final = 64  # whole numbers of a range that are listed; a longer range is sampled and rounded


def sampling_of(search: Search) -> str | None:
    """Return Azure's sampling algorithm for a search, or None where only kilowit can run it."""
    return SAMPLING.get(search.algorithm) if len(search.goals) == 1 else None


def input_name(setting: str) -> str:
    """Return the name of a sweep's parameter: Azure takes letters, digits and underscores.

    >>> input_name("train.learning_rate")
    'train_learning_rate'
    """
    return setting.replace(".", "_")


def search_space(search: Search) -> dict[str, dict[str, Any]]:
    """Return the space of a sweep by the names of its parameters.

    Raises:
        StudyError: a choice that no command line can hand on, such as null.
    """
    return {input_name(d.name): _expression(d, search) for d in search.space}


def _expression(dimension: Dimension, search: Search) -> dict[str, Any]:
    sampling = sampling_of(search)
    if sampling == "grid":
        options = parts.load("searches", "grid").Options.model_validate(search.options)
        return {"type": "choice", "values": list(dimension.grid(options.num_points))}
    if dimension.choices:
        if wrong := [c for c in dimension.choices if isinstance(c, bool) or not isinstance(c, str | int | float)]:
            raise StudyError(
                f"a sweep cannot hand on the choice {wrong[0]!r}",
                place=f"search.space.{dimension.name}",
                hint="Choices of a sweep are numbers and words; let `kilowit run` search this setting.",
            )
        return {"type": "choice", "values": list(dimension.choices)}
    if dimension.is_whole and not dimension.is_log and dimension.high - dimension.low < MAX_LISTED:
        return {"type": "choice", "values": list(range(int(dimension.low), int(dimension.high) + 1))}
    ends = (dimension.low, dimension.high)
    if not dimension.is_log:
        return {"type": "uniform", "min_value": ends[0], "max_value": ends[1]}
    # loguniform gives exp(uniform(min, max)); Bayesian sampling has none, so that the trial takes the exponential
    kind = "uniform" if sampling == "bayesian" else "loguniform"
    return {"type": kind, "min_value": math.log(ends[0]), "max_value": math.log(ends[1])}


def read_parameters(search: Search, given: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a trial from what a sweep gave it, ``train_learning_rate=-9.2``.

    Raises:
        StudyError: not ``name=value``, a name that the search has not, one that is missing, or a value out of range.
    """
    known = {input_name(d.name): d for d in search.space}
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            hint = near_name_hint(name, known) if equals else "Example: --parameter train_batch_size=8"
            raise StudyError(f'"{text}" is no parameter of this search', place="--parameter", hint=hint)
        found[known[name].name] = _value(known[name], value, search)
    if missing := [name for name, d in known.items() if d.name not in found]:
        raise StudyError(
            f"no value for {', '.join(missing)}", place="--parameter", hint="Each setting of search.space needs one."
        )
    return found


def _value(dimension: Dimension, text: str, search: Search) -> Any:
    choices = _expression(dimension, search).get("values")
    if choices is not None:
        for choice in choices:
            if text == str(choice) or _number(text) == choice:
                return choice
        hint = near_name_hint(text, map(str, choices))
        raise StudyError(f"{text} is no choice of {dimension.name}", place="--parameter", hint=hint)
    number = _number(text)
    if number is None:
        raise StudyError(f'"{text}" is no number', place=f"--parameter {dimension.name}", hint="Give a number.")
    if dimension.is_log and sampling_of(search) == "bayesian":
        number = math.exp(number)
    # 1e-9: exp(log(x)) may miss the end of a range by its last digits
    if not dimension.low * (1 - 1e-9) <= number <= dimension.high * (1 + 1e-9):
        ends = f"{dimension.low:g} to {dimension.high:g}"
        raise StudyError(f"{number:g} is not within {ends}", place=f"--parameter {dimension.name}", hint="See search.")
    number = min(max(number, dimension.low), dimension.high)
    return round(number) if dimension.is_whole else number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
