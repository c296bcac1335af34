"""Spans and metrics of a server for OpenTelemetry, sent by OTLP over HTTP; nothing is sent unless somebody asks.

One span a request, of kind server, child of the caller's trace where a ``traceparent`` came with it. Names are those of
the semantic conventions for generative AI where there is one (status: development); energy, carbon and money have none
there, and are called ``kilowit.*``. The SDK's own variables set the rest: headers, timeout, resource, sampling.

Source: OpenTelemetry semantic conventions, gen-ai spans and metrics, 2026.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kilowit import __version__
from kilowit.endpoint.bill import bill
from kilowit.endpoint.books import IDLE
from kilowit.endpoint.engine import Engine
from kilowit.endpoint.job import sum_costs
from kilowit.endpoint.observe import Exchange
from kilowit.errors import PartError, StudyError
from kilowit.settings import FactorSettings

ENDPOINT_VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)  # fmt: skip
DISABLED_VARIABLE: Final = "OTEL_SDK_DISABLED"
NONE_VARIABLES: Final = {"traces": "OTEL_TRACES_EXPORTER", "metrics": "OTEL_METRICS_EXPORTER"}
FLUSH_SECOND: Final = 5.0  # at the end; a collector that is gone holds the server up no longer
OPERATION: Final = "text_completion"
PROVIDER: Final = "kilowit"
DURATION_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
QUIET_PATHS: Final = frozenset({"/metrics", "/healthz", "/v2/health/live", "/v2/health/ready"})  # asked by machines
_HTTP_ERROR: Final = 500


def is_wanted(endpoint: str | None, environment: Mapping[str, str]) -> bool:
    """Say whether anybody asked for telemetry: with an address, or with one of OpenTelemetry's own variables."""
    if environment.get(DISABLED_VARIABLE, "").strip().lower() == "true":
        return False
    return endpoint is not None or any(environment.get(name) for name in ENDPOINT_VARIABLES)


class OpenTelemetry:
    """Tells a collector of each request. Use it as a watcher of the app; close it at the end.

    Args:
        engine: whose idling is told as well.
        factors: region, machine and PUE that requests are priced with.
        endpoint: base address of an OTLP/HTTP collector, e.g. ``http://127.0.0.1:4318``; None = as the variables say.
        environment: the process's variables.

    Raises:
        PartError: the packages are not installed.
        StudyError: the address is none.
    """

    def __init__(
        self, engine: Engine, factors: FactorSettings, endpoint: str | None, environment: Mapping[str, str]
    ) -> None:
        sdk = require_sdk(endpoint)
        self._factors = factors
        self._trace, self._context = sdk["trace"], sdk["context"]
        resource = sdk["Resource"].create({"service.version": __version__, **_own_name(environment)})
        self._spans = sdk["TracerProvider"](resource=resource, shutdown_on_exit=False)
        self._exporters: list[Any] = []
        self._wants_traces = environment.get(NONE_VARIABLES["traces"]) != "none"
        if self._wants_traces:
            exporter = sdk["OTLPSpanExporter"](endpoint=_signal(endpoint, "traces"))
            self._exporters.append(exporter)
            self._spans.add_span_processor(sdk["BatchSpanProcessor"](exporter))
        readers = []
        if environment.get(NONE_VARIABLES["metrics"]) != "none":
            told = sdk["OTLPMetricExporter"](endpoint=_signal(endpoint, "metrics"))
            self._exporters.append(told)
            readers = [sdk["PeriodicExportingMetricReader"](told)]
        self._metrics = sdk["MeterProvider"](metric_readers=readers, resource=resource, shutdown_on_exit=False)
        self._tracer = self._spans.get_tracer("kilowit", __version__)
        self._instruments(engine, sdk["Observation"])

    def __call__(self, exchange: Exchange) -> None:
        """Tell of a request that is over."""
        if exchange.path in QUIET_PATHS:
            return
        billed = self._bill(exchange)
        self._measure(exchange, billed)
        if self._wants_traces:
            self._span(exchange, billed)

    def close(self) -> None:
        """Send what is left, and end; a collector that does not answer is waited for `FLUSH_SECOND` at most."""
        # The providers' own limits count each attempt, and exporters try again: only their shutdown ends that.
        give_up = threading.Timer(FLUSH_SECOND, lambda: [exporter.shutdown() for exporter in self._exporters])
        give_up.start()
        self._spans.shutdown()
        self._metrics.shutdown(timeout_millis=FLUSH_SECOND * 1000)
        give_up.cancel()

    def _instruments(self, engine: Engine, observation: Any) -> None:
        meter = self._metrics.get_meter("kilowit", __version__)
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration",
            unit="s",
            description="From the first byte of a request to the last of its answer.",
            explicit_bucket_boundaries_advisory=DURATION_SECONDS,
        )
        self._first = meter.create_histogram(
            "gen_ai.server.time_to_first_token",
            unit="s",
            description="From a request to the first piece of a summary, where the answer is a stream.",
            explicit_bucket_boundaries_advisory=DURATION_SECONDS,
        )
        self._tokens = meter.create_counter("kilowit.tokens", unit="{token}", description="Tokens read and written.")
        self._energy = meter.create_counter("kilowit.energy", unit="J", description="Energy of answered requests.")
        self._carbon = meter.create_counter("kilowit.co2e", unit="g", description="Operational CO2e of those.")

        def idle(_: object) -> Iterable[Any]:
            booked = engine.books.sums().get(IDLE)
            return [observation(0.0 if booked is None else booked.joule)]

        meter.create_observable_counter(
            "kilowit.idle.energy", [idle], unit="J", description="Energy of idling since the books began."
        )
        meter.create_observable_gauge(
            "kilowit.queue.documents",
            [lambda _: [observation(len(engine.queue))]],
            unit="{document}",
            description="Documents that wait.",
        )

    def _bill(self, exchange: Exchange) -> dict[str, Any]:
        if not exchange.answers:
            return {}
        cost = sum_costs([answer.cost for answer in exchange.answers])
        return bill(cost, self._factors, num_documents=len(exchange.answers))

    def _measure(self, exchange: Exchange, billed: Mapping[str, Any]) -> None:
        named = _model_attributes(exchange)
        assert exchange.ended_second is not None
        failed = {} if _error_type(exchange) is None else {"error.type": _error_type(exchange)}
        if exchange.model is not None:
            self._duration.record(exchange.ended_second - exchange.began_second, {**named, **failed})
        if exchange.first_second is not None:
            self._first.record(exchange.first_second - exchange.began_second, named)
        if not exchange.answers:
            return
        for kind in ("input", "output"):
            count = sum(getattr(answer, f"num_{kind}_tokens") for answer in exchange.answers)
            self._tokens.add(count, {**named, "gen_ai.token.type": kind})
        self._energy.add(billed["energy_joule"] or 0.0, {**named, "kilowit.energy.basis": billed["energy_basis"]})
        self._carbon.add(billed["co2e_gram"] or 0.0, named)

    def _span(self, exchange: Exchange, billed: Mapping[str, Any]) -> None:
        """Make a span of what is over, as long as it was."""
        assert exchange.ended_second is not None
        name = f"{OPERATION} {exchange.model}" if exchange.model is not None else f"{exchange.method} {exchange.path}"
        span = self._tracer.start_span(
            name,
            context=self._context.extract(exchange.headers),
            kind=self._trace.SpanKind.SERVER,
            start_time=exchange.began_utc_nanosecond,
            attributes={name: value for name, value in _attributes(exchange, billed).items() if value is not None},
        )
        if exchange.first_second is not None:
            span.add_event("gen_ai.first_token", timestamp=_moment(exchange, exchange.first_second))
        if (error := _error_type(exchange)) is not None and (exchange.refused or (exchange.status or 0) >= _HTTP_ERROR):
            text = exchange.refused.message if exchange.refused else error
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, text))
        span.end(_moment(exchange, exchange.ended_second))


