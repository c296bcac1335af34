"""Whether verdicts and intervals keep their word, in small: benchmarks/statistics_calibration.py holds the bars."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kilowit.statistics.means import ratio_interval, ratio_of_means

NUM_TRIALS = 300  # a share of 5 % is known to 2.5 points (two standard errors)
MARGIN = 0.025


@pytest.fixture(scope="module")
def calibration(repository: Path) -> ModuleType:
    path = repository / "benchmarks" / "statistics_calibration.py"
    specification = importlib.util.spec_from_file_location("statistics_calibration", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["statistics_calibration"] = module  # its dataclasses look themselves up
    specification.loader.exec_module(module)
    return module


def share(trials: Iterator[bool]) -> float:
    seen = list(trials)
    return sum(seen) / len(seen)


def test_alike_outputs_are_called_different_in_at_most_one_of_twenty(calibration: ModuleType) -> None:
    assert share(calibration.outputs_differ(NUM_TRIALS // 3)) <= 0.05 + 2 * MARGIN


@pytest.mark.parametrize("over_seeds", [0.0, 0.002, 0.02])
def test_alike_methods_are_called_different_in_at_most_one_of_twenty(
    calibration: ModuleType, over_seeds: float
) -> None:
    world = calibration.World("", 3, over_seeds, num_examples=200)
    assert share(calibration.methods_differ(world, NUM_TRIALS)) <= 0.05 + MARGIN


@pytest.mark.parametrize(("num_seeds", "over_seeds"), [(3, 0.002), (3, 0.02), (5, 0.007)])
def test_intervals_over_seeds_and_examples_hold_the_truth(
    calibration: ModuleType, num_seeds: int, over_seeds: float
) -> None:
    world = calibration.World("", num_seeds, over_seeds, num_examples=200)
    assert 0.93 - MARGIN <= share(calibration.seeds_cover(world, NUM_TRIALS)) <= 0.97 + MARGIN


def test_percentile_intervals_over_examples_hold_the_truth(calibration: ModuleType) -> None:
    assert 0.93 - MARGIN <= share(calibration.examples_cover(100, NUM_TRIALS)) <= 0.97 + MARGIN


@pytest.mark.parametrize(
    "kind", [lambda a, b: ratio_interval(list(zip(a, b, strict=True))), ratio_of_means], ids=["paired", "unpaired"]
)
def test_ratios_of_energy_hold_the_truth(calibration: ModuleType, kind: Callable[..., object]) -> None:
    assert 0.93 - MARGIN <= share(calibration.costs_cover(kind, 5, 1000)) <= 0.97 + MARGIN


def test_draws_as_they_are_would_be_too_narrow_for_three_seeds(calibration: ModuleType) -> None:
    world = calibration.World("", 3, 0.05, num_examples=100)
    assert share(calibration.plain_draws_cover(world, 60)) < 0.9
