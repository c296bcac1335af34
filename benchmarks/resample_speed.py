"""Time the intervals: 10,000 resamples of a CNN/DM-sized test set, four types; and the Hugging Face compatibility mode.

    OMP_NUM_THREADS=1 python benchmarks/resample_speed.py

Bar: under one second for n = 11,490 and four types.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from rouge_score.scoring import BootstrapAggregator, Score

from bars import Bar, at_most, report
from kilowit.parts.resample import hugging_face_medians, mean_intervals

NUM_EXAMPLES = 11_490
TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def main() -> int:
    """Print the table; 1 if the bar is missed."""
    values = np.random.default_rng(0).random((len(TYPES), 3, NUM_EXAMPLES))
    columns = {name: values[place].tolist() for place, name in enumerate(TYPES)}
    f1 = {name: measures[2] for name, measures in columns.items()}

    def seconds(work: object) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            work()  # type: ignore[operator]
            times.append(time.process_time() - start)
        return min(times)

    aggregator = BootstrapAggregator()
    for place in range(NUM_EXAMPLES):
        aggregator.add_scores({name: Score(*(m[place] for m in measures)) for name, measures in columns.items()})
    return report(
        f"Intervals: n = {NUM_EXAMPLES:,}, {len(TYPES)} types, processor time",
        [
            at_most("10,000 resamples, percentile interval", seconds(lambda: mean_intervals(f1)), 1, "s"),
            Bar(
                "1,000 resamples, as Hugging Face",
                f"{seconds(lambda: hugging_face_medians(columns, seed=0)):.3f} s",
                "",
                None,
            ),
            Bar("the same by rouge-score's aggregator", f"{seconds(aggregator.aggregate):.3f} s", "", None),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
