"""Before any route: who asks, what the request is called, and how large and how slow its body may be.

Plain ASGI, so that a body is refused while it arrives, not once it fills the memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from kilowit.endpoint.schema import TAG
from kilowit.endpoint.settings import EndpointSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON: Final = b"application/json"
REQUEST_ID: Final = b"x-request-id"
CLIENT_TAG: Final = b"x-client-tag"  # whom the cost is booked on, where the body names nobody
_GOOD_TAG: Final = re.compile(TAG.encode())
_GOOD_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# What a probe of a balancer asks, and the page, which asks for the token itself.
OPEN_PATHS: Final = frozenset({"/", "/page.css", "/page.js", "/healthz", "/v2/health/live", "/v2/health/ready"})


class _TooLargeError(Exception):
    pass


class Guard:
    """Wraps an app.

    Args:
        token: what a request must bear; None = anyone may ask.
    """

    def __init__(self, app: App, *, settings: EndpointSettings, token: str | None) -> None:
        self.app, self.settings = app, settings
        self._token_digest = None if token is None else _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = headers.get(REQUEST_ID, b"")
        if not _GOOD_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex.encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (REQUEST_ID, request_id)]
            await send(message)

        if not _is_same_origin(headers):
            await _refuse(send_named, 403, "a page of another origin may not ask")
            return
        if not self._may_pass(scope["path"], headers):
            extra = [(b"www-authenticate", b"Bearer")]
            await _refuse(send_named, 401, "a bearer token is needed", extra)
            return
        tag = headers.get(CLIENT_TAG, b"")
        if tag and not _GOOD_TAG.fullmatch(tag):
            await _refuse(send_named, 400, "X-Client-Tag must be at most 64 letters, digits and ._:@-")
            return
        scope["state"]["client"] = tag.decode()
        try:
            body = await self._body(headers, receive)
        except _TooLargeError:
            await _refuse(send_named, 413, f"the body is longer than {self.settings.max_body_byte} bytes")
        except TimeoutError:
            await _refuse(send_named, 408, f"the body did not arrive within {self.settings.body_second:g} s")
        else:
            if body is not None:
                scope["headers"] = _as_json(scope["headers"])
                await self.app(scope, _replay(body, receive), send_named)

    def _may_pass(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self._token_digest is None or path in OPEN_PATHS:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Digests have one length, so that the comparison takes the same time whatever was sent.
        return hmac.compare_digest(_digest(given.strip()), self._token_digest) and scheme.lower() == b"bearer"

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """Return the whole body; None if the client has gone."""
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and (len(told) > 18 or int(told) > self.settings.max_body_byte):
            raise _TooLargeError
        parts: list[bytes] = []
        num_byte = 0
        async with asyncio.timeout(self.settings.body_second):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                num_byte += len(part)
                if num_byte > self.settings.max_body_byte:
                    raise _TooLargeError
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)


def _is_same_origin(headers: dict[bytes, bytes]) -> bool:
    """Say whether a request comes from no page, or from our own: others could spend this machine's energy."""
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")


def _as_json(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers that call the body JSON, as all of ours are: ``curl -d`` calls it a form."""
    return [*((name, value) for name, value in headers if name != b"content-type"), (b"content-type", _JSON)]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_again


async def _refuse(send: Send, status: int, text: str, extra: list[tuple[bytes, bytes]] | None = None) -> None:
    content = json.dumps({"error": text}).encode()
    headers = [(b"content-type", _JSON), (b"content-length", str(len(content)).encode())]
    # What is left of the body would be taken for the next request.
    headers += [(b"connection", b"close"), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
