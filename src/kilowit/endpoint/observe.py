"""One request from its first byte to its last, as those who watch the server are told of it.

The outermost layer of the app makes an `Exchange`, the desk fills in what it learns of it, and when the last byte is
out (or the client has gone) every watcher is told. It travels in a context variable, so that the routes of all
protocols need not hand it on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kilowit.endpoint.job import Answer, Job, Refused

if TYPE_CHECKING:
    from kilowit.endpoint.guard import App, Message, Receive, Scope, Send

# Events of a stream that hold nothing of a summary.
NO_OUTPUT: Final = (b"event: accepted", b"event: progress", b"event: error", b":")


@dataclass(kw_only=True)
class Exchange:
    """What is known of one request.

    Attributes:
        state: of the ASGI scope; the guard writes the request's name and the client's tag into it.
        headers: those of the request that carry the caller's trace.
        status: of the answer; None = the client went before there was one.
        refused: why it was not taken on or given up, also where a stream had begun.
        first_second: until the first piece of a summary, where the answer is a stream; by the clock of `began_second`.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    state: dict[str, Any]
    began_utc_nanosecond: int = field(default_factory=time.time_ns)
    began_second: float = field(default_factory=time.monotonic)
    ended_second: float | None = None
    first_second: float | None = None
    status: int | None = None
    is_stream: bool = False
    model: str | None = None
    jobs: Sequence[Job] = ()
    answers: Sequence[Answer] = ()
    refused: Refused | None = None

    @property
    def request_id(self) -> str:
        """The request's name; empty where the guard has given none."""
        return str(self.state.get("request_id", ""))

    @property
    def client(self) -> str:
        """The tag in the request's header; empty = none."""
        return str(self.state.get("client", ""))


Watcher = Callable[[Exchange], None]
CURRENT: Final[ContextVar[Exchange | None]] = ContextVar("exchange", default=None)


class Observe:
    """Wraps an app, outside of all else.

    Args:
        watchers: told of each request once it is over, on the event loop: they must be quick.
    """

    def __init__(self, app: App, *, watchers: Sequence[Watcher] = ()) -> None:
        self.app, self.watchers = app, watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through and tell of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(
            method=scope["method"],
            path=scope["path"],
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            state=scope.setdefault("state", {}),
        )
        CURRENT.set(exchange)

        async def send_noted(message: Message) -> None:
            _note(exchange, message)
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        finally:
            exchange.ended_second = time.monotonic()
            for watch in self.watchers:
                watch(exchange)


def _note(exchange: Exchange, message: Message) -> None:
    if message["type"] == "http.response.start":
        exchange.status = message["status"]
        exchange.is_stream = (b"content-type", b"text/event-stream") in [
            (name.lower(), value.partition(b";")[0]) for name, value in message.get("headers", [])
        ]
    elif exchange.is_stream and exchange.first_second is None:
        body = message.get("body", b"")
        if body and not body.startswith(NO_OUTPUT) and exchange.status == 200:
            exchange.first_second = time.monotonic()
