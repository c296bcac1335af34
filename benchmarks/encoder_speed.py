"""Time the metrics with an encoder, the packaged MiniLM, on CNN/DM-sized texts, one core.

    OMP_NUM_THREADS=1 python benchmarks/encoder_speed.py [--num-pairs 30]

Texts: those of `metrics_speed.py`. No bar: the table says what an encoder costs beside n-grams.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from bars import Bar, report
from kilowit.parts.encoder import load_encoder
from kilowit.parts.encoder_files import EncoderOptions, fetch_encoder
from kilowit.parts.metric import MetricCall
from metrics_speed import examples

METRICS = ("sentence_similarity", "token_matching", "source_similarity", "chrf", "extractiveness", "rouge")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-pairs", type=int, default=30)
    num_pairs = parser.parse_args().num_pairs
    predictions, references, sources = examples(num_pairs)
    load_encoder(fetch_encoder(EncoderOptions()))  # 90 MB are read before the clock starts
    rows = []
    for name in METRICS:
        start = time.process_time()
        MetricCall(name).score(predictions, references, sources)
        second = (time.process_time() - start) / num_pairs
        rows.append(Bar(name, f"{second * 1000:.3g} ms a pair", "", None))
    rows.append(
        Bar("peak resident memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB", "", None)
    )
    return report(f"Metrics with an encoder: {num_pairs} pairs with their articles, processor time", rows)


if __name__ == "__main__":
    sys.exit(main())
