"""Fuzz `kilowit serve`: no 5xx but a deliberate 503, no hang, no traceback, answers as the OpenAPI page says.

    python benchmarks/endpoint_fuzz.py MODEL [--requests 10000] [--seed 0]

Half of the requests come from schemathesis, right and wrong by our own OpenAPI; the others are bodies and bytes of
`endpoint_fuzz_cases`: damaged and deep JSON, NaN, other encodings and content types, tensors of odd shapes, broken
HTTP, bodies that never end. Between them a good request must be answered. The server's log must hold no traceback.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as with_seed
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bars import Bar, at_most, report
from endpoint_fuzz_cases import Body, bodies, raw_bytes, slow_parts
from endpoint_process import Served, serving

TIMEOUT_SECOND = 40.0  # no answer by then is a hang: the deadline is 30 s, a body may take 10 s
SETTLE_SECOND = 0.3  # broken HTTP may rightly wait for more: its client goes after this
NUM_AT_ONCE = 8
GOOD: dict[str, Any] = {"text": "return the value of the list", "max_new_tokens": 2}
SCHEMA_SHARE, RAW_SHARE, SLOW_SHARE = 0.5, 0.15, 0.005
WEIGHTS = {"POST": 10, "GET": 1}  # how often an operation is asked, by its method


@dataclass
class Outcome:
    """What was answered, and what was wrong with it."""

    codes: Counter[int] = field(default_factory=Counter)  # 0 = the connection was closed without an answer
    problems: list[str] = field(default_factory=list)

    @property
    def num_requests(self) -> int:
        """How many were sent."""
        return self.codes.total()

    def note(self, status: int, problem: str | None) -> None:
        """Count an answer."""
        self.codes[status] += 1
        if problem:
            self.problems.append(problem)


def fuzz(served: Served, num_requests: int, seed: int) -> Outcome:
    """Send all of it."""
    outcome = Outcome()
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    num_schema, num_raw = int(num_requests * SCHEMA_SHARE), int(num_requests * RAW_SHARE)
    num_slow = max(1, int(num_requests * SLOW_SHARE))

    def left() -> int:
        return num_requests - outcome.num_requests

    steps: list[tuple[str, Any]] = [
        ("schema", lambda: fuzz_schema(schema, num_schema, seed, outcome)),
        (
            "bodies",
            lambda: fuzz_bodies(
                served, schema, num_requests - outcome.num_requests - num_raw - num_slow, seed, outcome
            ),
        ),
        ("bytes", lambda: _many(lambda content: send_raw(served, [content]), raw_bytes(seed, num_raw), outcome)),
        ("slow", lambda: _many(lambda parts: send_raw(served, parts), slow_parts(seed, num_slow), outcome)),
    ]
    for name, step in steps:
        began_second = time.monotonic()
        step()
        for is_stream in (False, True):
            body = GOOD | {"stream": is_stream}
            answer = requests.post(f"{served.url}/v1/summarize", json=body, timeout=TIMEOUT_SECOND)
            wrong = beside_schema(schema["/v1/summarize"]["POST"], answer)
            problem = wrong if answer.ok else f"after {name}: a good request got {answer.text}"
            outcome.note(answer.status_code, problem)
        print(f"{name}: {outcome.num_requests} requests so far, {time.monotonic() - began_second:.0f} s", flush=True)
    if "Traceback" in served.said():
        outcome.problems.append(f"traceback in the log: {served.said()[-2000:]}")
    return outcome


def fuzz_schema(schema: Any, num_requests: int, seed: int, outcome: Outcome) -> None:
    """Ask every operation with what schemathesis makes of our OpenAPI, right and wrong."""
    operations = [result.ok() for result in schema.get_all_operations()]
    whole = sum(WEIGHTS[operation.method.upper()] for operation in operations)
    for operation in operations:
        count = num_requests * WEIGHTS[operation.method.upper()] // whole
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with suppress(Unsatisfiable):  # nothing could be wrong with a GET that takes nothing, or any name
                _ask(operation, mode, max(1, count // 2), seed, outcome)


def _ask(operation: Any, mode: GenerationMode, count: int, seed: int, outcome: Outcome) -> None:
    """Ask one operation; schemathesis checks status, content type and schema, and that wrong input is refused."""

    @with_seed(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        problem, status = None, 0
        try:
            answer = case.call(timeout=TIMEOUT_SECOND)
            status, problem = answer.status_code, judge(answer.status_code, answer.content, answer.headers)
            # What a schema cannot say (one input called text, not more tokens than the model reads) is refused rightly.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])
        except (Failure, FailureGroup) as failure:
            failures = [
                f
                for f in getattr(failure, "exceptions", [failure])
                if not (status == 503 and "server error" in str(f).lower())
            ]
            problem = problem or "; ".join(f"{case.method} {case.path}: {each}" for each in failures) or None
        except requests.RequestException as error:
            problem = f"{case.method} {case.path}: {error}"
        outcome.note(status, problem)

    ask()


def fuzz_bodies(served: Served, schema: Any, num_requests: int, seed: int, outcome: Outcome) -> None:
    """Post bodies of our own making; answers are held to the schema of their operation."""
    paths = {
        "/v1/summarize": "/v1/summarize",
        "/v1/carbon": "/v1/carbon",
        "/v2/models/a/infer": "/v2/models/{model}/infer",
        "/v2/models/b/versions/1/infer": "/v2/models/{model}/versions/{version}/infer",
    }

    def post(body: Body) -> tuple[int, str | None]:
        headers = {name: value.encode() for name, value in body.headers.items()}
        try:
            answer = requests.post(f"{served.url}{body.path}", body.content, headers=headers, timeout=TIMEOUT_SECOND)
        except requests.ConnectionError as error:
            # A body that is too long is refused while it is still being sent: the answer may be lost with the rest.
            return 0, None if len(body.content) > 1_000_000 else f"{body}: {error}"
        except requests.RequestException as error:
            return 0, f"{body.path} {body.content[:200]!r}: {error}"
        problem = judge(answer.status_code, answer.content, answer.headers)
        if problem is None and answer.status_code != 403:
            problem = beside_schema(schema[paths[body.path]]["POST"], answer)
        return answer.status_code, problem and f"{body.path} {body.content[:200]!r} {body.headers}: {problem}"

    _many(post, bodies(seed, num_requests), outcome)


def beside_schema(operation: Any, answer: requests.Response) -> str | None:
    """Return how an answer differs from what our OpenAPI says of its operation; None = it does not."""
    try:
        operation.validate_response(answer)
    except (Failure, FailureGroup) as failure:
        return f"{[str(each) for each in getattr(failure, 'exceptions', [failure])]}"
    return None


def _many(send: Any, cases: Iterable[Any], outcome: Outcome) -> None:
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        for status, problem in pool.map(send, cases):
            outcome.note(status, problem)


def send_raw(served: Served, parts: list[bytes]) -> tuple[int, str | None]:
    """Send bytes as they are, part after part, and read what comes; several parts wait for the answer, one does not."""
    is_slow = len(parts) > 1
    began_second = time.monotonic()
    received = b""
    with socket.create_connection(served.address, timeout=TIMEOUT_SECOND) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                if is_slow:
                    time.sleep(1.0)
            connection.settimeout(TIMEOUT_SECOND if is_slow else SETTLE_SECOND)
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            if is_slow:
                return 0, f"no answer to a slow body within {TIMEOUT_SECOND} s"
        except (ConnectionError, OSError):
            pass  # closed on us in mid-sentence, as it may
    if is_slow and time.monotonic() - began_second > TIMEOUT_SECOND:
        return 0, "a slow body held on too long"
    if not received:
        return 0, None
    head, _, content = received.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
    except (IndexError, ValueError):
        return 0, f"{parts[0][:200]!r}: no HTTP came back: {received[:200]!r}"
    names = [line.partition(":")[0] for line in head.decode("latin-1").split("\r\n")[1:]]
    problem = judge(status, content, names, is_broken=True)
    return status, problem and f"{parts[0][:200]!r}: {problem}"


def judge(status: int, content: bytes, headers: Iterable[str], *, is_broken: bool = False) -> str | None:
    """Return what is wrong with an answer to whatever was asked; None = nothing.

    Args:
        is_broken: the request was hardly HTTP: uvicorn answers some of those with a plain sentence.
    """
    if b"Traceback" in content or b'.py"' in content:
        return f"a traceback in an answer: {content[:300]!r}"
    if status >= 500 and status != 503:
        return f"{status}: {content[:300]!r}"
    if status == 503 and "retry-after" not in [name.lower() for name in headers]:
        return f"a 503 that was not meant: {content[:300]!r}"
    if status >= 400 and not is_broken and b'"error"' not in content:
        return f"{status} without a sentence: {content[:300]!r}"
    return None


def main() -> int:
    """Fuzz, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = [f"a={asked.model}", f"b={asked.model}"]
        with serving(models, Path(folder) / "store", "--threads", "1") as served:
            began_second = time.monotonic()
            outcome = fuzz(served, asked.requests, asked.seed)
            wall_second = time.monotonic() - began_second
        code = served.process.returncode
    for problem in outcome.problems[:400]:
        print(problem[:1500])
    codes = ", ".join(f"{status} x {count}" for status, count in sorted(outcome.codes.items()))
    return report(
        f"kilowit serve, {outcome.num_requests} fuzzed requests in {wall_second:.0f} s",
        [
            Bar("answers (0 = closed without)", codes, "", None),
            at_most("answers that are wrong, hangs, tracebacks", len(outcome.problems), 0, "", 0),
            Bar("ended well on SIGTERM", f"exit code {code}", "0", code == 0),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
