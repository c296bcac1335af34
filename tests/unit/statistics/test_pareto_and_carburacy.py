from __future__ import annotations

import math
import random
import statistics

import pytest

from kilowit.statistics.carburacy import BETA_TEST, BETA_TRAIN, carburacy, discounted, effectiveness
from kilowit.statistics.pareto import Draws, drawn_cost, hypervolume, membership, pareto_front, student_draws


def test_front_holds_what_no_other_beats() -> None:
    points = [(1.0, 1.0), (2.0, 3.0), (2.5, 2.0), (4.0, 3.0), (5.0, 4.0)]
    assert pareto_front(points) == [0, 1, 4]


def test_an_exact_tie_stands_on_the_front_twice() -> None:
    assert pareto_front([(1.0, 1.0), (1.0, 1.0)]) == [0, 1]


def test_membership_is_sure_without_noise_and_half_between_equals() -> None:
    generator = random.Random(3)
    num = 2000
    sure = Draws([1.0] * num, [1.0] * num)
    beaten = Draws([3.0] * num, [0.5] * num)
    twins = [Draws([2.0] * num, [generator.gauss(2, 0.1) for _ in range(num)]) for _ in range(2)]
    found = membership([sure, beaten, *twins])
    assert found[:2] == [1.0, 0.0]
    assert found[2:] == pytest.approx([0.5, 0.5], abs=0.05)


def test_hypervolume_is_the_share_of_the_rectangle_that_is_dominated() -> None:
    # steps at (1, 1) and (2, 3) in a 4 x 4 square from the corner (4, 0): 3 x 1 + 2 x 2 = 7 of 16
    assert hypervolume([(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)], (4.0, 0.0), (0.0, 4.0)) == pytest.approx(7 / 16)
    assert hypervolume([(5.0, 3.0)], (4.0, 0.0), (0.0, 4.0)) == 0.0
    assert hypervolume([], (4.0, 4.0), (4.0, 4.0)) == 0.0


def test_costs_are_drawn_around_their_mean_and_single_runs_not_at_all() -> None:
    drawn = drawn_cost([10.0, 11.0, 12.0], 4000, 1)
    assert statistics.median(drawn) == pytest.approx(11.0, rel=0.01)
    assert drawn_cost([10.0, 12.0], 3, 1) == [11.0, 11.0, 11.0]
    assert drawn != drawn_cost([10.0, 11.0, 12.0], 4000, 2)


def test_repeats_of_a_cost_that_lie_worlds_apart_are_drawn_all_the_same() -> None:
    drawn = drawn_cost([1e100, 1.0, 1.0], 4000, 1)
    assert all(math.isfinite(cost) and cost >= 0 for cost in drawn)
    assert max(drawn) > 1e300


def test_drawn_t_has_the_tails_of_its_degrees() -> None:
    drawn = student_draws(2, 20_000, 5)
    assert sum(abs(t) > 4.303 for t in drawn) / 20_000 == pytest.approx(0.05, abs=0.006)


def test_carburacy_of_a_published_run_is_as_its_formula_says() -> None:
    # R = 0.4320 and 0.02725 kg of training: 0.4320^(1 / ln 10) / 1.02725
    assert discounted(0.4320, 0.0, BETA_TRAIN) == pytest.approx(0.6945, abs=5e-5)
    assert discounted(0.4320, 0.02725, BETA_TRAIN) == pytest.approx(0.6761, abs=5e-5)
    assert carburacy(0.4320, 0.0, 0.0) == pytest.approx(0.6945, abs=5e-5)
    assert carburacy(0.4320, 0.02725, 0.001) < discounted(0.4320, 0.0, BETA_TEST)


def test_carburacy_punishes_uneven_scores_and_ends_at_zero() -> None:
    # mean 0.4, population variance 0.02 / 3
    assert effectiveness(0.5, 0.3, 0.4) == pytest.approx(0.4 / (1 + 0.02 / 3))
    assert effectiveness(0.5, 0.3, 0.4) < effectiveness(0.4, 0.4, 0.4)
    assert carburacy(0.0, 1.0, 1.0) == 0.0
