"""What those who watch a server are told of each request, and whom it is booked on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kilowit.endpoint.observe import Exchange

TEXT = "return the value of the list"


@pytest.fixture(scope="module")
def watched(engine: Any) -> Iterator[tuple[Any, list[Exchange]]]:
    from starlette.testclient import TestClient

    from kilowit.endpoint.app import create_app

    seen: list[Exchange] = []
    app = create_app(engine, engine.settings, watchers=[seen.append])
    yield TestClient(app, raise_server_exceptions=False), seen


def documents_of(engine: Any, client: str) -> int:
    found = engine.books.sums(of=lambda account: account.client).get(client)
    return 0 if found is None else int(found.num_documents)


def test_a_watcher_is_told_of_each_request_whatever_the_protocol(watched: Any) -> None:
    client, seen = watched
    seen.clear()
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}
    assert client.post("/v1/summarize", json={"text": TEXT}, headers={"X-Request-ID": "r1"}).status_code == 200
    assert client.post("/v1/summarize", json={"text": [TEXT, TEXT], "stream": True}).status_code == 200
    assert client.post("/v2/models/twin/infer", json={"inputs": [tensor]}).status_code == 200
    assert client.post("/v1/summarize", json={}).status_code == 422
    assert [(e.status, e.model, len(e.answers)) for e in seen] == [
        (200, "tiny", 1), (200, "tiny", 2), (200, "twin", 1), (422, None, 0),
    ]  # fmt: skip
    assert seen[0].request_id == "r1"
    assert [e.first_second is not None for e in seen] == [False, True, False, False]
    assert seen[1].ended_second >= seen[1].first_second >= seen[1].began_second


def test_a_tag_in_the_header_is_booked_unless_the_body_names_another(watched: Any, engine: Any) -> None:
    client, _ = watched
    before = documents_of(engine, "team-a"), documents_of(engine, "team-b")
    tagged = {"X-Client-Tag": "team-a"}
    client.post("/v1/summarize", json={"text": TEXT}, headers=tagged)
    client.post("/v1/summarize", json={"text": TEXT, "client": "team-b"}, headers=tagged)
    assert (documents_of(engine, "team-a") - before[0], documents_of(engine, "team-b") - before[1]) == (1, 1)


def test_a_tag_that_is_none_is_refused_rather_than_booked_on_nobody(watched: Any) -> None:
    client, seen = watched
    seen.clear()
    told = client.post("/v1/summarize", json={"text": TEXT}, headers={"X-Client-Tag": "a b"})
    assert told.status_code == 400 and "X-Client-Tag" in told.json()["error"]
    assert [e.status for e in seen] == [400]


def test_a_refused_request_is_counted_on_its_client(exported: Any) -> None:
    from starlette.testclient import TestClient

    from endpoint_bench import running_engine
    from kilowit.endpoint.app import create_app

    with running_engine(exported, max_waiting=1) as engine:
        client = TestClient(create_app(engine, engine.settings))
        told = client.post("/v1/summarize", json={"text": [TEXT, TEXT], "client": "greedy"})
        assert told.json()["hint"] == "Send them in smaller requests."
        assert told.status_code == 429 and int(told.headers["Retry-After"]) >= 1
        engine.books.book_refusals()
        assert engine.books.sums(of=lambda account: account.client)["greedy"].num_refused == 1
