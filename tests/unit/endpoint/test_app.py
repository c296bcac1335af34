"""The HTTP interface, asked as its users ask it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ENGLISH = "return the value of the list key"
ERROR_KEYS = {"error", "hint"}


def ask(client: Any, /, **body: Any) -> Any:
    return client.post("/v1/summarize", json=body)


def test_an_answer_says_what_it_cost_and_how_that_is_known(client: Any, engine: Any) -> None:
    response = ask(client, text=ENGLISH, client="news")
    told = response.json()
    assert response.status_code == 200
    bill = told["bill"]
    assert 0 < bill["energy_joule_low"] <= bill["energy_joule"] <= bill["energy_joule_high"]
    assert (bill["energy_source"], bill["energy_basis"]) == ("rapl", "measured")
    assert bill["co2e_gram_low"] <= bill["co2e_gram"] <= bill["co2e_gram_high"]
    assert float(response.headers["x-energy-joules"]) == bill["energy_joule"]
    assert response.headers["x-energy-basis"] == "measured"
    assert response.headers["x-request-id"] == told["request_id"]
    # the sensor takes 40 W: joules are 40 times the seconds
    assert bill["energy_joule"] == pytest.approx(40 * bill["machine_second"], rel=0.05)


def test_the_summary_is_what_the_summarizer_writes(client: Any, engine: Any) -> None:
    documents = [ENGLISH, "x y", "key list value"]
    told = ask(client, text=documents, model="twin").json()
    assert [summary["text"] for summary in told["summaries"]] == engine.summarizers["tiny"].summarize(documents)
    assert told["model"] == "twin"


def streamed(response: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a stream."""
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [re.fullmatch(r"event: (\w+)\ndata: (.*)", part) for part in response.text.strip().split("\n\n")]
    return [(event[1], json.loads(event[2])) for event in events if event is not None]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_stream_grows_to_the_summaries_and_ends_with_the_whole_answer(client: Any, num_beams: int) -> None:
    documents = [ENGLISH, "x", "key list value of the return key"]
    named = streamed(ask(client, text=documents, stream=True, num_beams=num_beams, max_new_tokens=12))
    assert named[0][0] == "accepted" and named[-1][0] == "done"
    assert {name for name, _ in named} <= {"accepted", "progress", "text", "summary", "done"}
    told = named[-1][1]
    whole = [summary["text"] for summary in told["summaries"]]
    assert whole == [
        s["text"] for s in ask(client, text=documents, num_beams=num_beams, max_new_tokens=12).json()["summaries"]
    ]
    for place, text in enumerate(whole):
        pieces = [e["text"] for name, e in named if name == "text" and e["index"] == place]
        assert "".join(pieces) == text and all(pieces)
        assert [e["text"] for name, e in named if name == "summary" and e["index"] == place] == [text]
    assert told["bill"]["energy_joule"] > 0
    assert 0 < told["time_to_first_token_second"] <= told["latency_second"]
    assert ask(client, text="x").json()["time_to_first_token_second"] is None
    counted = client.get("/metrics").text
    assert 'kilowit_time_to_first_token_seconds_count{model="tiny"}' in counted


