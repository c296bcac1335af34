"""`kilowit serve` as a process of its own, for the benchmarks and tests that hurt it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

END_SECOND = 60.0


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        start_second: from the command to the address on stdout, after which requests are answered.
        log: what it writes to stderr.
    """

    process: subprocess.Popen[str]
    url: str
    start_second: float
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def said(self) -> str:
        """Return what it has written to stderr so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def serving(models: list[str], store: Path, *options: str) -> Iterator[Served]:
    """Start a server on a free port; stop it at the end, if it still runs, and wait for it."""
    log = store.with_suffix(".log")
    command = [sys.executable, "-m", "kilowit", "serve", *models, "--port", "0", "--store", str(store), *options]
    with log.open("w", encoding="utf-8") as errors:
        began_second = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            start_second = time.monotonic() - began_second
            if not url:
                raise RuntimeError(log.read_text(encoding="utf-8"))
            yield Served(process, url, start_second, log)
            if process.poll() is None:
                process.terminate()
                process.wait(END_SECOND)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
