"""`kilowit serve` under twice the load it can bear: what is lost, how memory grows, what HTTP costs.

    python benchmarks/endpoint_load.py MODEL DOCUMENTS [--second 600] [--deadline 2]

Capacity is measured first, offline. Then requests arrive at random, so that twice as many documents come as could be
summarized: in turn as JSON, as a stream of events and in the Open Inference Protocol, one in eight with four documents.
Bars: every request answered or refused (429, 503); p99 of the answered under the deadline; requests and idling in the
books = meter within 1 %; memory at most 5 % above that of the first tenth of the load; the batch that goes through the
server takes at most 5 % longer than without it. What the answers told is set against the books as well: a request of
several documents that is given up when some are done has taken joules that nobody is told of.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bars import Bar, at_most, report
from endpoint_process import serving
from kilowit.endpoint.asking import PROTOCOLS, Asker, Reply
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
MAX_LOG_LINES = 15  # a server that ends well says less
ONE_IN, NUM_TOGETHER = 8, 4  # one request in so many has so many documents
SAMPLE_SECOND = 1.0


class MixedAsker(Asker):
    """Asks in turn in each protocol, now and then for several documents at once; adds up what the answers say."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.askers = [Asker(url, protocol=protocol) for protocol in PROTOCOLS]
        self.joules: list[float] = []
        self.count = itertools.count()

    def totals(self) -> dict[str, Any]:
        """Let every asker learn the model's name."""
        told = [asker.totals() for asker in self.askers]
        return told[0]

    def ask(self, documents: Sequence[str]) -> Reply:
        """Ask as the next in turn."""
        number = next(self.count)
        several = list(documents) * (NUM_TOGETHER if number % ONE_IN == 0 else 1)
        reply = self.askers[number % len(self.askers)].ask(several)
        if reply.status == 200 and reply.joule is not None:
            self.joules.append(reply.joule)
        return reply


class Memory:
    """Resident memory of a process, sampled by a thread."""

    def __init__(self, process: psutil.Process) -> None:
        self.process, self.samples = process, [process.memory_info().rss]
        self.is_over = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        """Sample until told to end."""
        while not self.is_over.wait(SAMPLE_SECOND):
            self.samples.append(self.process.memory_info().rss)

    def growth(self) -> float:
        """Return the most above the mean of the first tenth, as a share of it."""
        self.is_over.set()
        tenth = max(1, len(self.samples) // 10)
        first = sum(self.samples[:tenth]) / tenth
        print(f"memory {first / BYTE_PER_MIB:.1f} MiB at first, at most {max(self.samples) / BYTE_PER_MIB:.1f} MiB")
        return max(self.samples) / first - 1


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
    with tempfile.TemporaryDirectory() as folder:
        with serving([asked.model], Path(folder) / "offline", "--threads", "1") as served:
            overhead = overhead_fraction(Asker(served.url), asked.model, offline)
        store = Path(folder) / "store"
        options = ["--threads", "1", "--max-waiting", str(NUM_OFFLINE), "--deadline", str(asked.deadline)]
        with serving([asked.model], store, *options) as served:
            process = psutil.Process(served.process.pid)
            load, untold, growth = overload(served.url, offline, asked.second, asked.deadline, process)
        booked = sum(amount.joule for amount in Books(store).sums().values())
        metered = read_ledger(store).total.energy_total_joule or 0.0
        said = served.said().splitlines()
    is_quiet = len(said) < MAX_LOG_LINES
    lost = load.num_requests - load.num_answered - load.num_refused
    bars = [
        Bar("requests", f"{load.num_requests}", f"{load.num_answered} answered", None),
        Bar("p50 of the answered", f"{load.latency_p50_second or 0.0:.3f} s", "", None),
        Bar("complaints in the server's log", "no" if is_quiet else said[-1], "no", is_quiet),
        at_most("neither answered nor refused", lost, 0, "", 0),
        at_most("p99 of the answered", load.latency_p99_second or 0.0, asked.deadline, "s"),
        Bar("requests' joules that no answer told: given up half-way", f"{100 * untold:.3f} %", "", None),
        at_most("books against meter", 100 * abs(booked - metered) / metered, 1, "%"),
        at_most("memory above the first tenth's", 100 * growth, 5, "%", 1),
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
    url: str, documents: list[str], second: float, deadline_second: float, server: psutil.Process
) -> tuple[LoadResult, float, float]:
    """Return what twice the capacity brought, what no answer told, and how much memory grew meanwhile."""
    asker = Asker(url)
    asker.totals()
    settings = ServeSettings(num_documents=4 * NUM_OFFLINE, batch_size=2 * BATCH_SIZE)  # within the deadline
    capacity = put_load(asker, documents, "fixed_batch", settings)
    assert capacity.num_answered, capacity
    rate = 2 * capacity.examples_per_second / (1 + (NUM_TOGETHER - 1) / ONE_IN)
    print(f"capacity {capacity.examples_per_second:.1f} summaries/s; {rate:.1f} requests/s")
    mixed = MixedAsker(url)
    before = booked_joule(mixed)
    memory = Memory(server)
    settings = ServeSettings(
        num_documents=int(2 * rate * second), rate_per_second=rate, max_second=second, num_warmup_requests=0
    )
    load = put_load(mixed, documents, "random_arrivals", settings, deadline_second=deadline_second)
    growth = memory.growth()
    booked = booked_joule(mixed) - before
    print(f"answers told {sum(mixed.joules):.1f} J, the books have {booked:.1f} J on requests")
    return load, 1 - sum(mixed.joules) / booked, growth


def booked_joule(asker: Asker) -> float:
    """Return what is booked on requests so far."""
    return float(asker.totals()["ever"]["requests"]["joule"])


if __name__ == "__main__":
    sys.exit(main())