def test_a_client_that_leaves_its_stream_is_written_for_no_further(engine: Any) -> None:
    import asyncio

    from kilowit.endpoint.app import create_app
    from kilowit.endpoint.desk import Asked, Desk
    from kilowit.endpoint.token_queue import Bell, TokenQueue

    class Leaves(TokenQueue):
        job: Any = None

        def put(self, tokens: Any) -> None:
            super().put(tokens)
            self.job.is_gone = True

    async def one_leaves() -> list[Any]:
        desk = Desk(engine, engine.settings)
        search = {"num_beams": 1, "max_new_tokens": 12, "min_new_tokens": 12}
        jobs = await desk.submit(Asked(request_id="a", texts=[ENGLISH, ENGLISH], search=search))
        jobs[0].tokens = Leaves(Bell())
        jobs[0].tokens.job = jobs[0]

        async def never() -> bool:
            return False

        return await desk.answers(jobs, never)

    async def goes_away() -> list[bytes]:
        sent: list[bytes] = []
        has_text = asyncio.Event()
        body = [{"type": "http.request", "body": json.dumps({"text": ENGLISH, "stream": True}).encode()}]

        async def receive() -> Any:
            if body:
                return body.pop()
            await has_text.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))
            if sent[-1].startswith(b"event: text"):
                has_text.set()
                await asyncio.sleep(10)  # until it is cancelled: a stream of few tokens would be over before

        scope = {"type": "http", "method": "POST", "path": "/v1/summarize", "query_string": b"", "headers": []}
        await create_app(engine, engine.settings)(scope, receive, send)
        return sent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.queue, "batch_wait_second", 0.2)  # so that both are in one batch, found with their tokens
        left, stayed = asyncio.run(one_leaves())
    assert (left.num_output_tokens, stayed.num_output_tokens) == (1, 12)
    assert left.cost.joule < stayed.cost.joule
    sent = asyncio.run(goes_away())
    assert not any(part.startswith(b"event: done") for part in sent)
    assert engine.num_watchers == 0


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "body"),
        (b"{", 422, "JSON"),
        (b"\xff\xfe\x00", 400, "parsing"),
        (b'{"text": ' + b"[" * 100_000, 400, "parsing"),
        (b'{"text": "\\ud800"}', 422, "surrogate"),
        (b'{"txt": "a"}', 422, "text"),
        (b'{"text": []}', 422, "text"),
        (b'{"text": "a", "model": "\\ud800"}', 404, "no such model"),
        (b'{"text": "a", "max_new_tokens": 100000}', 422, "max_new_tokens is 100000"),
        (b'{"text": "a", "max_new_tokens": true}', 422, "max_new_tokens"),
        (b'{"text": "a", "min_new_tokens": 50}', 422, "min_new_tokens"),
        (b'{"text": "a", "length_penalty": NaN}', 422, "length_penalty"),
        (b'{"text": "a", "client": "a b"}', 422, "client"),
        (b'{"text": "a", "deadline_second": 0}', 422, "deadline_second"),
        (b'{"text": "' + b"a" * 1_000_001 + b'"}', 413, "longer than 1000000"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_a_traceback(
    client: Any, body: bytes, status: int, said: str
) -> None:
    response = client.post("/v1/summarize", content=body)
    told = response.json()
    assert (response.status_code, told.keys() <= ERROR_KEYS) == (status, True), response.text
    assert said in told["error"]


def test_too_many_documents_are_refused(client: Any) -> None:
    assert ask(client, text=["a"] * 65).status_code == 422


def test_a_request_is_priced_anew_for_another_region(client: Any) -> None:
    told = ask(client, text=ENGLISH).json()
    french, polish = (
        client.post("/v1/carbon", json={"region": region, "request_id": told["request_id"]}).json()
        for region in ("country/FR", "country/PL")
    )
    assert french["energy_joule"] == polish["energy_joule"] == told["bill"]["energy_joule"]
    assert french["co2e_gram"] < polish["co2e_gram"]
    # 3.6 MJ are 1 kWh; Ember's French mean of 2025 is 41.44 g
    plain = client.post("/v1/carbon", json={"region": "country/FR", "energy_joule": 3_600_000}).json()
    assert plain["co2e_gram"] == pytest.approx(41.44, abs=0.01)
    assert client.post("/v1/carbon", json={"region": "country/XX"}).status_code == 422
    assert client.post("/v1/carbon", json={"request_id": "never"}).status_code == 404


def test_totals_and_metrics_count_what_was_answered(client: Any) -> None:
    before = client.get("/v1/totals").json()["today"]["requests"]["num_documents"]
    ask(client, text=["a", "b"], client="weather")
    told = client.get("/v1/totals").json()
    assert told["today"]["requests"]["num_documents"] == before + 2
    assert told["by_client"]["weather"]["joule"] > 0
    text = client.get("/metrics").text
    assert re.search(r'kilowit_energy_joules_total\{model="tiny"\} [0-9.]+', text)
    assert 'kilowit_requests_total{code="200",model="tiny"}' in text


def counted(client: Any, name: str) -> float:
    """Return what Prometheus is told of a counter; 0 where it has not been counted yet."""
    found = re.search(rf"^kilowit_{re.escape(name)} ([0-9.e+]+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_prometheus_is_told_of_every_protocol(client: Any) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [ENGLISH]}
    names = ['requests_total{code="200",model="tiny"}', 'request_seconds_count{model="tiny"}']
    before = [counted(client, name) for name in names]
    ask(client, text="x")
    ask(client, text="x", stream=True)
    assert client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).status_code == 200
    assert [counted(client, name) for name in names] == [count + 3 for count in before]


def test_prometheus_is_told_of_what_was_refused_before_its_model_was_known_and_after(client: Any) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"]}
    wrong = {"inputs": [tensor], "parameters": {"num_beams": 99}}
    names = [
        'requests_total{code="422",model="tiny"}', 'requests_total{code="404",model="?"}',
        'requests_total{code="422",model="?"}',
    ]  # fmt: skip
    before = [counted(client, name) for name in names]
    assert client.post("/v2/models/tiny/infer", json=wrong).status_code == 422
    assert client.post("/v2/models/never/infer", json={"inputs": [tensor]}).status_code == 404
    assert ask(client, text=7).status_code == 422
    assert [counted(client, name) for name in names] == [count + 1 for count in before]


def test_an_id_that_no_answer_can_hold_is_refused(client: Any) -> None:
    body = r'{"id": "\ud800", "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}'
    response = client.post("/v2/models/tiny/infer", content=body)
    assert response.status_code == 400 and "surrogate" in response.json()["error"]
    whole = client.post("/v2/models/tiny/infer", content=body.replace(r"\ud800", r"\ud83d\ude00"))
    assert whole.json()["id"] == "😀"


def test_the_bill_of_today_says_where_its_joules_come_from(client: Any) -> None:
    ask(client, text="x")
    told = client.post("/v1/carbon", json={"region": "country/FR"}).json()
    assert (told["energy_source"], told["energy_basis"]) == ("rapl", "measured")


def test_the_open_inference_protocol_tells_the_cost_in_its_headers_too(client: Any) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [ENGLISH]}
    response = client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
    said = response.json()["parameters"]
    assert float(response.headers["X-Energy-Joules"]) == said["energy_joules"] > 0
    assert response.headers["X-Energy-Basis"] == said["energy_basis"] == "measured"


