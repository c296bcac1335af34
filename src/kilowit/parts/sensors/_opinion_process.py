"""The process in which another tool measures beside us: ``python -m kilowit.parts.sensors._opinion_process TOOL``.

Apart from ours, so that neither its imports nor its threads nor its faults are in the metered process; and kept off the
network: Python's audit hook refuses every connection but those of this machine. It is told ``begin`` and ``read`` by
lines on its stdin and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

JOULE_PER_KWH: Final = 3_600_000.0
MILLIGRAM_PER_KG: Final = 1e6
_REFUSED: Final = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto"})
LONG_SECOND: Final = 86_400.0  # we ask it to measure; two clocks that measure can count one interval twice


class Tool(Protocol):
    """Another meter."""

    version: str
    basis: str
    devices: list[str]  # of gpu, cpu, dram: those that it measures

    def begin(self) -> None:
        """Start to count."""

    def read(self) -> dict[str, float]:
        """Return what was counted since `begin`: joules by device, and ``co2e_milligram`` where it is known."""


class CodeCarbon:
    """CodeCarbon's offline tracker, asked for a measurement at each of our samples.

    Args:
        country: the English name of the country, or "": then its grid factor is 0, and its CO2e is left out.
    """

    def __init__(self, country: str) -> None:
        import codecarbon
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.output import BaseOutput

        class Latest(BaseOutput):  # type: ignore[misc]
            data: Any = None

            def out(self, total: Any, delta: Any) -> None:
                self.data = total

            def live_out(self, total: Any, delta: Any) -> None:
                """Do nothing: we ask."""

        self._latest = Latest()
        self._country = country
        iso3 = _iso3(country)
        where = {"country_iso_code": iso3} if iso3 else {"force_carbon_intensity_g_co2e_kwh": 0}
        self._has_grid = bool(iso3)
        self._tracker = OfflineEmissionsTracker(
            measure_power_secs=LONG_SECOND, output_methods=[], output_handlers=[self._latest], api_call_interval=-1,
            log_level="critical", allow_multiple_runs=True, tracking_mode="machine", pue=1.0, **where,
        )  # fmt: skip
        found = self._tracker.get_detected_hardware()
        self.version = str(codecarbon.__version__)
        self.devices = ["cpu", "dram", *(["gpu"] if found["gpu_count"] else [])]
        kinds = ", ".join(str(item) for item in self._tracker._conf.get("hardware", []))
        place = f"grid of {country}" if iso3 else "no country known"
        self.basis = f"{kinds}; {found['cpu_model']}, {found['ram_total_size']:.1f} GiB; {place}"

    def begin(self) -> None:
        """Start to count."""
        self._tracker.start()

    def read(self) -> dict[str, float]:
        """Let it measure; return its sums."""
        self._tracker.flush()
        data = self._latest.data
        kwh = {"cpu": data.cpu_energy, "dram": data.ram_energy, "gpu": data.gpu_energy}
        joules = {device: JOULE_PER_KWH * float(kwh[device]) for device in self.devices}
        return {**joules, **({"co2e_milligram": MILLIGRAM_PER_KG * float(data.emissions)} if self._has_grid else {})}


def _iso3(country: str) -> str | None:
    """Return the code of a country by its name in ISO 3166, if CodeCarbon has a grid factor for it."""
    import pycountry  # a dependency of CodeCarbon's
    from codecarbon.input import DataSource

    found = pycountry.countries.get(name=country)
    return found.alpha_3 if found and found.alpha_3 in DataSource().get_global_energy_mix_data() else None


class Zeus:
    """ZeusMonitor's window from begin to now."""

    def __init__(self, country: str) -> None:
        import zeus
        from zeus.monitor import ZeusMonitor

        self.version = str(zeus.__version__)
        self._monitor = ZeusMonitor()
        gpus, cpus = self._monitor.gpu_indices, self._monitor.cpu_indices
        if not gpus and not cpus:
            raise NothingToReadError("it finds no GPU and no RAPL counter that it may read, and models nothing")
        self.devices = [*(["gpu"] if gpus else []), *(["cpu", "dram"] if cpus else [])]
        self.basis = f"NVML counters of {len(gpus)} GPUs, RAPL of {len(cpus)} packages"

    def begin(self) -> None:
        """Open the window."""
        self._monitor.begin_window("run", sync_execution=False)
        self._state = self._monitor.measurement_states["run"]
        if "dram" in self.devices and not self._state.dram_energy:
            self.devices.remove("dram")

    def read(self) -> dict[str, float]:
        """End the window and put its start back: windows one after another would lose what lies between them."""
        self._monitor.measurement_states["run"] = self._state
        measured = self._monitor.end_window("run", sync_execution=False)
        by_device = {"gpu": measured.gpu_energy, "cpu": measured.cpu_energy, "dram": measured.dram_energy}
        return {device: float(sum((by_device[device] or {}).values())) for device in self.devices}


class NothingToReadError(Exception):
    """The tool is here, and this machine gives it nothing."""


TOOLS: Final[dict[str, Callable[[str], Tool]]] = {"codecarbon": CodeCarbon, "zeus": Zeus}


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what leaves this machine; an audit hook."""
    if event in _REFUSED or (event == "socket.connect" and not isinstance(arguments[1], str | bytes)):
        raise PermissionError(f"{event} {arguments[1:]!r:.80}: a second opinion is kept off the network")


def main(name: str, country: str) -> int:
    """Serve one tool until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print as they are imported
    sys.addaudithook(refuse_network)
    logging.disable(logging.CRITICAL)
    began_second = time.monotonic()
    try:
        tool = TOOLS[name](country)
    except Exception as error:  # whatever it is: the study goes on without this opinion
        _answer(answers, source=_source_of(error), why=_why(error))
        return 1
    startup = {"startup_second": time.monotonic() - began_second, "startup_cpu_second": cpu_second()}
    _answer(answers, version=tool.version, basis=tool.basis, **startup)
    for line in sys.stdin:
        try:
            if line.strip() == "begin":
                tool.begin()
            _answer(answers, asked=line.strip(), devices=tool.devices, read=tool.read(), cpu_second=cpu_second())
        except Exception as error:
            _answer(answers, asked=line.strip(), why=_why(error))
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(0)  # a tool's own threads would hold us


def cpu_second() -> float:
    """Return the processor time of this process and of those that it started."""
    import psutil

    own = psutil.Process()
    times = [own.cpu_times()]
    for child in own.children(recursive=True):
        try:
            times.append(child.cpu_times())
        except psutil.Error:
            continue  # it has just ended
    return float(sum(t.user + t.system for t in times))


def _source_of(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "none:not_installed"
    return "none:nothing_to_read" if isinstance(error, NothingToReadError) else "none:error"


def _why(error: Exception) -> str:
    known = isinstance(error, NothingToReadError)
    return str(error) if known else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _answer(answers: Any, **what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
