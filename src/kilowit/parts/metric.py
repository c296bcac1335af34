"""What a metric is: a file ``parts/metrics/<name>.py`` with ``score`` and ``signature``.

``score(predictions, references) -> MetricResult``; ``signature() -> str`` is computed from the metric's settings.
A metric with ``NEEDS_SOURCE = True`` is given ``sources=``, the whole documents, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from kilowit.record import Score


@dataclass(frozen=True)
class MetricResult:
    """Corpus scores, and per example the values that paired tests need.

    `per_example[name][i]` is the value of `name` for example i, in the order of the predictions.
    """

    scores: tuple[Score, ...]
    per_example: dict[str, list[float]]
