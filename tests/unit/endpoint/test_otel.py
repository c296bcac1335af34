"""OpenTelemetry: what a real OTLP receiver on the loopback gets, parsed from its protobuf."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from kilowit.endpoint.otel import OpenTelemetry, is_wanted
from kilowit.errors import StudyError
from kilowit.settings import FactorSettings
from otlp_receiver import Receiver, plain, receiving

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
TEXT = "return the value of the list"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def told(engine: Any) -> Iterator[tuple[Receiver, list[dict[str, Any]]]]:
    """A receiver after five requests, and the answers to two of them."""
    from starlette.testclient import TestClient

    from kilowit.endpoint.app import create_app

    with receiving() as receiver:
        telemetry = OpenTelemetry(engine, FactorSettings(region="country/FR"), receiver.url, {})
        client = TestClient(create_app(engine, engine.settings, watchers=[telemetry]), raise_server_exceptions=False)
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Client-Tag": "news", "X-Request-ID": "r1"}
        answers = [client.post("/v1/summarize", json={"text": [TEXT, TEXT]}, headers=headers).json()]
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}
        answers.append(client.post("/v2/models/twin/infer", json={"inputs": [tensor]}).json())
        client.post("/v1/summarize", json={"text": TEXT, "stream": True, "max_new_tokens": 2})
        client.post("/v1/summarize", json={"text": [TEXT] * 60, "deadline_second": 1e-9})  # cannot be kept
        client.get("/healthz")
        telemetry.close()
        yield receiver, answers


def test_a_request_is_a_span_with_its_tokens_and_joules_in_the_callers_trace(told: Any) -> None:
    receiver, answers = told
    assert [span.name for span in receiver.spans] == [
        "text_completion tiny", "text_completion twin", "text_completion tiny", "text_completion tiny",
    ]  # fmt: skip
    span, said = receiver.spans[0], plain(receiver.spans[0].attributes)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.kind) == (TRACE, PARENT, 2)  # 2 = server
    assert said["kilowit.energy.joule"] == pytest.approx(answers[0]["bill"]["energy_joule"])
    assert said["kilowit.energy.joule_low"] <= said["kilowit.energy.joule"] <= said["kilowit.energy.joule_high"]
    assert said["gen_ai.usage.input_tokens"] == sum(s["num_input_tokens"] for s in answers[0]["summaries"])
    assert said["gen_ai.usage.output_tokens"] == sum(s["num_output_tokens"] for s in answers[0]["summaries"])
    assert (said["kilowit.client"], said["gen_ai.response.id"], said["kilowit.documents"]) == ("news", "r1", 2)
    assert (said["gen_ai.request.model"], said["http.response.status_code"]) == ("tiny", 200)
    assert span.end_time_unix_nano - span.start_time_unix_nano >= 1e9 * said["kilowit.compute.second"] > 0
    assert receiver.resources[0]["service.name"] == "kilowit"


def test_a_stream_says_when_its_first_words_came_and_a_refusal_is_an_error(told: Any) -> None:
    receiver, _ = told
    stream, refused = receiver.spans[2], receiver.spans[3]
    assert [event.name for event in stream.events] == ["gen_ai.first_token"]
    assert stream.start_time_unix_nano < stream.events[0].time_unix_nano <= stream.end_time_unix_nano
    assert plain(refused.attributes)["error.type"] == "503"
    assert refused.status.code == 2 and "deadline" in refused.status.message


def test_metrics_add_up_to_what_was_answered(told: Any) -> None:
    receiver, answers = told
    duration = receiver.metrics["gen_ai.server.request.duration"]
    assert duration.unit == "s" and sum(point.count for point in duration.histogram.data_points) == 4
    first = receiver.metrics["gen_ai.server.time_to_first_token"].histogram.data_points
    assert [point.count for point in first] == [1]
    energy = {
        plain(point.attributes)["gen_ai.request.model"]: point.as_double
        for point in receiver.metrics["kilowit.energy"].sum.data_points
    }
    assert receiver.metrics["kilowit.energy"].unit == "J" and receiver.metrics["kilowit.energy"].sum.is_monotonic
    assert energy["twin"] == pytest.approx(answers[1]["outputs"][1]["data"][0])
    assert energy["tiny"] > answers[0]["bill"]["energy_joule"]
    assert {"kilowit.co2e", "kilowit.tokens", "kilowit.idle.energy", "kilowit.queue.documents"} <= set(receiver.metrics)


def test_names_are_those_of_the_semantic_conventions(told: Any) -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as known
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

    receiver, _ = told
    names = {value for key, value in vars(known).items() if key.startswith("GEN_AI_") and isinstance(value, str)}
    said = {name for span in receiver.spans for name in plain(span.attributes) if name.startswith("gen_ai.")}
    assert said <= names and len(said) >= 7
    metrics = {name for name in receiver.metrics if name.startswith("gen_ai.")}
    assert metrics == {gen_ai_metrics.GEN_AI_SERVER_REQUEST_DURATION, gen_ai_metrics.GEN_AI_SERVER_TIME_TO_FIRST_TOKEN}


def test_nothing_is_sent_unless_somebody_asks() -> None:
    assert not is_wanted(None, {})
    assert not is_wanted("http://127.0.0.1:1", {"OTEL_SDK_DISABLED": "true"})
    assert is_wanted("http://127.0.0.1:1", {})
    assert is_wanted(None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"})


def test_traces_or_metrics_alone_can_be_left_out(engine: Any) -> None:
    from starlette.testclient import TestClient

    from kilowit.endpoint.app import create_app

    with receiving() as receiver:
        telemetry = OpenTelemetry(engine, FactorSettings(), receiver.url, {"OTEL_METRICS_EXPORTER": "none"})
        TestClient(create_app(engine, engine.settings, watchers=[telemetry])).post("/v1/summarize", json={"text": TEXT})
        telemetry.close()
    assert set(receiver.paths) == {"/v1/traces"}


def test_a_collector_that_is_gone_hurts_no_request_and_holds_the_end_up_shortly(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kilowit.endpoint.otel.FLUSH_SECOND", 0.5)
    from starlette.testclient import TestClient

    from kilowit.endpoint.app import create_app

    telemetry = OpenTelemetry(engine, FactorSettings(), "http://127.0.0.1:9", {})
    client = TestClient(create_app(engine, engine.settings, watchers=[telemetry]))
    assert client.post("/v1/summarize", json={"text": TEXT}).status_code == 200
    began = time.monotonic()
    telemetry.close()
    assert time.monotonic() - began < 5


def test_an_address_that_is_none_is_one_clear_error(engine: Any) -> None:
    with pytest.raises(StudyError, match="not the address of a collector"):
        OpenTelemetry(engine, FactorSettings(), "localhost:4318", {})
