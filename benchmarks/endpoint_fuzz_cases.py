"""Requests that no client should send: bodies, headers and bytes, drawn with a seed.

A `Body` is sent by an HTTP library, so that its answer can be held to the schema; `raw_bytes` and `slow_parts` go to
the socket as they are.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

MODELS: Final = ("a", "b", "", "nothing", "a/b", "%00", "é", "a" * 3000)
TEXTS: Final = (
    "return the value of the list key", "", " ", "\x00", "\ufeff", "\u202eabc", "e\u0301" * 50, "𝄞" * 20,
    "\ud800", "\udfff text", "a\n\r\t\x0b", "<script>alert(1)</script>", "../../etc/passwd", "' OR 1=1 --", "{{7*7}}",
    "%s%n%x", "漢字かな", "ﷺ" * 10, "👩‍👩‍👧‍👦" * 5, "a" * 20_000, "word " * 3000,
)  # fmt: skip
NUMBERS: Final = (
    0, 1, -1, 2, 8, 9, 63, 64, 1.5, -0.0, 1e-320, 1e308, -1e308, 10**18, 2**63, -(2**63) - 1, 10**400, float("nan"),
    float("inf"), float("-inf"),
)  # fmt: skip
ODD: Final[tuple[Any, ...]] = (None, True, False, "", "1", "true", [], {}, [[]], [None], {"a": 1}, "\ud800")
FIELDS: Final = (
    "text", "model", "client", "stream", "deadline_second", "num_beams", "max_new_tokens", "min_new_tokens",
    "length_penalty", "no_repeat_ngram_size", "region", "pue", "machine", "request_id", "energy_joule", "id", "inputs",
    "outputs", "parameters", "__proto__", "",
)  # fmt: skip
PATHS: Final = ("/v1/summarize", "/v1/carbon", "/v2/models/a/infer", "/v2/models/b/versions/1/infer")
TYPES: Final = (
    "application/json", "application/json; charset=utf-16", "text/plain", "application/xml", "multipart/form-data",
    "application/x-www-form-urlencoded", "application/octet-stream", "image/png", "nonsense", "a/b; ;;=", "",
)  # fmt: skip


@dataclass(frozen=True)
class Body:
    """A POST with a body of any bytes."""

    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


def bodies(seed: int, count: int) -> Iterator[Body]:
    """Yield bodies: JSON that is nearly right, JSON that is none, and other encodings of both."""
    draw = random.Random(seed)
    makers: list[Callable[[random.Random], Body]] = [
        _summarize, _summarize, _infer, _infer, _infer, _carbon, _damaged, _damaged, _nested, _number, _encoded, _typed,
        _junk, _long,
    ]  # fmt: skip
    for _ in range(count):
        yield draw.choice(makers)(draw)


def _dump(content: Any) -> bytes:
    """Write JSON with NaN, infinity and lone surrogates, as Python writes it."""
    return json.dumps(content, ensure_ascii=True).encode()


def _summarize(draw: random.Random) -> Body:
    text: Any = draw.choice(TEXTS)
    if draw.random() < 0.3:
        text = [draw.choice((*TEXTS, *ODD)) for _ in range(draw.choice((0, 1, 2, 5, 65)))]
    content: dict[str, Any] = {"text": text, "max_new_tokens": draw.choice((1, 4, 8))}
    for _ in range(draw.randrange(4)):
        content[draw.choice(FIELDS)] = draw.choice((*NUMBERS, *ODD, *TEXTS))
    return Body("/v1/summarize", _dump(content))


def _carbon(draw: random.Random) -> Body:
    content: dict[str, Any] = {
        "region": draw.choice(("country/FR", "country/XX", "", *TEXTS[:6])), "energy_joule": draw.choice(NUMBERS),
        "pue": draw.choice((1.0, 1.5, *NUMBERS)),
    }  # fmt: skip
    if draw.random() < 0.5:
        content[draw.choice(FIELDS)] = draw.choice((*NUMBERS, *ODD))
    return Body("/v1/carbon", _dump(content))


def _infer(draw: random.Random) -> Body:
    data: Any = [draw.choice(TEXTS[:12]) for _ in range(draw.choice((0, 1, 2, 3)))]
    shape: Any = [len(data)]
    if draw.random() < 0.4:
        shape = draw.choice(([], [0], [-1], [2**40], [1, 1], [10**30], "1", None, [1.0], [True], [[1]]))
    if draw.random() < 0.3:
        data = draw.choice(([[data]], [data, data], {}, None, "x", [1], [None], [[["x"]]], [float("nan")]))
    tensor = {"name": "text", "datatype": "BYTES", "shape": shape, "data": data}
    for name in draw.sample(list(tensor), draw.randrange(2)):
        tensor[name] = draw.choice(("FP32", "INT64", "", *ODD))
    content: dict[str, Any] = {"inputs": [tensor] * draw.choice((1, 1, 1, 0, 2))}
    if draw.random() < 0.4:
        content["parameters"] = {draw.choice(FIELDS): draw.choice((*NUMBERS, *ODD)) for _ in range(2)}
    if draw.random() < 0.4:
        named = draw.choice(("summary", "energy_joules", "co2e_grams", "x", *ODD))
        content["outputs"] = [{"name": named, "parameters": {"binary_data": draw.choice(ODD)}}]
    if draw.random() < 0.2:
        content["id"] = draw.choice(("42", "\ud800", *ODD))
    headers = {"Inference-Header-Content-Length": str(draw.choice(NUMBERS))} if draw.random() < 0.1 else {}
    return Body(draw.choice(PATHS[2:]), _dump(content), headers)


def _damaged(draw: random.Random) -> Body:
    """Good JSON with some bytes changed, cut off, or doubled."""
    path = draw.choice(PATHS)
    content = bytearray(_dump({"text": "return the list", "max_new_tokens": 2, "num_beams": 1, "stream": False}))
    for _ in range(draw.randrange(1, 6)):
        place = draw.randrange(len(content))
        if draw.random() < 0.5:
            content[place] = draw.randrange(256)
        elif draw.random() < 0.5:
            del content[place:]
            content += b"}"
        else:
            content[place:place] = content[: draw.randrange(20)]
    return Body(path, bytes(content))


def _nested(draw: random.Random) -> Body:
    depth = draw.choice((50, 900, 1100, 5000, 50_000, 200_000))
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"text":', b"}]")))
    inner = opening * (depth // len(opening)) + b"1" + closing * (depth // len(opening))
    whole = draw.choice((b"%s", b'{"text": %s}', b'{"text": "x", "model": %s}', b'{"inputs": [%s]}'))
    return Body(draw.choice(PATHS), whole.replace(b"%s", inner)[: 990_000 if draw.random() < 0.8 else depth])


def _number(draw: random.Random) -> Body:
    digits = draw.choice((b"9" * 5000, b"1e999999", b"-" + b"9" * 400, b"0" * 10 + b"1", b"1." + b"0" * 5000, b"NaN"))
    name = draw.choice(("num_beams", "deadline_second", "length_penalty", "energy_joule", "pue")).encode()
    return Body(draw.choice(PATHS), b'{"text": "x", "' + name + b'": ' + digits + b"}")


def _encoded(draw: random.Random) -> Body:
    text = json.dumps({"text": draw.choice(TEXTS[:8]), "max_new_tokens": 2}, ensure_ascii=True)
    content, headers = draw.choice(
        (
            (text.encode("utf-16"), {}),
            (text.encode("utf-32"), {}),
            (b"\xef\xbb\xbf" + text.encode(), {}),
            (text.encode() + b"\xff\xfe", {}),
            (b'{"text": "\xc3\x28\xed\xa0\x80"}', {}),
            (gzip.compress(text.encode()), {"Content-Encoding": "gzip"}),
            (text.encode(), {"Content-Encoding": draw.choice(("gzip", "br", "nonsense"))}),
            (gzip.compress(b"0" * 5_000_000), {"Content-Encoding": "gzip"}),
        )
    )
    return Body("/v1/summarize", content, dict(headers))


def _typed(draw: random.Random) -> Body:
    headers = {
        "Content-Type": draw.choice(TYPES), "Accept": draw.choice(("*/*", "text/event-stream", "image/png", "nonsense"))
    }  # fmt: skip
    for name in draw.sample(("X-Request-ID", "X-Client-Tag", "Origin", "Authorization", "traceparent"), 2):
        headers[name] = draw.choice(("x", "a b", "\u00e9", "-" * 500, "http://elsewhere", "Bearer x", "00-0-0-00"))
    return Body(draw.choice(PATHS), _dump({"text": "return", "max_new_tokens": 2}), headers)


def _junk(draw: random.Random) -> Body:
    return Body(draw.choice(PATHS), draw.randbytes(draw.choice((0, 1, 10, 1000, 100_000))))


def _long(draw: random.Random) -> Body:
    """Bodies near the limit of 1,000,000 bytes and beyond."""
    size = draw.choice((900_000, 999_980, 1_000_000, 1_000_001, 3_000_000))
    return Body("/v1/summarize", b'{"max_new_tokens": 1, "text": "' + b"a" * (size - 33) + b'"}')


GOOD: Final = b'{"text":"return the list","max_new_tokens":2}'


def raw_bytes(seed: int, count: int) -> Iterator[bytes]:
    """Yield what is not, or hardly, HTTP."""
    draw = random.Random(seed)
    for _ in range(count):
        yield draw.choice(_RAW)(draw)


def _request(line: bytes, headers: list[bytes], body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *headers, b"", b""]) + body


def _noise(draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((1, 20, 500, 70_000))) + draw.choice((b"", b"\r\n\r\n"))


def _lines(draw: random.Random) -> bytes:
    line = draw.choice(
        (
            b"GET", b"GET /", b"GET / HTTP/9.9", b"GET  /  HTTP/1.1", b"get /healthz http/1.1", b" GET / HTTP/1.1",
            b"PRI * HTTP/2.0", b"CONNECT a:1 HTTP/1.1", b"TRACE / HTTP/1.1", b"X-Y /v1/totals HTTP/1.1",
            b"GET http://elsewhere/healthz HTTP/1.1", b"GET /%ff%00%zz HTTP/1.1", b"GET /\xff HTTP/1.1",
            b"GET //v2//models/a HTTP/1.1", b"GET /../../etc/passwd HTTP/1.1", b"GET /" + b"a" * 100_000 + b" HTTP/1.1",
            b"OPTIONS * HTTP/1.1", b"HEAD /v1/totals HTTP/1.1", b"DELETE /v1/summarize HTTP/1.1",
            b"GET /?" + b"a=b&" * 5000 + b" HTTP/1.1", b"POST /v2/models/%2e%2e/infer HTTP/1.1",
        )
    )  # fmt: skip
    return _request(line, [b"Host: x"])


def _headers(draw: random.Random) -> bytes:
    headers = draw.choice(
        (
            [], [b"Host"], [b"Host: a", b"Host: b"], [b": x"], [b"A" * 70_000 + b": b"], [b"X: " + b"\x00\x01"],
            [b"X: a\r\n folded"], [b"X-%d: y" % i for i in range(3000)], [b"Host: \xff\xfe"],
            [b"Cookie: " + b";" * 9000],
            [b"Expect: 100-continue", b"Host: x"], [b"Upgrade: websocket", b"Connection: Upgrade", b"Host: x"],
            [b"Content-Length: -1"], [b"Content-Length: abc"], [b"Content-Length: 5", b"Content-Length: 6"],
            [b"Content-Length: " + b"9" * 30], [b"Content-Length: 1_0"], [b"Content-Length: +5"],
        )
    )  # fmt: skip
    return _request(b"POST /v1/summarize HTTP/1.1", headers, GOOD)


def _chunks(draw: random.Random) -> bytes:
    head = [b"Host: x", b"Transfer-Encoding: chunked"]
    if draw.random() < 0.3:
        head.append(b"Content-Length: 3")
    body = draw.choice(
        (
            b"zz\r\n", b"-1\r\nx\r\n0\r\n\r\n", b"5\r\nab\r\n", b"ffffffffffffffffff\r\n",
            b"1;" + b"x" * 9000 + b"\r\n",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD), b"0\r\nTrailer: x\r\n\r\n", b"100000\r\n" + b"a" * 0x100000,
        )
    )  # fmt: skip
    return _request(b"POST /v1/summarize HTTP/1.1", head, body)


def _pipelined(draw: random.Random) -> bytes:
    good = _request(b"POST /v1/summarize HTTP/1.1", [b"Host: x", b"Content-Length: %d" % len(GOOD)], GOOD)
    return good * draw.randrange(2, 5) + draw.choice((b"", b"\x00", good[:40]))


def _short(draw: random.Random) -> bytes:
    """Less or more of a body than was announced."""
    length = len(GOOD) + draw.choice((-20, -1, 1, 500))
    return _request(b"POST /v1/summarize HTTP/1.1", [b"Host: x", b"Content-Length: %d" % length], GOOD)


_RAW: Final = (_noise, _lines, _lines, _headers, _headers, _chunks, _pipelined, _short)


def slow_parts(seed: int, count: int) -> Iterator[list[bytes]]:
    """Yield requests in parts that are sent one a second, of which the last never completes the body."""
    draw = random.Random(seed)
    for _ in range(count):
        head = _request(b"POST /v1/summarize HTTP/1.1", [b"Host: x", b"Content-Length: 5000"])
        yield [head, *(b" " * draw.randrange(1, 5) for _ in range(draw.randrange(1, 6)))]
