"""The memory that the plan says, beside that of a step of every family."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.parts import catalogue
from kilowit.plan.activations import COUNTED

pytest.importorskip("torch")

import step_memory


def test_activations_of_every_family_were_counted() -> None:
    assert list(COUNTED) == [family.name for family in catalogue.families()]


@pytest.mark.parametrize("family", sorted(COUNTED))
@pytest.mark.parametrize(("num_source", "num_target"), step_memory.LENGTHS)
def test_planned_memory_is_within_a_tenth_of_the_counted(
    family: str, num_source: int, num_target: int, tmp_path: Path
) -> None:
    shape = (f"{family}-tiny", num_source, num_target)
    assert step_memory.planned_byte(*shape, tmp_path) == pytest.approx(step_memory.counted_byte(*shape), rel=0.1)


def test_planned_memory_holds_for_a_size_that_it_was_not_fitted_to(tmp_path: Path) -> None:
    shape = ("bart-base", 200, 40)
    assert step_memory.planned_byte(*shape, tmp_path) == pytest.approx(step_memory.counted_byte(*shape), rel=0.1)
