"""Percentiles of waiting: what a reader of summaries remembers is the tail."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def latency_percentiles(latency_second: Sequence[float]) -> dict[str, float]:
    """Return the p50, p95 and p99 of some latencies, at least one, interpolated linearly.

    >>> latency_percentiles([1.0, 3.0])["latency_p50_second"]
    2.0
    """
    padded = [*latency_second] * 2 if len(latency_second) == 1 else latency_second  # quantiles wants two
    percentiles = statistics.quantiles(padded, n=100, method="inclusive")
    return {f"latency_p{p}_second": percentiles[p - 1] for p in (50, 95, 99)}
