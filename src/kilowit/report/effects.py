"""How a choice does: its score with an interval, the ratio of two costs, and how both are written."""

from __future__ import annotations

import statistics
from typing import Final

from kilowit.report.quantity import number
from kilowit.report.runs import Choice
from kilowit.statistics.interval import MIN_REPEATS, Interval
from kilowit.statistics.means import ratio_interval, ratio_of_means, variance_of_mean
from kilowit.statistics.student import t95
from kilowit.statistics.two_level import Spread

ENERGY: Final = "run.energy_total_joule"
DEFAULT_METRIC: Final = "rouge2"
METRIC_LABELS: Final[dict[str, str]] = {
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
}  # fmt: skip


def quality(choice: Choice, metric: str) -> Interval | None:
    """Return a choice's score: mean over seeds; interval over seeds and test examples together.

    From the records alone: what a seed's luck with an example adds is in both of its terms, so it is too wide rather
    than too narrow. None when no run has the score.
    """
    values = choice.values(metric)
    if not values:
        return None
    mean, spread = statistics.fmean(values), spread_of_records(choice, metric)
    half = 0.0 if spread is None else spread.half_width
    if not half:
        return Interval(mean, num_repeats=len(values))
    return Interval(mean, mean - half, mean + half, len(values))


def spread_of_records(choice: Choice, metric: str) -> Spread | None:
    """Return the variance of a choice's mean score as its records tell it; None when they tell nothing."""
    values = choice.values(metric)
    is_repeated = not choice.is_baseline and len(values) >= MIN_REPEATS
    scores = [s for run in choice.finished if (s := run.record.score(metric)) is not None and s.num_examples > 1]
    errors = [
        (s.ci95_high - s.ci95_low) / 2 / t95(s.num_examples - 1)
        for s in scores
        if s.ci95_low is not None and s.ci95_high is not None
    ]
    if not is_repeated and not errors:
        return None
    return Spread(
        variance_of_mean(values) if is_repeated else 0.0,
        len(values) - 1 if is_repeated else 0,
        statistics.fmean(errors) ** 2 if errors else 0.0,
        min(s.num_examples for s in scores) - 1 if errors else 0,
    )


def cost_ratio(a: Choice, b: Choice, figure: str = ENERGY) -> Interval | None:
    """Return the ratio a / b of a figure, paired by seed where the seeds are the same."""
    by_seed_a = {run.seed: run.value(figure) for run in a.finished}
    by_seed_b = {run.seed: run.value(figure) for run in b.finished}
    pairs = [(x, y) for s in by_seed_a if (x := by_seed_a[s]) and (y := by_seed_b.get(s))]
    if len(pairs) == max(len(by_seed_a), len(by_seed_b)):
        return ratio_interval(pairs)
    return ratio_of_means(a.values(figure), b.values(figure))


def repeats(choice: Choice) -> str:
    """Say how often a choice was run."""
    if choice.is_baseline:
        return "training-free"
    num = len(choice.finished)
    return "single run" if num == 1 else f"n = {num} seeds"


def points(score: Interval) -> str:
    """Write a score times 100 with its interval."""
    text = f"{100 * score.value:.2f}"
    if score.low is None or score.high is None:
        return text
    return f"{text} [{100 * score.low:.2f}, {100 * score.high:.2f}]"


def signed_points(difference: Interval) -> str:
    """Write a difference of scores times 100 with sign and interval."""
    text = _signed(100 * difference.value)
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{_signed(100 * difference.low)}, {_signed(100 * difference.high)}]"


def times(ratio: Interval) -> str:
    """Write a ratio with its interval."""
    text = f"{number(ratio.value)}×"
    if ratio.low is None or ratio.high is None:
        return text
    return f"{text} [{number(ratio.low)}, {number(ratio.high)}]"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
