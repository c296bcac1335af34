from __future__ import annotations

import random
import statistics

import pytest
from scipy import stats

from kilowit.errors import DataError
from kilowit.statistics import randomization, resample
from kilowit.statistics.randomization import sign_flip_p
from kilowit.statistics.resample import fixed_point, percentile_interval, percentiles, resampled_means


def column(num: int, seed: int = 0) -> list[float]:
    generator = random.Random(seed)
    return [generator.gauss(0.2, 0.15) for _ in range(num)]


@pytest.mark.parametrize("num", [1, 2, 7, 31, 819, 5_000, 65_536, 65_537])
def test_numpy_and_pure_python_give_the_same_resamples_to_the_last_bit(num: int) -> None:
    columns = [column(num, seed) for seed in range(3)]
    num_resamples = 300 if num < 1000 else 3
    by_engine = [resampled_means(columns, num_resamples=num_resamples, engine=e) for e in ("numpy", "python")]  # type: ignore[arg-type]
    assert by_engine[0] == by_engine[1]


@pytest.mark.parametrize("num", [1, 5, 8, 33, 819])
def test_numpy_and_pure_python_flip_the_same_signs(num: int) -> None:
    values = [v - 0.19 for v in column(num)]
    assert sign_flip_p(values, num_flips=500, engine="numpy") == sign_flip_p(values, num_flips=500, engine="python")


def test_a_column_gets_the_same_draws_alone_and_among_others() -> None:
    columns = [column(50, seed) for seed in range(4)]
    assert resampled_means(columns[2:3], num_resamples=100)[0] == resampled_means(columns, num_resamples=100)[2]


def test_resampled_means_spread_as_the_standard_error_says() -> None:
    values = column(400)
    means = resampled_means([values])[0]
    assert statistics.stdev(means) == pytest.approx(statistics.pstdev(values) / 20, rel=0.03)
    assert statistics.fmean(means) == pytest.approx(statistics.fmean(values), abs=0.0005)


def test_percentile_interval_agrees_with_scipy() -> None:
    values = column(200)
    ours = percentile_interval(0.0, resampled_means([values])[0])
    theirs = stats.bootstrap((values,), statistics.fmean, vectorized=False, method="percentile", n_resamples=2000)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


def test_percentiles_interpolate_as_numpy_does() -> None:
    assert percentiles([4.0, 1.0, 3.0, 2.0], (0, 50, 90, 100)) == pytest.approx([1.0, 2.5, 3.7, 4.0])


def test_whole_numbers_lose_less_than_a_billionth() -> None:
    values = [*column(1000), -3.0, 0.0]
    fixed = fixed_point(values)
    back = [(whole + fixed.least) * fixed.quantum for whole in fixed.whole]
    assert max(abs(a - b) for a, b in zip(values, back, strict=True)) < 1e-9
    assert min(fixed.whole) == 0


def test_sign_flips_agree_with_all_patterns_of_a_small_case() -> None:
    # of the 2^4 sign patterns of 1, 2, 3, 4 only all alike reach |sum| = 10: p = 2 / 16
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0]) == pytest.approx(2 / 16, abs=0.01)


def test_sign_flips_agree_with_scipy() -> None:
    values = [v - 0.18 for v in column(300)]
    theirs = stats.permutation_test((values,), statistics.fmean, permutation_type="samples", n_resamples=2000)
    assert sign_flip_p(values) == pytest.approx(theirs.pvalue, abs=0.02)


def test_no_difference_has_p_one_and_a_sure_one_the_least_there_is() -> None:
    assert sign_flip_p([0.0] * 30) == 1.0
    assert sign_flip_p([0.1] * 100) == pytest.approx(1 / (randomization.NUM_FLIPS + 1))


@pytest.mark.parametrize("columns", [[[]], [[1.0], [1.0, 2.0]], [[1.0, float("nan")]], [[1.0, float("inf")]]])
def test_columns_that_cannot_be_resampled_are_refused(columns: list[list[float]]) -> None:
    with pytest.raises(DataError):
        resampled_means(columns)


def test_without_numpy_the_pure_engine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample.importlib.util, "find_spec", lambda name: None)
    assert not resample.has_numpy()
    assert resample.has_numpy("numpy")
