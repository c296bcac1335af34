"""What Prometheus is told. Names follow its conventions: a unit at the end, ``_total`` for what only grows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from kilowit.endpoint.books import IDLE
from kilowit.endpoint.desk import CLIENT_GONE
from kilowit.endpoint.engine import Engine
from kilowit.endpoint.job import Answer, Cost
from kilowit.endpoint.observe import Exchange
from kilowit.factors import carbon, joule_to_kwh, pue
from kilowit.settings import FactorSettings

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
_ASKED: Final = re.compile(r"/v1/summarize|/v2/models/.+/infer")  # what asks for summaries, in every protocol
NO_MODEL: Final = "?"  # the label of a request that was refused before its model was known: names of others' making


class Telemetry:
    """Counters of one server, in a registry of their own. A watcher of the app, which tells it of each request.

    Args:
        engine: whose batches are counted.
        factors: region and PUE that grams are counted with.
    """

    def __init__(self, engine: Engine, factors: FactorSettings) -> None:
        self.registry = CollectorRegistry()
        self._engine = engine
        self._gram_per_kwh = carbon(factors.region).value * pue(factors.region, factors.pue).value
        made = {"registry": self.registry, "namespace": "kilowit"}
        by_model = ("model",)
        self._requests = Counter("requests", "Answers by status", ("model", "code"), **made)  # type: ignore[arg-type]
        self._energy = Counter("energy_joules", "Energy of the batches of a model", by_model, **made)  # type: ignore[arg-type]
        self._co2e = Counter("co2e_grams", "Operational CO2e of the batches", by_model, **made)  # type: ignore[arg-type]
        self._idle = Gauge("idle_energy_joules", "Energy of idling, all sessions", **made)  # type: ignore[arg-type]
        self._read = Counter("input_tokens", "Tokens read", by_model, **made)  # type: ignore[arg-type]
        self._written = Counter("generated_tokens", "Tokens written", by_model, **made)  # type: ignore[arg-type]
        self._latency = Histogram(
            "request_seconds",
            "From request to answer",
            by_model,
            buckets=_SECONDS,
            **made,  # type: ignore[arg-type]
        )
        self._first_token = Histogram(
            "time_to_first_token_seconds",
            "From a request that streams to the first text of a summary",
            by_model,
            buckets=_SECONDS,
            **made,  # type: ignore[arg-type]
        )
        self._wait = Histogram(
            "wait_seconds",
            "From request to the start of its batch",
            by_model,
            buckets=_SECONDS,
            **made,  # type: ignore[arg-type]
        )
        self._batch = Histogram("batch_size", "Documents in a batch", by_model, buckets=_SIZES, **made)  # type: ignore[arg-type]
        self._queue = Gauge("queue_documents", "Documents that wait", **made)  # type: ignore[arg-type]
        self._grid = Gauge("grid_intensity_grams_per_kwh", "Grid factor times PUE", **made)  # type: ignore[arg-type]
        self._grid.set(self._gram_per_kwh)
        self._queue.set_function(lambda: len(engine.queue))
        engine.on_batch.append(self._count)

    def __call__(self, exchange: Exchange) -> None:
        """Count a request for summaries that is over."""
        if exchange.method != "POST" or _ASKED.fullmatch(exchange.path) is None:
            return
        name, status = exchange.model or NO_MODEL, exchange.status or CLIENT_GONE
        if exchange.refused is not None:  # also where a stream had begun with 200
            status = exchange.refused.status
        elif exchange.is_stream and not exchange.answers:
            status = CLIENT_GONE
        self._requests.labels(name, str(status)).inc()
        if exchange.answers and exchange.ended_second is not None:
            self._latency.labels(name).observe(exchange.ended_second - exchange.began_second)
        if exchange.first_second is not None:
            self._first_token.labels(name).observe(exchange.first_second - exchange.began_second)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        idle = self._engine.books.sums().get(IDLE)
        self._idle.set(idle.joule if idle is not None else 0.0)
        return generate_latest(self.registry)

    def _count(self, model: str, cost: Cost, answers: Sequence[Answer]) -> None:
        joule = cost.joule or 0.0
        self._energy.labels(model).inc(joule)
        self._co2e.labels(model).inc(joule_to_kwh(joule) * self._gram_per_kwh)
        self._read.labels(model).inc(sum(answer.num_input_tokens for answer in answers))
        self._written.labels(model).inc(sum(answer.num_output_tokens for answer in answers))
        self._batch.labels(model).observe(answers[0].batch_size)
        for answer in answers:
            self._wait.labels(model).observe(answer.wait_second)
