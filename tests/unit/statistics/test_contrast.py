from __future__ import annotations

import random
import statistics

import pytest

from kilowit.errors import DataError
from kilowit.statistics.contrast import Contrast, System, contrast_of_outputs, contrast_of_systems, judged
from kilowit.statistics.holm import holm
from kilowit.statistics.interval import Interval
from kilowit.statistics.resample import resampled_means
from kilowit.statistics.two_level import mean_with_interval, spread_of

NUM = 400


def runs(mean: float, num_runs: int, seed: int, *, over_seeds: float = 0.0) -> list[list[float]]:
    """Scores of runs that share the difficulty of their examples."""
    shared, own = random.Random(1), random.Random(seed)
    difficulty = [shared.gauss(0, 0.12) for _ in range(NUM)]
    shifts = [own.gauss(0, over_seeds) for _ in range(num_runs)]
    return [[mean + shift + d + own.gauss(0, 0.08) for d in difficulty] for shift in shifts]


def systems(*tables: list[list[float]]) -> list[System]:
    means = iter(resampled_means([run for table in tables for run in table], num_resamples=2000))
    return [System(table, [next(means) for _ in table]) for table in tables]


def test_holm_raises_p_values_in_steps_and_keeps_their_order() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, then never lower than before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_clear_difference_over_seeds_is_better_and_its_inverse_worse() -> None:
    a, b = systems(runs(0.30, 3, 2), runs(0.25, 3, 3))
    forth, back = judged([contrast_of_systems(a, b, paired=True), contrast_of_systems(b, a, paired=True)])
    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert forth.difference.value == pytest.approx(-back.difference.value)
    assert forth.num_examples == NUM
    assert forth.num_wins == back.num_losses


def test_two_seeds_are_a_single_run_whatever_the_difference() -> None:
    a, b = systems(runs(0.40, 2, 2), runs(0.25, 3, 3))
    (contrast,) = judged([contrast_of_systems(a, b, paired=False)])
    assert contrast.verdict == "single run"
    assert contrast.verdict_on_outputs == "better"
    assert contrast.difference.is_known


def test_seeds_that_scatter_hide_a_difference_that_one_run_would_show() -> None:
    many, other = runs(0.30, 3, 4, over_seeds=0.05), runs(0.27, 3, 5, over_seeds=0.05)
    a, b = systems(many, other)
    assert judged([contrast_of_systems(a, b, paired=True)])[0].verdict == "not distinguishable"
    assert any(
        judged([contrast_of_outputs(x, y)])[0].verdict_on_outputs != "not distinguishable"
        for x, y in zip(many, other, strict=True)
    )


def test_a_training_free_system_needs_no_seeds() -> None:
    trained, lead = systems(runs(0.30, 3, 2), runs(0.20, 1, 3))
    lead = System(lead.runs, lead.means, is_trained=False)
    assert judged([contrast_of_systems(trained, lead, paired=False)])[0].verdict == "better"
    assert judged([contrast_of_systems(lead, lead, paired=False)])[0].verdict == "not distinguishable"


def test_correction_for_many_comparisons_withdraws_a_weak_verdict() -> None:
    weak = Contrast(Interval(0.01, 0.001, 0.019, 3), p_outputs=0.03, p_method=0.03)
    none = Contrast(Interval(0.0, -0.01, 0.01, 3), p_outputs=0.9, p_method=0.9)
    assert judged([weak])[0].verdict == "better"
    assert judged([weak, none, none])[0].verdict == "not distinguishable"


def test_wins_ties_and_losses_add_up() -> None:
    contrast = contrast_of_outputs([0.5, 0.4, 0.6, 0.1], [0.1, 0.4, 0.7, 0.0])
    assert (contrast.num_wins, contrast.num_ties, contrast.num_losses) == (2, 1, 1)


def test_a_comparison_with_itself_is_a_tie() -> None:
    scores = runs(0.3, 1, 2)[0]
    (contrast,) = judged([contrast_of_outputs(scores, scores)])
    assert contrast.verdict_on_outputs == "not distinguishable"
    assert contrast.p_outputs == 1.0
    assert contrast.difference == Interval(0.0, 0.0, 0.0)


def test_unequal_numbers_of_examples_are_refused() -> None:
    with pytest.raises(DataError, match="3 examples against 2"):
        contrast_of_outputs([1.0, 2.0, 3.0], [1.0, 2.0])


def test_the_variance_over_examples_leaves_out_what_the_seeds_show() -> None:
    # nothing but noise of seed and example: the variance of the mean is 0.1^2 / (k n), not twice that
    generator = random.Random(7)
    noise = [[generator.gauss(0, 0.1) for _ in range(2000)] for _ in range(8)]
    spread = spread_of(noise)
    assert spread.over_seeds == pytest.approx(0.1**2 / (8 * 2000), rel=1.0)
    assert spread.over_examples < 0.2 * spread.over_seeds + 1e-8


def test_one_run_has_the_interval_of_its_examples() -> None:
    scores = runs(0.3, 1, 2)[0]
    interval = mean_with_interval([scores])
    assert interval.low is not None
    assert interval.value - interval.low == pytest.approx(1.966 * statistics.stdev(scores) / NUM**0.5, rel=0.001)
