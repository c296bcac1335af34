"""Four patterns of requests, each played in real time: what a reader of the summaries would have waited.

Names and meanings follow MLPerf Inference (Reddi et al. 2020, arXiv 1911.02549, section III): SingleStream, MultiStream
(here a batch of any size, `fixed_batch`), Server (`random_arrivals`) and Offline. Text goes in and text comes out, so
that tokenizing is part of the time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kilowit.serving.summarizer import Written
from kilowit.settings import ScenarioName, ServeSettings

SHORTEST_SLEEP_SECOND: Final = 1e-4  # a shorter one may be lost in rounding, and the loop would spin

Answer = Callable[[Sequence[str], int], list[Written]]  # (documents, most at once) -> a summary of each, in order


@dataclass
class Served:
    """What a scenario brought. Latency and wait are per request, in the order in which they were answered."""

    written: dict[int, Written] = field(default_factory=dict)  # by the document's place
    latency_second: list[float] = field(default_factory=list)  # empty: nobody waited for a single summary
    wait_second: list[float] = field(default_factory=list)
    num_unserved: int = 0


@dataclass(frozen=True)
class Clock:
    """Where time comes from; tests move it by hand."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def play(
    scenario: ScenarioName,
    documents: Sequence[str],
    answer: Answer,
    settings: ServeSettings,
    *,
    seed: int,
    clock: Clock | None = None,
) -> Served:
    """Ask for summaries of documents in one pattern.

    Args:
        answer: summarizes some documents, at most so many at once.
        settings: batch size, rate, and the seconds after which no more requests are taken.
        seed: of the moments at which random requests arrive.
    """
    clock = clock or Clock()
    if scenario == "random_arrivals":
        return _random_arrivals(documents, answer, settings, seed, clock)
    if scenario == "offline":
        written = answer(documents, settings.batch_size)
        return Served(dict(enumerate(written)))
    size = 1 if scenario == "single_stream" else settings.batch_size
    return _one_after_another(documents, answer, size, settings.max_second, clock)


def arrival_seconds(num_requests: int, rate_per_second: float, max_second: float, seed: int) -> list[float]:
    """Return when the requests of a Poisson process arrive, from 0, those within `max_second` alone.

    >>> len(arrival_seconds(1000, 100.0, 5.0, 0)) <= 1000
    True
    """
    generator = random.Random(f"{seed}/arrivals")
    arrivals, moment = list[float](), 0.0
    while len(arrivals) < num_requests:
        moment += generator.expovariate(rate_per_second)
        if moment > max_second:
            break
        arrivals.append(moment)
    return arrivals


def warm_up(scenario: ScenarioName, documents: Sequence[str], answer: Answer, settings: ServeSettings) -> None:
    """Make some requests of the scenario's form, so that compiling and first touches are over when it begins."""
    size = 1 if scenario == "single_stream" else settings.batch_size
    for number in range(settings.num_warmup_requests):
        start = number * size % len(documents)
        answer(documents[start : start + size], size)


def _one_after_another(documents: Sequence[str], answer: Answer, size: int, max_second: float, clock: Clock) -> Served:
    served, began = Served(), clock.now()
    for start in range(0, len(documents), size):
        asked = clock.now()
        if asked - began >= max_second:
            served.num_unserved = len(documents) - start
            break
        written = answer(documents[start : start + size], size)
        latency_second = clock.now() - asked
        served.written |= dict(enumerate(written, start=start))
        served.latency_second += [latency_second] * len(written)
        served.wait_second += [0.0] * len(written)
    return served


def _random_arrivals(
    documents: Sequence[str], answer: Answer, settings: ServeSettings, seed: int, clock: Clock
) -> Served:
    """Serve requests as they come: whenever it is free, the summarizer takes all that wait, up to a batch."""
    arrivals = arrival_seconds(len(documents), settings.rate_per_second, settings.max_second, seed)
    served, began, next_request = Served(), clock.now(), 0
    while next_request < len(arrivals):
        now = clock.now() - began
        if now >= settings.max_second:
            break
        if arrivals[next_request] > now:
            clock.sleep(max(arrivals[next_request] - now, SHORTEST_SLEEP_SECOND))
            continue
        last = next_request + settings.batch_size
        waiting = [i for i in range(next_request, min(last, len(arrivals))) if arrivals[i] <= now]
        written = answer([documents[i] for i in waiting], settings.batch_size)
        done = clock.now() - began
        served.written |= dict(zip(waiting, written, strict=True))
        served.latency_second += [done - arrivals[i] for i in waiting]
        served.wait_second += [now - arrivals[i] for i in waiting]
        next_request += len(waiting)
    served.num_unserved = len(arrivals) - next_request
    return served