def test_the_page_and_its_parts_are_small_and_name_no_other_host(client: Any) -> None:
    parts = {path: client.get(path) for path in ("/", "/page.css", "/page.js")}
    assert sum(len(part.content) for part in parts.values()) < 60_000
    for part in parts.values():
        assert part.status_code == 200
        assert "default-src 'none'" in part.headers["content-security-policy"]
        assert "http://" not in part.text and "https://" not in part.text


def test_openapi_names_every_route_of_ours(client: Any) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/summarize", "/v1/carbon", "/v1/totals", "/metrics", "/healthz"} <= paths.keys()
    assert client.get("/docs").status_code == 404  # its assets would come from elsewhere


def test_a_token_is_asked_for_where_there_is_one(engine: Any) -> None:
    from starlette.testclient import TestClient

    from kilowit.endpoint.app import create_app

    client = TestClient(create_app(engine, engine.settings, token="a-token-of-some-length"))
    refused = ask(client, text="a")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/healthz").status_code == client.get("/").status_code == 200
    client.headers["authorization"] = "Bearer a-token-of-some-lengtH"
    assert ask(client, text="a").status_code == 401
    client.headers["authorization"] = "Bearer a-token-of-some-length"
    assert ask(client, text="a").status_code == 200


def test_a_page_of_another_origin_may_not_spend_our_energy(client: Any) -> None:
    url = "/v1/summarize"
    assert client.post(url, json={"text": "a"}, headers={"origin": "http://example.org"}).status_code == 403
    assert client.post(url, json={"text": "a"}, headers={"origin": "http://testserver"}).status_code == 200


