"""`kilowit serve --engine triton` beside our own engine: time to ready, batches, throughput, latency, joules.

    python benchmarks/triton_serving.py MODEL DOCUMENTS --triton-env TRITON [--requests 160] [--max-new-tokens 32]

Both serve the same exported model on one thread, are up at the same time and asked in turn, by the Open Inference
Protocol: eight clients with one document a request, then one whole batch after another. Batches and joules are those of
the books of each. Bars: ready within 20 s, and batches above 1 under the eight clients.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bars import Bar, at_least, at_most, report
from kilowit.endpoint.asking import Asker, Reply
from kilowit.endpoint.books import BOOKS_NAME
from kilowit.serving.documents import read_documents
from kilowit.serving.process import prepare_process
from kilowit.statistics.latency import latency_percentiles

ENGINES: Final = ("kilowit", "triton")
NUM_CLIENTS: Final = 8
BATCH_SIZE: Final = 8
REPEATS: Final = 3


@dataclass
class Served:
    """One engine: how to ask it, how long it took to be ready, and what each round brought."""

    asker: Asker
    store: Path
    ready_second: float
    per_second: dict[str, list[float]] = field(default_factory=dict)
    latency_second: dict[str, list[float]] = field(default_factory=dict)
    batch_sizes: dict[str, list[int]] = field(default_factory=dict)
    joule: dict[str, list[float]] = field(default_factory=dict)


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("documents")
    parser.add_argument("--triton-env", default=os.environ.get("KILOWIT_TRITON"))
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--max-new-tokens", type=int)
    asked = parser.parse_args()
    prepare_process()
    corpus = read_documents(asked.documents)
    documents = [corpus[i % len(corpus)] for i in range(asked.requests)]
    with contextlib.ExitStack() as stack:
        engines = {name: stack.enter_context(served(name, asked)) for name in ENGINES}
        for engine in engines.values():
            engine.asker.totals()
            for document in documents[:BATCH_SIZE]:
                engine.asker.ask([document])
        for _ in range(REPEATS):
            for engine in engines.values():
                play(engine, "8 clients", [[document] for document in documents], NUM_CLIENTS)
                batches = [documents[i : i + BATCH_SIZE] for i in range(0, len(documents), BATCH_SIZE)]
                play(engine, "batches of 8", batches, 1)
    bars = [bar for name, engine in engines.items() for bar in shown(name, engine)]
    triton = engines["triton"]
    bars.append(at_most("triton: ready", triton.ready_second, 20, "s", 2))
    bars.append(at_least("triton: largest batch under 8 clients", max(triton.batch_sizes["8 clients"]), 2, "", 0))
    return report(f"Triton beside our own engine, {asked.requests} documents, best of {REPEATS} rounds", bars)


@contextlib.contextmanager
def served(engine: str, asked: argparse.Namespace) -> Iterator[Served]:
    """Start a server; its time to ready counts from the command."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "kilowit", "serve", asked.model, "--engine", engine, "--store", store]
        command += ["--port", "0", "--threads", "1", "--batch-size", str(BATCH_SIZE)]
        if engine == "triton":
            command += ["--triton-env", str(asked.triton_env)]
        began_second = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            ready_second = time.monotonic() - began_second
            asker = Asker(url, protocol="oip", max_new_tokens=asked.max_new_tokens)
            yield Served(asker, Path(store), ready_second)
            process.terminate()


def play(engine: Served, scenario: str, requests: Sequence[Sequence[str]], num_clients: int) -> None:
    """Ask for all of it, and take note of what it brought."""
    num_before = len(batches_of(engine.store))
    began_second = time.monotonic()
    with ThreadPoolExecutor(num_clients) as pool:
        replies: list[Reply] = list(pool.map(engine.asker.ask, requests))
    second = time.monotonic() - began_second
    assert all(reply.status == 200 for reply in replies), [reply.error for reply in replies if reply.status != 200]
    num_documents = sum(reply.num_documents for reply in replies)
    engine.per_second.setdefault(scenario, []).append(num_documents / second)
    engine.latency_second.setdefault(scenario, []).extend(reply.latency_second for reply in replies)
    engine.joule.setdefault(scenario, []).append(sum(reply.joule or 0.0 for reply in replies) / num_documents)
    engine.batch_sizes.setdefault(scenario, []).extend(batches_of(engine.store)[num_before:])


def batches_of(store: Path) -> list[int]:
    """Return the sizes of the batches that a server has booked, in order."""
    events = [json.loads(line) for line in (store / BOOKS_NAME).read_text().splitlines()]
    return [len(event["shares"]) for event in events if event["event"] == "batch"]


def shown(name: str, engine: Served) -> Iterator[Bar]:
    """Yield what is shown of one engine."""
    yield Bar(f"{name}: ready", f"{engine.ready_second:.2f} s", "", None)
    for scenario, rates in engine.per_second.items():
        sizes, p50 = engine.batch_sizes[scenario], latency_percentiles(engine.latency_second[scenario])
        yield Bar(
            f"{name}: {scenario}", f"{max(rates):.1f} summaries/s", f"all: {', '.join(f'{r:.1f}' for r in rates)}", None
        )
        yield Bar(f"{name}: {scenario}, mean batch", f"{statistics.mean(sizes):.2f}", f"largest {max(sizes)}", None)
        times = f"{p50['latency_p50_second'] * 1000:.0f} / {p50['latency_p95_second'] * 1000:.0f} ms"
        yield Bar(f"{name}: {scenario}, p50 / p95", times, "", None)
        yield Bar(f"{name}: {scenario}, J a summary", f"{min(engine.joule[scenario]):.3f}", "", None)


if __name__ == "__main__":
    sys.exit(main())
