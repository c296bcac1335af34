"""A server in this process: a tiny model behind ONNX Runtime, a scripted sensor, an app that a test client asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kilowit.endpoint import EndpointSettings, Engine
from kilowit.meter import Meter
from kilowit.parts.sensor import ENERGY, Channel, Opening, Sweep
from kilowit.serving import load_summarizer

WATT = 40.0


class SteadySensor:
    """A counter that takes `WATT` watts, by the real clock: joules are seconds times that, whatever runs."""

    name = "steady"
    components = ("cpu",)
    may_hang = False

    def open(self) -> Opening:
        self._began = time.monotonic()
        return Opening([Channel("steady:cpu", "counter", ENERGY, "package-0", "cpu", "rapl")])

    def read(self, *, cheap_only: bool) -> Sweep:
        return Sweep({"steady:cpu": WATT * (time.monotonic() - self._began)}, {})

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"sensor": self.name}


@contextmanager
def running_engine(folder: Path, books: Path | None = None, **limits: Any) -> Iterator[Engine]:
    """An engine with the models ``tiny`` and ``twin``."""
    settings = EndpointSettings(**{"deadline_second": 20.0, **limits})

    def load() -> Any:
        return load_summarizer(folder, num_threads=1)

    meter = Meter(books, sensors=[SteadySensor()], period_second=0.2)  # type: ignore[list-item]
    engine = Engine({"tiny": load, "twin": load}, settings, folder=books, meter=meter)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()
