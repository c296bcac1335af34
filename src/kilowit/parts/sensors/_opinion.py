"""Another meter as a sensor of ours: its counters are read like any, and belong to no component of the bill."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

from kilowit.errors import SensorError
from kilowit.parts.sensor import Channel, Component, Opening, Sweep, Value

READY_SECOND: Final = 90.0  # CodeCarbon imports pandas, Zeus scikit-learn: seconds, a minute on a busy machine
ANSWER_SECOND: Final = 5.0  # longer than the meter waits: who is late is read later
CLOSE_SECOND: Final = 2.0  # Zeus ends the processes that it started for RAPL
_COMMAND: Final = [sys.executable, "-P", "-m", "kilowit.parts.sensors._opinion_process"]


class OpinionSensor:
    """Runs another meter in a process of its own.

    Args:
        name: the tool.
        country: where its own grid factor is taken from; "" = unknown.
    """

    may_hang = True
    components: tuple[Component, ...] = ()  # it meters none of ours

    def __init__(self, name: str, country: str = "") -> None:
        self.name = name
        self._country = country
        self._facts: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._workspace: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start the tool, which takes seconds; what goes wrong is told by `open`."""
        self._workspace = tempfile.TemporaryDirectory(prefix="kilowit-opinion-")
        empty = self._workspace.name  # neither a configuration of the user nor his keys change what is compared
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CODECARBON_", "ZEUS"))}
        source = str(Path(__file__).resolve().parents[3])
        paths = os.pathsep.join(path for path in (source, kept.get("PYTHONPATH")) if path)
        self._process = subprocess.Popen(
            [*_COMMAND, self.name, self._country],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=empty,
            env={**kept, "HOME": empty, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )
        Thread(target=self._listen, name=f"kilowit-{self.name}", daemon=True).start()

    def await_ready(self) -> None:
        """Wait until the tool is ready, and start it if nobody has; call it before the meter starts."""
        if self._facts:
            return
        if self._process is None:
            self.start()
        try:
            self._facts = self._answers.get(timeout=READY_SECOND)
        except Empty:
            self._facts = {"source": "none:hung", "why": f"not ready within {READY_SECOND:.0f} s"}

    def open(self) -> Opening:
        """Let the tool begin to count.

        Raises:
            SensorError: it is not installed, finds nothing to read here, or failed.
        """
        self.await_ready()
        if "why" in self._facts:
            self.close()
            hint = (
                f"Install it: pip install 'kilowit[{self.name}]'." if "not_installed" in self._facts["source"] else ""
            )
            raise SensorError(self._facts["source"], self._facts["why"], hint=hint or None)
        first = self._ask("begin")
        self._facts["devices"] = first["devices"]
        return Opening([self._channel(quantity) for quantity in self._values(first)])

    def read(self, *, cheap_only: bool) -> Sweep:
        """Return the tool's sums, once a sample: a phase edge does not wait for it."""
        if cheap_only:
            return Sweep({}, {})
        values = self._values(self._ask("read"))
        return Sweep({f"{self.name}:{quantity}": value for quantity, value in values.items()}, {})

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # it is gone already
                process.stdin.close()
            try:
                process.wait(CLOSE_SECOND)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._workspace is not None:
            self._workspace.cleanup()

    def describe(self) -> dict[str, Any]:
        """Say what the tool reads, and what starting it took."""
        return {"sensor": self.name, "reads": self._facts.get("basis", ""), "second_opinion": True, **self._facts}

    def _values(self, answer: dict[str, Any]) -> dict[str, Value]:
        read = {device if "_" in device else f"{device}_joule": float(v) for device, v in answer["read"].items()}
        return {**read, "own_cpu_second": float(answer["cpu_second"])}

    def _channel(self, quantity: str) -> Channel:
        own = f"{self.name}:{quantity}"
        return Channel(own, "counter", own, f"second opinion of {self.name}", "host", is_cheap=False)

    def _ask(self, what: str) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None:
            raise SensorError("none:error", "its process is gone")
        while not self._answers.empty():  # of a question that the meter gave up
            self._answers.get()
        try:
            process.stdin.write(what.encode() + b"\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=ANSWER_SECOND)
        except (OSError, Empty) as error:
            raise SensorError("none:error", f"no answer from its process ({type(error).__name__})") from error
        if "why" in answer:
            raise SensorError("none:error", answer["why"])
        return answer

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put({"source": "none:error", "why": "its process ended"})
