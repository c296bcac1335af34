"""What scoring takes, by metric: n-grams together, encoders by their card, a judge not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit.parts.metric import MetricCall
from kilowit.plan.interval import Interval

# 380 pairs a second with all four ROUGE variants and stemmer (our benchmark, 2026-11); long texts are slower.
NGRAM_PAIRS_PER_SECOND: Final = Interval(60, 380, 800)
# Metrics give seconds of a long pair on one CPU core: short texts, more cores or a GPU take down to a fiftieth (ours).
ENCODER_RANGE: Final = Interval(0.02, 1, 3)


def score_second_per_pair(metrics: Sequence[MetricCall]) -> Interval:
    """Return the seconds of one pair, of those metrics whose cost is known."""
    known = [second for call in metrics if (second := call.second_per_pair)]
    return Interval.exactly(1.0) / NGRAM_PAIRS_PER_SECOND + ENCODER_RANGE * sum(known)


def unplanned_scoring(metrics: Sequence[MetricCall]) -> list[str]:
    """Return a note for each metric that the plan leaves out."""
    return [
        f"scoring by {call.label} is not planned: what it takes is not known before a run"
        for call in metrics
        if call.second_per_pair is None
    ]
