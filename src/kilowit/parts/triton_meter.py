"""How a model inside Triton asks for its batches to be metered: one line of JSON each way, over a Unix socket.

    model -> meter   {"begin": "news"}                                             may I compute? waits for the answer
    meter -> model   {}
    model -> meter   {"num_beams": 4, "rows": [["id", "client", 310, 42], ...]}     done; or {"failed": "why"}
    meter -> model   {"costs": [[0.81, 0.00012], ...]}                             joules and grams of each document

The meter lets one batch at a time begin, for whose joules were whose could not be told otherwise. Where no meter is
named in the environment, or it has gone, summaries are written all the same and their cost is unknown. This file is
copied into model repositories and imports nothing of ours; `kilowit.endpoint.triton_meter` is the other side.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

VARIABLE: Final = "KILOWIT_METER_SOCKET"
UNKNOWN: Final = -1.0  # of joules and grams, as in our Open Inference Protocol: FP64 has no other word for it


class Row(NamedTuple):
    """One document of a batch."""

    request_id: str
    client: str
    num_input_tokens: int
    num_output_tokens: int


class Taken(NamedTuple):
    """What one document took; `UNKNOWN` where nobody knows."""

    joule: float
    gram: float


class BatchMeter:
    """The model's end of the connection.

    Args:
        model: its name in the books.
        connection: to the meter; None = there is none.
    """

    def __init__(self, model: str, connection: socket.socket | None) -> None:
        self.model = model
        self._connection = connection
        self._lines = None if connection is None else connection.makefile("rb")

    @classmethod
    def connect(cls, model: str) -> BatchMeter:
        """Connect to the meter that the environment names, if it names one."""
        path = os.environ.get(VARIABLE)
        if not path:
            return cls(model, None)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return cls(model, connection)

    @property
    def is_connected(self) -> bool:
        """Whether batches are metered."""
        return self._connection is not None

    def begin(self) -> None:
        """Wait until the batch may be computed."""
        self._ask({"begin": self.model})

    def end(self, num_beams: int, rows: Sequence[Row]) -> list[Taken]:
        """Say what was computed; return what each document took."""
        told = self._ask({"num_beams": num_beams, "rows": rows})
        costs = [(UNKNOWN, UNKNOWN)] * len(rows) if told is None else told["costs"]
        return [Taken(*cost) for cost in costs]

    def fail(self, reason: str) -> None:
        """Say that the batch came to nothing."""
        self._ask({"failed": reason})

    def close(self) -> None:
        """Close the connection. Calling it again does nothing."""
        if self._connection is not None and self._lines is not None:
            self._lines.close()
            self._connection.close()
        self._connection = self._lines = None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Send a line and return the answer; None without a meter, or if it has gone."""
        if self._connection is None or self._lines is None:
            return None
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
            line = self._lines.readline()
        except OSError:
            line = b""
        if not line:
            self.close()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer
