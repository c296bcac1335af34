"""A load on a server: the four scenarios of `kilowit.serving.scenarios`, seen from the client's side and the server's.

Joules per summary are told three ways: what the answers say (their shares), what the server's books say of the whole
stretch, idling included, and what a meter on the client's machine saw, client included.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from kilowit.endpoint.asking import Asker, Reply
from kilowit.endpoint.books import IDLE
from kilowit.errors import ExecutorError, StudyError
from kilowit.meter import Meter
from kilowit.record import PhaseFigures
from kilowit.serving.scenarios import arrival_seconds
from kilowit.settings import ScenarioName, ServeSettings
from kilowit.statistics.latency import latency_percentiles

MAX_THREADS: Final = 128  # requests of random_arrivals in flight; further ones wait on the client's side, and are late
OFFLINE_DOCUMENTS: Final = 64  # in one request, or as many as the server takes
OFFLINE_REQUESTS: Final = 4  # of that many documents in flight; of smaller requests as many more
REFUSALS: Final = (429, 503)


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What one scenario brought."""

    scenario: ScenarioName
    num_requests: int
    num_answered: int
    num_refused: int  # 429 and 503
    num_failed: int  # any other status, or no answer at all
    num_summaries: int
    wall_second: float
    examples_per_second: float
    goodput_per_second: float  # summaries of requests answered within `deadline_second`
    deadline_second: float
    latency_p50_second: float | None = None  # of answered requests, from the moment they were due
    latency_p95_second: float | None = None
    latency_p99_second: float | None = None
    first_token_p50_second: float | None = None  # until the first text of a stream, as the client saw it
    first_token_p95_second: float | None = None
    server_first_token_p50_second: float | None = None  # the same, as the server says
    share_joule: float | None = None  # per summary, as the answers say
    server_joule: float | None = None  # per summary, all that the server booked meanwhile, idling too; None: no books
    client_joule: float | None = None  # per summary, all that the client's machine took, by its own meter
    client_joule_low: float | None = None
    client_joule_high: float | None = None
    client_source: str = "none:not_read"
    errors: list[str] = field(default_factory=list)  # what failed, each once


def put_load(
    asker: Asker,
    documents: Sequence[str],
    scenario: ScenarioName,
    settings: ServeSettings,
    *,
    deadline_second: float = 30.0,
    seed: int = 0,
    meter: Meter | None = None,
) -> LoadResult:
    """Ask a server for summaries of documents, in one pattern.

    Args:
        settings: how many documents, batch size, rate, and the seconds after which no more is asked.
        deadline_second: later answers count for no goodput.
        meter: of this machine, not started; None = one that reads all sensors.

    Raises:
        ExecutorError: the server does not answer at all.
        StudyError: a batch is larger than the server takes.
    """
    asker.totals()
    most = asker.max_documents
    if scenario == "fixed_batch" and most is not None and settings.batch_size > most:
        text = f"{settings.batch_size} documents in a request; the server takes {most}"
        raise StudyError(text, place="batch_size", hint=f"Ask for --batch-size {most}, or leave fixed_batch out.")
    asked = [documents[i % len(documents)] for i in range(settings.num_documents)]
    for number in range(settings.num_warmup_requests):
        asker.ask([asked[number % len(asked)]])
    before_joule = _booked_joule(asker)
    meter = meter or Meter(period_second=0.2)
    with meter:
        began_second = time.monotonic()
        replies = list(_PLAYERS[scenario](asker, asked, settings, seed))
        wall_second = time.monotonic() - began_second
    taken = meter.stop().total
    result = _result(scenario, replies, wall_second, deadline_second, taken)
    if not result.num_answered and not result.num_refused:
        raise ExecutorError(f"no request was answered: {result.errors[0]}", hint="Is the server still there?")
    after_joule = _booked_joule(asker)
    if not result.num_summaries or before_joule is None or after_joule is None:
        return result
    return dataclasses.replace(result, server_joule=(after_joule - before_joule) / result.num_summaries)


