"""What server, metering and protocol add to an offline batch: documents through `kilowit serve` and without it.

    python benchmarks/endpoint_overhead.py MODEL DOCUMENTS [--repeats 20]

Both sides have the model in memory, one thread and batches of 8, and take turns, for others may share the machine. Wall
time is told as the median of the ratios of turns and as best against best; processor time as the ratio of the sums, of
the server's process (engine, meter, HTTP) to the direct one. Bar: 5 % of throughput, by the median of wall times.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import psutil

from bars import Bar, at_most, report
from kilowit.endpoint.asking import Asker
from kilowit.serving import load_summarizer
from kilowit.serving.documents import read_documents
from kilowit.serving.process import prepare_process

NUM_OFFLINE = 64  # documents in a request
BATCH_SIZE = 8
NUM_WARM_UP = 1


def main() -> int:
    """Measure, print, and return 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("documents")
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    prepare_process()
    documents = read_documents(asked.documents)
    offline = [documents[i % len(documents)] for i in range(NUM_OFFLINE)]
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "kilowit", "serve", asked.model, "--port", "0", "--store", store]
        command += ["--threads", "1", "--batch-size", str(BATCH_SIZE)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            asker = Asker(process.stdout.readline().strip())
            try:
                turns = take_turns(asked.model, asker, psutil.Process(process.pid), offline, asked.repeats)
            finally:
                process.send_signal(signal.SIGTERM)
    direct, server = ([turn[side] for turn in turns] for side in (0, 1))
    wall = statistics.median(s[0] / d[0] for d, s in turns)
    best = min(s[0] for s in server) / min(d[0] for d in direct)
    processor = sum(s[1] for s in server) / sum(d[1] for d in direct)
    bars = [
        Bar("without the server", f"{1000 * min(d[0] for d in direct):.1f} ms", f"best of {len(turns)}", None),
        at_most("longer through it, median of turns", 100 * (wall - 1), 5, "%", 1),
        Bar("longer, best against best", f"{100 * (best - 1):.1f} %", "", None),
        Bar("more processor time", f"{100 * (processor - 1):.1f} %", f"{sum(d[1] for d in direct):.2f} s", None),
    ]
    return report(f"{NUM_OFFLINE} documents in one request to kilowit serve", bars)


def take_turns(
    model: str, asker: Asker, server: psutil.Process, documents: list[str], repeats: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return wall and processor seconds of each turn, without the server and through it."""
    turns = []
    with load_summarizer(model, num_threads=1, batch_size=BATCH_SIZE) as summarizer:
        for number in range(NUM_WARM_UP + repeats):
            direct = timed(psutil.Process(), lambda: bool(summarizer.summarize(documents)))
            through = timed(server, lambda: asker.ask(documents).status == 200)
            if number >= NUM_WARM_UP:
                turns.append((direct, through))
    return turns


def timed(process: psutil.Process, act: Callable[[], bool]) -> tuple[float, float]:
    """Return wall seconds of an act and the processor seconds that a process spent meanwhile."""
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    assert act()
    return time.monotonic() - began, sum(process.cpu_times()[:2]) - before


if __name__ == "__main__":
    sys.exit(main())