def _attributes(exchange: Exchange, billed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a span says; None = nothing to say."""
    answers = exchange.answers
    options = exchange.jobs[0].options if exchange.jobs else None
    return {
        "http.request.method": exchange.method,
        "url.path": exchange.path,
        "http.response.status_code": exchange.status,
        "error.type": _error_type(exchange),
        **_model_attributes(exchange),
        "gen_ai.response.id": exchange.request_id or None,
        "gen_ai.request.max_tokens": None if options is None else options.max_new_tokens,
        "gen_ai.request.stream": exchange.is_stream or None,
        "gen_ai.usage.input_tokens": sum(a.num_input_tokens for a in answers) if answers else None,
        "gen_ai.usage.output_tokens": sum(a.num_output_tokens for a in answers) if answers else None,
        "kilowit.client": (exchange.jobs[0].client or None) if exchange.jobs else None,
        "kilowit.documents": len(exchange.jobs) or None,
        "kilowit.wait.second": max((a.wait_second for a in answers), default=None),
        "kilowit.compute.second": max((a.compute_second for a in answers), default=None),
        "kilowit.batch.size": max((a.batch_size for a in answers), default=None),
        **{f"kilowit.{name.replace('_', '.', 1)}": value for name, value in billed.items() if name in _BILLED},
    }


_BILLED: Final = frozenset({
    "energy_joule", "energy_joule_low", "energy_joule_high", "energy_source", "energy_basis", "co2e_gram",
    "co2e_gram_low", "co2e_gram_high", "cost_usd",
})  # fmt: skip


def _model_attributes(exchange: Exchange) -> dict[str, Any]:
    if exchange.model is None:
        return {}
    return {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": exchange.model,
        "gen_ai.response.model": exchange.model,
    }


def _error_type(exchange: Exchange) -> str | None:
    """Return what went wrong, as OpenTelemetry names it: the status; None = nothing."""
    if exchange.refused is not None:
        return str(exchange.refused.status)
    if exchange.status is None:
        return "client_gone"
    return str(exchange.status) if exchange.status >= 400 else None


def _moment(exchange: Exchange, second: float) -> int:
    return exchange.began_utc_nanosecond + int((second - exchange.began_second) * 1e9)


def _signal(endpoint: str | None, signal: str) -> str | None:
    """Return the address of a signal below a base address; None = as the variables say."""
    return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{signal}"


def _own_name(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the service's name, unless a variable gives one."""
    is_named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return {} if is_named else {"service.name": "kilowit"}


def require_sdk(endpoint: str | None) -> dict[str, Any]:
    """Return what is used of OpenTelemetry, by name, before a model is loaded in vain.

    Raises:
        PartError: the packages are not installed.
        StudyError: the address is none.
    """
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        hint = "It looks like http://127.0.0.1:4318."
        raise StudyError("not the address of a collector", place=endpoint, hint=hint)
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.metrics import Observation
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ModuleNotFoundError as error:
        raise PartError(f"the package {error.name} is not installed", hint="pip install 'kilowit[otel]'") from error
    return {
        "trace": trace, "context": TraceContextTextMapPropagator(), "OTLPMetricExporter": OTLPMetricExporter,
        "OTLPSpanExporter": OTLPSpanExporter, "Observation": Observation, "MeterProvider": MeterProvider,
        "PeriodicExportingMetricReader": PeriodicExportingMetricReader, "Resource": Resource,
        "TracerProvider": TracerProvider, "BatchSpanProcessor": BatchSpanProcessor,
    }  # fmt: skip
