"""Meters what runs inside Triton: every batch is a phase, by the rule of our own endpoint.

Triton's models ask over a Unix socket (`kilowit.parts.triton_meter` says how). One batch is let through at a time,
which makes a batch's joules its own; what waits, waits in Triton and in the socket. All between batches is idling.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from kilowit.endpoint.bill import bill
from kilowit.endpoint.books import IDLE, Share, cost_of, token_fractions
from kilowit.endpoint.job import Cost
from kilowit.endpoint.keeper import Keeper
from kilowit.meter import Meter
from kilowit.parts.triton_meter import UNKNOWN, Row
from kilowit.settings import FactorSettings

IDLE_SLICE_SECOND: Final = 5.0  # idling is booked at least so often
LONGEST_ID: Final = 128  # of a request, in the books


class _Model(NamedTuple):
    """A model's end of the connection."""

    connection: socket.socket
    lines: BinaryIO


class TritonMeter:
    """The meter's end of all connections.

    Attributes:
        path: of the socket.

    Args:
        meter: has been started.
        keeper: of the books.
        factors: region, machine and PUE that grams are counted with.
    """

    def __init__(self, meter: Meter, keeper: Keeper, factors: FactorSettings) -> None:
        self._meter, self._keeper, self._factors = meter, keeper, factors
        self._folder = tempfile.TemporaryDirectory(prefix="kilowit-")  # short, as the address of a socket must be
        self.path = Path(self._folder.name) / "meter"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._models: list[_Model] = []

    def run(self, pid: int) -> None:
        """Meter batch after batch until a process has ended."""
        ended = os.pidfd_open(pid)
        self._selector.register(ended, selectors.EVENT_READ, ended)
        try:
            while True:
                for event in self._ready():
                    if event == ended:
                        return
                    if event is None:
                        self._accept()
                    else:
                        self._serve(event)
        finally:
            self._selector.unregister(ended)
            os.close(ended)

    def close(self) -> None:
        """Close all connections."""
        for model in list(self._models):
            self._drop(model)
        self._selector.close()
        self._listening.close()
        self._folder.cleanup()

    def _ready(self) -> list[Any]:
        """Return what has something to say; where that takes a while, idle."""
        events = self._selector.select(0)
        if not events:
            with self._meter.phase(IDLE) as phase:
                events = self._selector.select(IDLE_SLICE_SECOND)
            assert phase.result is not None
            self._keeper.keep(cost_of(phase.result))
        return [key.data for key, _ in events]

    def _accept(self) -> None:
        connection, _ = self._listening.accept()
        model = _Model(connection, connection.makefile("rb"))
        self._models.append(model)
        self._selector.register(connection, selectors.EVENT_READ, model)

    def _drop(self, model: _Model) -> None:
        self._models.remove(model)
        self._selector.unregister(model.connection)
        model.lines.close()
        model.connection.close()

    def _serve(self, model: _Model) -> None:
        """Let one batch through and answer with what it took; a model that went meanwhile failed."""
        asked = _read(model)
        if asked is None:
            self._drop(model)
            return
        name = str(asked["begin"])
        with self._meter.phase(f"serve {name}") as phase:
            _write(model, {})
            told = _read(model) or {"failed": "the model's process has ended"}
            rows = [Row(*row) for row in told.get("rows", [])]
            phase.count(
                num_examples=len(rows),
                num_input_tokens=sum(row.num_input_tokens for row in rows),
                num_output_tokens=sum(row.num_output_tokens for row in rows),
            )
        assert phase.result is not None
        cost = cost_of(phase.result)
        if rows:
            _write(model, {"costs": self._book(name, cost, rows, int(told["num_beams"]))})
        else:
            self._keeper.book(f"failed {name}", cost)
            self._meter.note("warning", f"serve {name}: {told['failed']}")
            _write(model, {})

    def _book(self, name: str, cost: Cost, rows: Sequence[Row], num_beams: int) -> list[list[float]]:
        """Book a batch on its documents; return joules and grams of each."""
        num_in, num_out = [row.num_input_tokens for row in rows], [row.num_output_tokens for row in rows]
        fractions = token_fractions(num_in, num_out, num_beams)
        shares = [
            Share(row.request_id[:LONGEST_ID], row.client, row.num_input_tokens, row.num_output_tokens, fraction)
            for row, fraction in zip(rows, fractions, strict=True)
        ]
        self._keeper.book(name, cost, shares)
        bills = [bill(cost.share(fraction), self._factors) for fraction in fractions]
        return [[_known(billed["energy_joule"]), _known(billed["co2e_gram"])] for billed in bills]


def _known(value: float | None) -> float:
    return UNKNOWN if value is None else value


def _read(model: _Model) -> dict[str, Any] | None:
    """Return what a model says; None if it has gone."""
    try:
        line = model.lines.readline()
    except OSError:
        return None
    told: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
    return told


def _write(model: _Model, message: dict[str, Any]) -> None:
    """Answer a model; one that has gone is found out at the next reading."""
    try:
        model.connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return
