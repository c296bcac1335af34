from __future__ import annotations

import math
import sys
import time

import numpy as np
import pytest
from rouge_score.scoring import BootstrapAggregator, Score

from kilowit.errors import DataError, PartError
from kilowit.parts.resample import hugging_face_medians, mean_intervals, scores_of_means
from kilowit.statistics.resample import resampled_means, resampled_sums

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def random_columns(num_examples: int, seed: int = 0) -> dict[str, list[list[float]]]:
    values = np.random.default_rng(seed).random((len(TYPES), 3, num_examples))
    return {name: values[place].tolist() for place, name in enumerate(TYPES)}


@pytest.mark.parametrize("num_examples", [1, 2, 7, 100, 819])
def test_hugging_faces_medians_come_out_digit_for_digit(num_examples: int) -> None:
    columns = random_columns(num_examples)
    aggregator = BootstrapAggregator(n_samples=1000)
    for place in range(num_examples):
        aggregator.add_scores({name: Score(*(m[place] for m in measures)) for name, measures in columns.items()})
    np.random.seed(322)
    theirs = aggregator.aggregate()
    ours = hugging_face_medians(columns, seed=322)
    f1_alone = hugging_face_medians({name: measures[2:] for name, measures in columns.items()}, seed=322)
    for name in TYPES:
        for place, measure in enumerate(ours[name]):
            expected = (theirs[name].low[place], theirs[name].mid[place], theirs[name].high[place])
            assert (measure.low, measure.mid, measure.high) == expected
        assert f1_alone[name] == (ours[name][2],)


def test_medians_survive_being_drawn_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = random_columns(50)
    whole = hugging_face_medians(columns, seed=1)
    monkeypatch.setattr("kilowit.parts.resample._HF_MAX_CELLS_AT_ONCE", 400)
    assert hugging_face_medians(columns, seed=1) == whole


def test_the_interval_is_that_of_the_normal_approximation_when_there_are_many_examples() -> None:
    values = np.random.default_rng(1).normal(0.4, 0.18, size=2_000)
    interval = mean_intervals({"rouge1": values.tolist()})["rouge1"]
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)


def test_the_same_seed_gives_the_same_interval_and_another_gives_another() -> None:
    columns = {"a": np.random.default_rng(4).random(40).tolist()}
    assert mean_intervals(columns, seed=5) == mean_intervals(columns, seed=5)
    assert mean_intervals(columns, seed=5) != mean_intervals(columns, seed=6)


def test_counts_of_a_corpus_see_the_draws_of_the_means() -> None:
    for num in (30, 5_000, 70_000):
        table = np.random.default_rng(2).integers(0, 50, (num, 2))
        means = resampled_means(table.T.tolist(), num_resamples=20)
        assert np.allclose(resampled_sums(table, num_resamples=20).T / num, means)


def test_one_example_has_a_mean_and_no_interval() -> None:
    score = scores_of_means({"rouge1": [0.25]}, lambda name: f"sig of {name}")[0]
    assert (score.value, score.ci95_low, score.ci95_high, score.signature) == (0.25, None, None, "sig of rouge1")


def test_what_is_no_score_is_refused_by_place() -> None:
    with pytest.raises(DataError, match="rouge1 of example 1 is nan"):
        mean_intervals({"rouge1": [0.1, math.nan]})
    with pytest.raises(DataError, match="no examples"):
        mean_intervals({"rouge1": []})
    with pytest.raises(DataError, match="different numbers of examples"):
        mean_intervals({"rouge1": [0.1], "rouge2": [0.1, 0.2]})


def test_the_interval_is_the_same_without_numpy_and_hugging_faces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {name: measures[0] for name, measures in random_columns(60).items()}
    with_numpy = mean_intervals(columns, num_resamples=200)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert mean_intervals(columns, num_resamples=200) == with_numpy
    with pytest.raises(PartError, match="aggregation of Hugging Face needs the package numpy"):
        hugging_face_medians({name: [values] for name, values in columns.items()}, seed=0)


def test_ten_thousand_resamples_of_a_large_test_set_take_less_than_a_second() -> None:
    columns = {name: np.random.default_rng(0).random(11_490).tolist() for name in TYPES}
    start = time.process_time()
    mean_intervals(columns)
    assert time.process_time() - start < 1.5  # the bar is 1 s on an idle core; see benchmarks/resample_speed.py