def test_a_request_keeps_the_name_that_its_client_gave_it(client: Any) -> None:
    response = client.post("/v1/summarize", json={"text": "a"}, headers={"x-request-id": "mine-7"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "mine-7"
    bad = client.get("/healthz", headers={"x-request-id": "a b"})
    assert re.fullmatch(r"[0-9a-f]{32}", bad.headers["x-request-id"])


def test_the_open_inference_protocol_answers_with_tensors(client: Any) -> None:
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/tiny/versions/1").json()["inputs"][0]["datatype"] == "BYTES"
    tensor = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [[ENGLISH], ["x"]]}
    told = client.post("/v2/models/tiny/infer", json={"id": "7", "inputs": [tensor]}).json()
    named = {output["name"]: output for output in told["outputs"]}
    assert (told["id"], named["summary"]["shape"], len(named["summary"]["data"])) == ("7", [2, 1], 2)
    lows, likely, highs = (named[f"energy_joules{end}"]["data"] for end in ("_low", "", "_high"))
    assert all(0 < low <= joule <= high for low, joule, high in zip(lows, likely, highs, strict=True))
    said = told["parameters"]
    assert said["energy_joules"] == pytest.approx(sum(likely), rel=1e-4)
    assert said["energy_joules_low"] <= said["energy_joules"] <= said["energy_joules_high"]
    assert said["co2e_grams_low"] < said["co2e_grams"] < said["co2e_grams_high"]
    assert (said["energy_source"], said["energy_basis"]) == ("rapl", "measured")
    assert all(isinstance(value, str | float | int) for value in said.values())


@pytest.mark.parametrize(
    ("path", "change", "status"),
    [
        ("nothing", {}, 404),
        ("tiny/versions/2", {}, 404),
        ("tiny", {"name": "x"}, 400),
        ("tiny", {"datatype": "FP32"}, 400),
        ("tiny", {"shape": [3]}, 400),
        ("tiny", {"data": None}, 400),
        ("tiny", {"data": [1, 2]}, 400),
        ("tiny", {"shape": ["a"]}, 400),
    ],
)
def test_wrong_tensors_are_errors_of_the_protocol(client: Any, path: str, change: dict[str, Any], status: int) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]} | change
    response = client.post(f"/v2/models/{path}/infer", json={"inputs": [tensor]})
    assert (response.status_code, "error" in response.json()) == (status, True), response.text


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"max_new_tokens": 3, "client": "news", "binary_data_output": True, "deadline_second": 5}, 200),
        ({"max_new_tokens": 3.5}, 400),
        ({"max_new_tokens": True}, 400),
        ({"max_new_tokens": 10**30}, 400),
        ({"client": "a b"}, 400),
        ({"deadline_second": 0}, 400),
        ({"temperature": 1.0}, 400),
    ],
)
def test_parameters_of_the_protocol_are_checked(client: Any, parameters: dict[str, Any], status: int) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    response = client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "parameters": parameters})
    assert response.status_code == status, response.text


def test_requests_and_idling_add_up_to_the_meter(exported: Path, tmp_path: Path) -> None:
    import concurrent.futures
    import time

    from starlette.testclient import TestClient

    from endpoint_bench import running_engine
    from kilowit.endpoint.app import create_app
    from kilowit.endpoint.books import Books
    from kilowit.meter import read_ledger

    with running_engine(exported, tmp_path) as engine:
        client = TestClient(create_app(engine, engine.settings))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            bodies = [{"text": ENGLISH * (i % 4 + 1), "model": ("tiny", "twin")[i % 2]} for i in range(40)]
            told = [r.json() for r in pool.map(lambda body: client.post("/v1/summarize", json=body), bodies)]
        time.sleep(0.3)
        metered = engine.close()
    requests_joule = sum(answer["bill"]["energy_joule"] for answer in told)
    served = [row for row in metered.phases if row.phase.startswith("serve ")]
    assert max(answer["summaries"][0]["batch_size"] for answer in told) > 1
    assert requests_joule == pytest.approx(sum(row.energy_total_joule or 0 for row in served), rel=0.01)
    sums = Books(tmp_path).sums()
    assert sum(amount.joule for amount in sums.values()) == pytest.approx(metered.total.energy_total_joule, rel=0.01)
    assert sum(amount.second for amount in sums.values()) == pytest.approx(metered.total.wall_second, rel=0.01)
    assert sums["tiny"].joule + sums["twin"].joule == pytest.approx(requests_joule, rel=0.01)
    assert sums["tiny"].num_documents + sums["twin"].num_documents == 40
    assert sums["idle"].joule > 0
    assert read_ledger(tmp_path).total.energy_total_joule == pytest.approx(metered.total.energy_total_joule)


def test_a_runtime_that_fails_costs_its_batch_alone(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    from endpoint_bench import running_engine
    from kilowit.endpoint.app import create_app

    with running_engine(exported) as engine:
        client = TestClient(create_app(engine, engine.settings))
        monkeypatch.setattr(engine.summarizers["tiny"].generator, "decoder", None)
        failed = ask(client, text="a", model="tiny")
        assert (failed.status_code, failed.headers["retry-after"]) == (503, "1")
        assert ask(client, text="a", model="twin").status_code == 200
        assert engine.books.sums()["failed tiny"].joule > 0
    assert any("serve tiny" in warning for warning in engine.meter.stop().warnings)
