"""What prediction gives, and the training-free way to it. Needs no torch: its import would be on a baseline's bill."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kilowit.parts.model import Summarizer

OnBatch = Callable[[int], None]  # told how many documents are done


@dataclass(frozen=True)
class Generated:
    """Summaries in the order of the documents, and what they took.

    `latency_second[i]` is the wall time of the batch that held document i: what its reader would have waited. Empty
    where a runtime makes its own batches of all documents.
    """

    texts: list[str]
    num_output_tokens: list[int] | None  # None: a summarizer without a vocabulary
    latency_second: list[float]
    flop_total: float | None


def summarize_each(summarizer: Summarizer, documents: Sequence[str], on_batch: OnBatch) -> Generated:
    """Summarize documents one by one with a training-free summarizer."""
    texts, latencies = [], []
    for number, document in enumerate(documents, start=1):
        began = time.perf_counter()
        texts += summarizer.summarize([document])
        latencies.append(time.perf_counter() - began)
        on_batch(number)
    return Generated(texts, None, latencies, None)
