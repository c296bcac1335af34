"""Effects between choices: quality as a difference, cost as a ratio, each with its interval and a verdict."""

from __future__ import annotations

import math
import statistics
from typing import Final

from kilowit.report.examples import ExampleScores
from kilowit.report.quantity import number
from kilowit.report.runs import Choice
from kilowit.report.statistics import MIN_REPEATS, Interval, half_width, ratio_interval, ratio_of_means

ENERGY: Final = "run.energy_total_joule"
DEFAULT_METRIC: Final = "rouge2"
METRIC_LABELS: Final[dict[str, str]] = {
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
}  # fmt: skip

NOT_DISTINGUISHABLE: Final = "not distinguishable"
SINGLE_RUN: Final = "single run"


def quality(choice: Choice, metric: str) -> Interval | None:
    """Return a choice's score: mean over seeds; interval over seeds and test examples together."""
    values = choice.values(metric)
    if not values:
        return None
    of_seeds = 0.0 if choice.is_baseline else half_width(values) or 0.0
    of_examples = _half_of_examples(choice, metric)
    mean = statistics.fmean(values)
    if of_examples is None and not of_seeds:
        return Interval(mean, num_repeats=len(values))
    half = math.hypot(of_seeds, of_examples or 0.0)
    return Interval(mean, mean - half, mean + half, len(values))


def quality_difference(a: Choice, b: Choice, metric: str, examples: ExampleScores | None = None) -> Interval | None:
    """Return quality of `a` less quality of `b`.

    The noise of seeds is paired by seed; the noise of test examples is paired by example where their scores are at
    hand, else taken as independent, which is too wide rather than too narrow.
    """
    values_a, values_b = a.values(metric), b.values(metric)
    if not values_a or not values_b:
        return None
    effect = statistics.fmean(values_a) - statistics.fmean(values_b)
    paired = examples.half_width(a.finished, b.finished, metric) if examples else None
    if paired is None:
        halves = [_half_of_examples(choice, metric) for choice in (a, b)]
        known = [half for half in halves if half is not None]
        paired = math.hypot(*known) if len(known) == 2 else None
    of_seeds = _half_of_seeds(a, b, metric)
    num = _num_repeats(a, b)
    if paired is None and of_seeds is None:
        return Interval(effect, num_repeats=num)
    half = math.hypot(paired or 0.0, of_seeds or 0.0)
    return Interval(effect, effect - half, effect + half, num)


def cost_ratio(a: Choice, b: Choice, figure: str = ENERGY) -> Interval | None:
    """Return the ratio a / b of a figure, paired by seed where the seeds are the same."""
    by_seed_a = {run.seed: run.value(figure) for run in a.finished}
    by_seed_b = {run.seed: run.value(figure) for run in b.finished}
    pairs = [(x, y) for s in by_seed_a if (x := by_seed_a[s]) and (y := by_seed_b.get(s))]
    if len(pairs) == max(len(by_seed_a), len(by_seed_b)):
        return ratio_interval(pairs)
    return ratio_of_means(a.values(figure), b.values(figure))


def verdict(effect: Interval | None, neutral: float, *, higher_is_better: bool) -> str:
    """Judge an effect by its interval; without one no judgement is made."""
    if effect is None or not effect.is_known:
        return SINGLE_RUN
    if not effect.excludes(neutral):
        return NOT_DISTINGUISHABLE
    return "better" if (effect.value > neutral) == higher_is_better else "worse"


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


def _half_of_examples(choice: Choice, metric: str) -> float | None:
    """Half the bootstrap interval over test examples, averaged over the runs: seeds share their examples."""
    scores = [s for run in choice.finished if (s := run.record.score(metric)) is not None]
    halves = [(s.ci95_high - s.ci95_low) / 2 for s in scores if s.ci95_low is not None and s.ci95_high is not None]
    return statistics.fmean(halves) if halves else None


def _half_of_seeds(a: Choice, b: Choice, metric: str) -> float | None:
    by_seed_a = {run.seed: run.value(metric) for run in a.finished}
    by_seed_b = {run.seed: run.value(metric) for run in b.finished}
    common = [(x, y) for s, x in by_seed_a.items() if x is not None and (y := by_seed_b.get(s)) is not None]
    if len(common) >= MIN_REPEATS and not (a.is_baseline or b.is_baseline):
        return half_width([x - y for x, y in common])
    halves = [0.0 if c.is_baseline else half_width(c.values(metric)) for c in (a, b)]
    known = [half for half in halves if half is not None]
    return math.hypot(*known) if len(known) == 2 else None


def _num_repeats(a: Choice, b: Choice) -> int:
    counts = [len(c.finished) for c in (a, b) if not c.is_baseline]
    return min(counts) if counts else 1


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
