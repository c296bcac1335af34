from __future__ import annotations

import math

import pytest

from kilowit.report.statistics import Interval, mean_interval, pareto_front, ratio_interval, ratio_of_means, t95


def test_t_quantiles_agree_with_the_table_and_fall_towards_the_normal() -> None:
    assert (t95(1), t95(4), t95(30)) == (12.706, 2.776, 2.042)
    assert t95(1000) == t95(30)
    assert all(t95(n) > t95(n + 1) for n in range(1, 30))


def test_interval_of_a_mean_is_t_times_the_standard_error() -> None:
    # values 1, 2, 3: mean 2, s = 1, n = 3, so half = 4.303 / sqrt(3)
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.value == 2.0
    assert interval.high == pytest.approx(2 + 4.303 / math.sqrt(3))


def test_fewer_than_three_repeats_give_no_interval() -> None:
    assert not mean_interval([1.0, 2.0]).is_known
    assert mean_interval([1.0, 2.0], extra_half_width=0.5) == Interval(1.5, 1.0, 2.0, 2)


def test_ratio_is_the_geometric_mean_of_the_pairs() -> None:
    ratio = ratio_interval([(2.0, 1.0), (8.0, 1.0), (4.0, 1.0)])
    assert ratio is not None and ratio.low is not None and ratio.high is not None
    assert ratio.value == pytest.approx(4.0)
    # logs are ln 4 + (-ln 2, ln 2, 0): s = ln 2, half = 4.303 ln 2 / sqrt 3
    assert math.log(ratio.high / ratio.value) == pytest.approx(4.303 * math.log(2) / math.sqrt(3))
    assert ratio.low * ratio.high == pytest.approx(ratio.value**2)


def test_ratio_of_nothing_positive_is_unknown() -> None:
    assert ratio_interval([(0.0, 1.0)]) is None
    assert ratio_of_means([1.0], []) is None


def test_front_holds_what_no_other_beats() -> None:
    points = [(1.0, 1.0), (2.0, 3.0), (2.5, 2.0), (4.0, 3.0), (5.0, 4.0)]
    assert pareto_front(points) == [0, 1, 4]


def test_an_exact_tie_stands_on_the_front_twice() -> None:
    assert pareto_front([(1.0, 1.0), (1.0, 1.0)]) == [0, 1]


@pytest.mark.parametrize(("low", "high", "neutral", "expected"), [(0.9, 1.1, 1.0, False), (1.05, 1.1, 1.0, True)])
def test_an_interval_excludes_what_lies_outside(low: float, high: float, neutral: float, expected: bool) -> None:
    assert Interval((low + high) / 2, low, high, 3).excludes(neutral) is expected
