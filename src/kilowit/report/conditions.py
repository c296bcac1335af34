"""``--fail-if``: what must not happen, e.g. ``train.energy_total_joule>+5%``.

    <figure> <operator> <limit>

* figure: ``<phase>.<field>`` (a phase of the record, ``run`` for all but the idle baseline and downloads, ``total``
  for everything billed), or a metric (``rouge2``), or a field of the model (``num_trainable_parameters``);
* operator: ``>`` or ``<``, strict;
* limit: ``+5%`` or ``-5%`` (a change of B relative to A; ``5%`` is ``+5%``), ``+0.3`` or ``-0.01`` (B less A, in stored
  units), ``0.12`` without a sign (the value of B itself).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from kilowit.errors import StudyError, near_name_hint
from kilowit.record import PHASES, ModelFacts
from kilowit.report.runs import NUMERIC_FIELDS

_SYNTAX: Final = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*([<>])\s*([+-]?)\s*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(%?)\s*")
_EXAMPLE: Final = "Example: --fail-if 'train.energy_total_joule>+5%' or 'rouge2<-0.005'."
PSEUDO_PHASES: Final = ("total", "run")
MODEL_FIELDS: Final = tuple(
    f.name for f in dataclasses.fields(ModelFacts) if f.name.startswith(("num_", "flop_")) or f.name.endswith("_byte")
)


@dataclass(frozen=True)
class Condition:
    """One parsed expression."""

    text: str
    figure: str
    operator: Literal["<", ">"]
    limit: float
    kind: Literal["relative", "difference", "absolute"]

    def is_violated(self, a: float, b: float) -> bool:
        """Judge by the point values of A and B: an interval would let a slow drift through."""
        if self.kind == "relative":
            seen = math.inf if a == 0 and b != 0 else 0.0 if a == 0 else b / a - 1
        else:
            seen = b - a if self.kind == "difference" else b
        return seen > self.limit if self.operator == ">" else seen < self.limit


def parse_condition(text: str, metrics: Iterable[str]) -> Condition:
    """Parse one expression.

    Args:
        metrics: names of the scores that the records have.

    Raises:
        StudyError: not of this grammar, or a figure that no record has; the hint names the nearest.

    Example:
        >>> parse_condition("train.wall_second>+5%", []).limit
        0.05
    """
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise StudyError(f'"{text}" is not a condition', place="--fail-if", hint=_EXAMPLE)
    figure, operator, sign, number, percent = match.groups()
    check_figure(figure, metrics)
    value = float(number) * (-1 if sign == "-" else 1)
    kind: Literal["relative", "difference", "absolute"] = (
        "relative" if percent else "difference" if sign else "absolute"
    )
    limit = value / 100 if percent else value
    return Condition(text.strip(), figure, "<" if operator == "<" else ">", limit, kind)


def check_figure(figure: str, metrics: Iterable[str]) -> None:
    """Check that a figure can exist.

    Raises:
        StudyError: it cannot; the hint names the nearest.
    """
    phase, dot, name = figure.rpartition(".")
    if dot:
        phases = (*PSEUDO_PHASES, *PHASES)
        if phase not in phases:
            raise StudyError(f'no phase "{phase}"', place="--fail-if", hint=near_name_hint(phase, phases))
        if name not in NUMERIC_FIELDS:
            hint = near_name_hint(name, NUMERIC_FIELDS)
            raise StudyError(f'no figure "{name}" of a phase', place="--fail-if", hint=hint)
        return
    known = [*metrics, *MODEL_FIELDS, *NUMERIC_FIELDS]
    if figure not in known:
        full = [*known, *(f"{p}.{f}" for p in PSEUDO_PHASES for f in NUMERIC_FIELDS)]
        raise StudyError(f'no figure "{figure}"', place="--fail-if", hint=near_name_hint(figure, full))
