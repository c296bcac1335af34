"""Asking a server as its clients do, in each of the three protocols, with nothing but the standard library.

A server of others, NVIDIA Triton for one, is asked by the Open Inference Protocol; it keeps no books of ours.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from kilowit.errors import ExecutorError, StudyError

Protocol = Literal["json", "events", "oip"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("json", "events", "oip")
TIMEOUT_SECOND: Final = 120.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of one request.

    Attributes:
        status: of HTTP; 0 = no answer, `error` says why.
        joule: the request's share, as the server says; None = it does not know.
        first_token_second: until the first text of a summary, where the protocol streams.
        server_first_token_second: the same, as the server says: without what the network took.
    """

    status: int
    latency_second: float
    num_documents: int
    joule: float | None = None
    first_token_second: float | None = None
    server_first_token_second: float | None = None
    error: str = ""


class _Told(NamedTuple):
    """What a server says of one request."""

    joule: float | None = None
    first_token_second: float | None = None


_NOTHING: Final = _Told()


class Asker:
    """Asks one server; each thread has a connection of its own.

    Args:
        url: of the server.
        protocol: json: one answer; events: a stream; oip: the Open Inference Protocol v2.
        model: None = the server's first.
        token: None = none.
        max_new_tokens: None = the model's own.

    Attributes:
        max_documents: most documents that a request may have; None = the server does not say.

    Raises:
        StudyError: the address is none.
    """

    max_documents: int | None = None

    def __init__(
        self,
        url: str,
        *,
        protocol: Protocol = "json",
        model: str | None = None,
        token: str | None = None,
        max_new_tokens: int | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StudyError("not the address of a server", place=url, hint="It looks like http://127.0.0.1:8000.")
        self._url, self._protocol, self._model, self._max_new_tokens = url, protocol, model, max_new_tokens
        self._class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._own = threading.local()

    def totals(self) -> dict[str, Any] | None:
        """Return what the server says of itself; None = it is one of others, and keeps no books.

        Raises:
            ExecutorError: it does not answer, or does not speak the protocol.
        """
        status, told = self._answer("GET", "/v1/totals")
        if status == 404 and self._protocol == "oip":
            self._look_around()
            return None
        if status == 404:
            hint = "--protocol oip asks any server of the Open Inference Protocol."
            raise ExecutorError("no server of kilowit", place=self._url, hint=hint)
        if status != 200:
            raise ExecutorError(f"refused: {told.get('error', status)}", place=self._url, hint=told.get("hint"))
        self._model = self._model or next(iter(told["models"]))
        return dict(told)

    def _look_around(self) -> None:
        """Find out which model there is and how many documents it takes at once, as Triton tells it."""
        if self._model is None:
            status, models = self._answer("POST", "/v2/repository/index")
            ready = [model["name"] for model in models if model.get("state") == "READY"] if status == 200 else []
            if not ready:
                raise ExecutorError("does not say what it serves", place=self._url, hint="Name it: --model NAME.")
            self._model = ready[0]
        status, config = self._answer("GET", f"/v2/models/{urllib.parse.quote(self._model)}/config")
        if status == 200:
            self.max_documents = max(1, config.get("max_batch_size", 1))

    def _answer(self, method: str, path: str) -> tuple[int, Any]:
        try:
            status, content, _ = self._send(method, path, None)
            return status, json.loads(content)
        except (OSError, http.client.HTTPException, ValueError) as error:
            hint = "Start one: kilowit serve MODEL."
            raise ExecutorError(f"no answer that is understood ({error})", place=self._url, hint=hint) from error

    def ask(self, documents: Sequence[str]) -> Reply:
        """Ask for summaries; whatever happens is a reply."""
        began_second = time.monotonic()
        path, body = self._request(documents)
        try:
            status, content, first_second = self._send("POST", path, body)
            told, error = self._told(content) if status == 200 else (_NOTHING, content[:200].decode(errors="replace"))
            status = 503 if status == 200 and error else status  # a stream that was given up says so in its last event
        except (OSError, http.client.HTTPException, ValueError, KeyError) as failure:
            self._own.connection = None
            status, told, first_second, error = 0, _NOTHING, None, f"{type(failure).__name__}: {failure}"
        return Reply(
            status=status,
            latency_second=time.monotonic() - began_second,
            num_documents=len(documents),
            joule=told.joule,
            first_token_second=first_second,
            server_first_token_second=told.first_token_second,
            error=error,
        )

    def _request(self, documents: Sequence[str]) -> tuple[str, bytes]:
        limit = {} if self._max_new_tokens is None else {"max_new_tokens": self._max_new_tokens}
        if self._protocol == "oip":
            tensor = {"name": "text", "shape": [len(documents), 1], "datatype": "BYTES", "data": list(documents)}
            body: dict[str, Any] = {"inputs": [tensor], "parameters": {**limit, "client": "bench"}}
            return f"/v2/models/{urllib.parse.quote(str(self._model))}/infer", json.dumps(body).encode()
        is_stream = self._protocol == "events"
        body = {"text": list(documents), "model": self._model, "client": "bench", "stream": is_stream, **limit}
        return "/v1/summarize", json.dumps(body).encode()

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float | None]:
        """Return status, body, and the seconds until the first text of a stream."""
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            try:
                return _exchange(connection, method, path, body, self._headers)
            except (ConnectionError, http.client.NotConnected):  # the server had closed it, as it may between requests
                connection.close()
        connection = self._own.connection = self._class(self._host, self._port, timeout=TIMEOUT_SECOND)
        return _exchange(connection, method, path, body, self._headers)

    def _told(self, content: bytes) -> tuple[_Told, str]:
        """Return what an answer says of its cost, and what went wrong in a stream."""
        if self._protocol == "events":
            name, _, data = content.decode().strip().rpartition("\n\n")[2].partition("\n")
            told = json.loads(data.removeprefix("data: "))
            if name != "event: done":
                return _NOTHING, str(told.get("error", "the stream ended before its answer"))
            return _Told(told["bill"]["energy_joule"], told["time_to_first_token_second"]), ""
        told = json.loads(content)
        if self._protocol == "json":
            return _Told(told["bill"]["energy_joule"]), ""
        joules = next((output["data"] for output in told["outputs"] if output["name"] == "energy_joules"), [-1])
        return _Told(None if min(joules) < 0 else sum(joules)), ""


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes, float | None]:
    began_second, first_second = time.monotonic(), None
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    lines: list[bytes] = []
    for line in response:
        lines.append(line)
        if first_second is None and line.startswith(b"event: text"):
            first_second = time.monotonic() - began_second
    lines.append(response.read())  # nothing is left, but only this sets the connection free
    return response.status, b"".join(lines), first_second
