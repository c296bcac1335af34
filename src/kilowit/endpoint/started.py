"""A server in a process of its own for as long as a block of Python lasts: notebooks, scripts, tests.

The process is `kilowit serve`, so that what it takes is metered apart from the program that asks it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.errors import ExecutorError

STOP_SECOND: Final = 40.0  # the longest deadline of a request, and the time to close the books
REQUEST_SECOND: Final = 60.0


@dataclass(frozen=True)
class StartedEndpoint:
    """A server that answers at `url`."""

    url: str

    def summarize(self, text: str | Sequence[str], **asked: Any) -> dict[str, Any]:
        """Ask for the summary of a document, or of several; the answer has ``summaries`` and their ``bill``.

        Args:
            text: the document or documents.
            asked: other fields of a request, e.g. ``model="fp32"``, ``max_new_tokens=40``, ``client="team-a"``.

        Raises:
            ExecutorError: the server refuses, or does not answer.
        """
        body = {"text": text if isinstance(text, str) else list(text), **asked}
        return self._json("/v1/summarize", body)

    def totals(self) -> dict[str, Any]:
        """Return the books: today's and all requests, idling, power, the models."""
        return self._json("/v1/totals")

    def carbon(self, **asked: Any) -> dict[str, Any]:
        """Price a request (``request_id=``), plain joules or all of today anew, e.g. for ``region="country/FR"``."""
        return self._json("/v1/carbon", asked)

    def page(self) -> str:
        """Return the HTML of the page that people see."""
        return self._read(urllib.request.Request(f"{self.url}/"))

    def _json(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        answer: dict[str, Any] = json.loads(self._read(urllib.request.Request(f"{self.url}{path}", data, headers)))
        return answer

    def _read(self, request: urllib.request.Request) -> str:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it listens on this machine
        try:
            with direct.open(request, timeout=REQUEST_SECOND) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            raise ExecutorError(f"{error.code}: {told}", place=request.full_url) from error
        except OSError as error:
            raise ExecutorError(f"no answer ({error})", place=request.full_url, hint="Is it still up?") from error


@contextlib.contextmanager
def start_endpoint(
    models: Mapping[str, str | Path], *, store: str | Path, options: Sequence[str] = ()
) -> Iterator[StartedEndpoint]:
    """Serve models on a free port of this machine until the block ends; requests that wait are answered first.

    Args:
        models: run, exported or model's folders, or ids of the hub, by the names that requests call them by.
        store: folder of ledger and books, gone on with.
        options: further options of ``kilowit serve``, e.g. ``("--region", "country/FR")``.

    Raises:
        ExecutorError: the server cannot be started; with what it said.

    Example:
        >>> with start_endpoint({"news": "exported"}, store="serving") as endpoint:  # doctest: +SKIP
        ...     endpoint.summarize("A long text.")["summaries"][0]["text"]
    """
    named = [f"{name}={model}" for name, model in models.items()]
    command = [sys.executable, "-P", "-m", "kilowit", "serve", *named, "--port", "0", "--store", str(store), *options]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                process.wait()
                said.seek(0)
                raise ExecutorError(f"the server did not start: {said.read().strip()}", place="kilowit serve")
            yield StartedEndpoint(url)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECOND)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
