from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilowit.errors import DataError
from kilowit.statistics.correlation import correlation_interval, kendall, pearson, ranks, spearman

PAIRS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-50, 50)), min_size=3, max_size=60)


@given(PAIRS)
def test_correlations_agree_with_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    x, y = ([float(v) for v in side] for side in zip(*pairs, strict=True))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert kendall(x, y) is spearman(x, y) is pearson(x, y) is None
        return
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)


def test_equal_values_share_their_rank() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def test_interval_holds_the_value_and_widens_when_rows_share_documents() -> None:
    generator = random.Random(2)
    documents = [i // 5 for i in range(200)]
    quality = [generator.gauss(0, 1) for _ in range(40)]
    x = [quality[d] + generator.gauss(0, 0.3) for d in documents]
    y = [quality[d] + generator.gauss(0, 0.3) for d in documents]
    alone, grouped = (correlation_interval(pearson, x, y, groups) for groups in (None, documents))
    assert alone is not None and grouped is not None and alone.low and grouped.low and alone.high and grouped.high
    assert alone.low < alone.value < alone.high
    assert grouped.high - grouped.low > alone.high - alone.low
    assert grouped.num_repeats == 40


def test_a_side_that_does_not_vary_has_no_correlation() -> None:
    assert correlation_interval(kendall, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_too_few_or_unpaired_rows_are_refused() -> None:
    with pytest.raises(DataError):
        correlation_interval(pearson, [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(DataError):
        correlation_interval(pearson, [1.0, 2.0, 3.0], [1.0, 2.0])