def _result(
    scenario: ScenarioName,
    replies: Sequence[Reply],
    wall_second: float,
    deadline_second: float,
    taken: PhaseFigures,
) -> LoadResult:
    """Return all but what the server's books say."""
    answered = [reply for reply in replies if reply.status == 200]
    failed = [reply for reply in replies if reply.status != 200 and reply.status not in REFUSALS]
    num_summaries = sum(reply.num_documents for reply in answered)
    in_time = sum(reply.num_documents for reply in answered if reply.latency_second <= deadline_second)
    firsts = [reply.first_token_second for reply in answered if reply.first_token_second is not None]
    server_firsts = [second for reply in answered if (second := reply.server_first_token_second) is not None]
    shares = [reply.joule for reply in answered]

    def each(joule: float | None) -> float | None:
        return None if joule is None or not num_summaries else joule / num_summaries

    return LoadResult(
        scenario=scenario,
        num_requests=len(replies),
        num_answered=len(answered),
        num_refused=len(replies) - len(answered) - len(failed),
        num_failed=len(failed),
        num_summaries=num_summaries,
        wall_second=wall_second,
        examples_per_second=num_summaries / wall_second,
        goodput_per_second=in_time / wall_second,
        deadline_second=deadline_second,
        first_token_p50_second=_percentile(firsts, "p50"),
        first_token_p95_second=_percentile(firsts, "p95"),
        server_first_token_p50_second=_percentile(server_firsts, "p50"),
        share_joule=each(None if None in shares else sum(joule for joule in shares if joule is not None)),
        client_joule=each(taken.energy_total_joule),
        client_joule_low=each(taken.energy_total_joule_low),
        client_joule_high=each(taken.energy_total_joule_high),
        client_source=taken.energy_total_source,
        errors=list(dict.fromkeys(reply.error for reply in failed)),
        **(latency_percentiles([reply.latency_second for reply in answered]) if answered else {}),
    )


def _percentile(seconds: Sequence[float], which: str) -> float | None:
    return latency_percentiles(seconds)[f"latency_{which}_second"] if seconds else None


def _booked_joule(asker: Asker) -> float | None:
    """Return all that the server has booked; None = it keeps no books."""
    told = asker.totals()
    if told is None:
        return None
    ever = told["ever"]
    others = sum(amount["joule"] for amount in ever["other"].values())
    return float(ever["requests"]["joule"] + ever[IDLE]["joule"] + others)


def _single_stream(asker: Asker, documents: Sequence[str], settings: ServeSettings, seed: int) -> Iterator[Reply]:
    yield from _one_after_another(asker, documents, 1, settings.max_second)


def _fixed_batch(asker: Asker, documents: Sequence[str], settings: ServeSettings, seed: int) -> Iterator[Reply]:
    yield from _one_after_another(asker, documents, settings.batch_size, settings.max_second)


def _one_after_another(asker: Asker, documents: Sequence[str], size: int, max_second: float) -> Iterator[Reply]:
    began_second = time.monotonic()
    for start in range(0, len(documents), size):
        if time.monotonic() - began_second >= max_second:
            return
        yield asker.ask(documents[start : start + size])


def _random_arrivals(asker: Asker, documents: Sequence[str], settings: ServeSettings, seed: int) -> Iterator[Reply]:
    """Ask when a request is due, whether or not those before have been answered."""
    arrivals = arrival_seconds(len(documents), settings.rate_per_second, settings.max_second, seed)
    began_second = time.monotonic()

    def ask(document: str, due_second: float) -> Reply:
        late_second = max(0.0, time.monotonic() - began_second - due_second)
        reply = asker.ask([document])
        return Reply(**{**vars(reply), "latency_second": reply.latency_second + late_second})

    with ThreadPoolExecutor(MAX_THREADS) as pool:
        asked = []
        for document, due_second in zip(documents, arrivals, strict=False):  # some may be due after the end
            time.sleep(max(0.0, due_second - (time.monotonic() - began_second)))
            asked.append(pool.submit(ask, document, due_second))
        yield from (one.result() for one in asked)


def _offline(asker: Asker, documents: Sequence[str], settings: ServeSettings, seed: int) -> Iterator[Reply]:
    size = min(OFFLINE_DOCUMENTS, asker.max_documents or OFFLINE_DOCUMENTS)
    parts = [documents[i : i + size] for i in range(0, len(documents), size)]
    with ThreadPoolExecutor(OFFLINE_REQUESTS * OFFLINE_DOCUMENTS // size) as pool:
        yield from pool.map(asker.ask, parts)


_PLAYERS: Final[dict[ScenarioName, Callable[[Asker, Sequence[str], ServeSettings, int], Iterator[Reply]]]] = {
    "single_stream": _single_stream,
    "fixed_batch": _fixed_batch,
    "random_arrivals": _random_arrivals,
    "offline": _offline,
}
