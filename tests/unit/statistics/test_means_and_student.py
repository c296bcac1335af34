from __future__ import annotations

import math

import pytest
from scipy import stats

from kilowit.statistics.interval import Interval, verdict
from kilowit.statistics.means import mean_interval, ratio_interval, ratio_of_means
from kilowit.statistics.student import Z95, degrees_of_t95, t95, two_sided_p

T95_OF_2 = 4.302652729911275  # scipy 1.17, stats.t.ppf(0.975, 2)


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 2.5, 4, 30, 818, 1e5])
def test_t_agrees_with_scipy(degrees: float) -> None:
    assert t95(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-10)
    for t in (0.0, 0.3, 2.2, 40.0):
        assert two_sided_p(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-8)


def test_t_quantiles_fall_towards_the_normal() -> None:
    assert all(t95(n) > t95(n + 1) > Z95 for n in range(1, 200))
    assert t95(1e9) == Z95


@pytest.mark.parametrize("degrees", [1.0, 2.0, 3.7, 20.0, 100.0])
def test_degrees_are_found_back_from_their_quantile(degrees: float) -> None:
    assert degrees_of_t95(t95(degrees)) == pytest.approx(degrees, rel=0.01)


def test_no_degrees_of_freedom_are_refused() -> None:
    with pytest.raises(ValueError, match="positive degrees"):
        t95(0)


def test_interval_of_a_mean_is_t_times_the_standard_error() -> None:
    # values 1, 2, 3: mean 2, s = 1, n = 3, so half = t / sqrt(3)
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.value == 2.0
    assert interval.high == pytest.approx(2 + T95_OF_2 / math.sqrt(3))


def test_fewer_than_three_repeats_give_no_interval() -> None:
    assert not mean_interval([1.0, 2.0]).is_known
    assert verdict(mean_interval([1.0, 2.0]), 0.0, higher_is_better=True) == "single run"


def test_ratio_is_the_geometric_mean_of_the_pairs() -> None:
    ratio = ratio_interval([(2.0, 1.0), (8.0, 1.0), (4.0, 1.0)])
    assert ratio is not None and ratio.low is not None and ratio.high is not None
    assert ratio.value == pytest.approx(4.0)
    # logs are ln 4 + (-ln 2, ln 2, 0): s = ln 2, half = t ln 2 / sqrt 3
    assert math.log(ratio.high / ratio.value) == pytest.approx(T95_OF_2 * math.log(2) / math.sqrt(3))
    assert ratio.low * ratio.high == pytest.approx(ratio.value**2)


def test_ratio_of_unpaired_repeats_is_welch_on_logs() -> None:
    a, b = [10.0, 11.0, 12.5, 10.4], [7.0, 9.0, 8.1]
    ratio = ratio_of_means(a, b)
    assert ratio is not None and ratio.low is not None
    test = stats.ttest_ind([math.log(v) for v in a], [math.log(v) for v in b], equal_var=False)
    assert math.log(ratio.low) == pytest.approx(test.confidence_interval(0.95).low)


def test_ratio_of_nothing_positive_is_unknown() -> None:
    assert ratio_interval([(0.0, 1.0)]) is None
    assert ratio_of_means([1.0], []) is None


@pytest.mark.parametrize(("low", "high", "neutral", "expected"), [(0.9, 1.1, 1.0, False), (1.05, 1.1, 1.0, True)])
def test_an_interval_excludes_what_lies_outside(low: float, high: float, neutral: float, expected: bool) -> None:
    assert Interval((low + high) / 2, low, high, 3).excludes(neutral) is expected
