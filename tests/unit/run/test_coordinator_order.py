"""The order of cells, and the exit code of an outcome."""

from __future__ import annotations

import pytest

from kilowit.run.outcome import StudyOutcome
from kilowit.run.session import ordered_cells
from kilowit.study import Study

STUDY = "{name: %s, models: [%s], datasets: [docstrings], seeds: [0, 1, 2, 3], measure: {order: %s}}"
MODELS = "{scratch: bart-tiny}, {scratch: t5-tiny}"


def labels(name: str = "green", models: str = MODELS, order: str = "shuffled") -> list[str]:
    return [cell.label for cell in ordered_cells(Study.parse(STUDY % (name, models, order)))]


def test_the_order_is_shuffled_but_the_same_on_every_resume() -> None:
    assert labels() == labels()
    assert sorted(labels()) == sorted(labels(order="listed"))
    assert labels() != labels(order="listed")
    assert labels() != labels(name="other")


def test_the_order_does_not_depend_on_that_of_the_yaml() -> None:
    assert labels() == labels(models="{scratch: t5-tiny}, {scratch: bart-tiny}")


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [
        ({"num_finished": 2}, 0),
        ({"num_skipped": 2}, 0),
        ({"num_failed": 1, "left_out": (("a", "budget"),)}, 1),
        ({"left_out": (("a", "budget"),)}, 3),
        ({"num_failed": 1, "is_interrupted": True}, 130),
    ],
)
def test_the_exit_code_says_how_it_went(changes: dict[str, object], exit_code: int) -> None:
    assert StudyOutcome(study_name="green", num_cells=2, **changes).exit_code == exit_code  # type: ignore[arg-type]
