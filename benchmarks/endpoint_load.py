"""`kilowit serve` under twice the load it can bear: what is lost, how memory grows, what HTTP costs.

    python benchmarks/endpoint_load.py MODEL DOCUMENTS [--second 600] [--deadline 2]

Capacity is measured first, offline. Then requests arrive at random at twice that rate. Bars: every request answered or
refused (429, 503); p99 of the answered under the deadline; books = meter within 1 %; memory grows by at most 5 % from
the first tenth of the load to its end; the batch that goes through the server takes at most 5 % longer than without it.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bars import Bar, at_most, report
from kilowit.endpoint.asking import Asker
from kilowit.endpoint.books import Books
from kilowit.endpoint.load import LoadResult, put_load
from kilowit.meter import read_ledger
from kilowit.serving import load_summarizer
from kilowit.serving.documents import read_documents
from kilowit.serving.process import prepare_process
from kilowit.settings import ServeSettings

BYTE_PER_MIB = 1024**2
NUM_OFFLINE = 64
BATCH_SIZE = 8
REPEATS = 3


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("documents")
    parser.add_argument("--second", type=float, default=60.0)
    parser.add_argument("--deadline", type=float, default=2.0)
    asked = parser.parse_args()
    prepare_process()
    documents = read_documents(asked.documents)
    offline = [documents[i % len(documents)] for i in range(NUM_OFFLINE)]
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "kilowit", "serve", asked.model, "--port", "0", "--store", store]
        command += ["--threads", "1", "--max-waiting", str(NUM_OFFLINE), "--deadline", str(asked.deadline)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            asker = Asker(process.stdout.readline().strip())
            overhead = overhead_fraction(asker, asked.model, offline)
            load, growth = overload(asker, offline, asked.second, asked.deadline, psutil.Process(process.pid))
            process.send_signal(signal.SIGTERM)
        booked = sum(amount.joule for amount in Books(Path(store)).sums().values())
        metered = read_ledger(store).total.energy_total_joule or 0.0
    lost = load.num_requests - load.num_answered - load.num_refused
    bars = [
        Bar("requests", f"{load.num_requests}", f"{load.num_answered} answered", None),
        at_most("neither answered nor refused", lost, 0, "", 0),
        at_most("p99 of the answered", load.latency_p99_second or 0.0, asked.deadline, "s"),
        at_most("books against meter", 100 * abs(booked - metered) / metered, 1, "%"),
        at_most("memory grown", 100 * growth, 5, "%", 1),
        at_most("longer than without the server, offline", 100 * overhead, 5, "%", 1),
    ]
    return report(f"kilowit serve at 2 x capacity for {asked.second:.0f} s", bars)


def overhead_fraction(asker: Asker, model: str, documents: list[str]) -> float:
    """Return how much longer a batch takes through the server; best of some, in turn, for others share the machine."""
    best_server = best_direct = float("inf")
    with load_summarizer(model, num_threads=1, batch_size=BATCH_SIZE) as summarizer:
        summarizer.summarize(documents[:1])
        for _ in range(REPEATS):
            began = time.monotonic()
            summarizer.summarize(documents)
            best_direct = min(best_direct, time.monotonic() - began)
            began = time.monotonic()
            reply = asker.ask(documents)
            assert reply.status == 200, reply.error
            best_server = min(best_server, time.monotonic() - began)
    print(
        f"offline, {len(documents)} documents: {best_direct:.3f} s without the server, {best_server:.3f} s through it"
    )
    return best_server / best_direct - 1


def overload(
    asker: Asker, documents: list[str], second: float, deadline_second: float, server: psutil.Process
) -> tuple[LoadResult, float]:
    """Return what twice the capacity brought, and how much the server's memory grew meanwhile."""
    asker.totals()
    capacity = put_load(asker, documents, "offline", ServeSettings(num_documents=NUM_OFFLINE))
    rate = 2 * capacity.examples_per_second
    print(f"capacity {capacity.examples_per_second:.1f} summaries/s")
    resident: list[float] = []
    threading.Timer(second / 10, lambda: resident.append(server.memory_info().rss)).start()
    settings = ServeSettings(num_documents=int(2 * rate * second), rate_per_second=rate, max_second=second)
    load = put_load(asker, documents, "random_arrivals", settings, deadline_second=deadline_second)
    resident.append(server.memory_info().rss)
    print(f"memory {resident[0] / BYTE_PER_MIB:.0f} to {resident[1] / BYTE_PER_MIB:.0f} MiB")
    return load, resident[1] / resident[0] - 1


if __name__ == "__main__":
    sys.exit(main())
