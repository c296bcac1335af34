"""Other meters run beside ours: their sums are in the ledger and on no bill, and their faults cost a line."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from kilowit import Meter
from kilowit.errors import PartError
from kilowit.meter import MeterResult, read_ledger
from kilowit.parts.sensor import default_sensors, second_opinions
from kilowit.parts.sensors._opinion_process import refuse_network
from kilowit.run.opinions import opinions_of


def metered(folder: Path, names: list[str], *, country: str = "France") -> MeterResult:
    """Meter a second of work beside other meters."""
    sensors = [*default_sensors(), *second_opinions(names, country)]
    with Meter(folder, sensors=sensors, period_second=0.3) as meter, meter.phase("train"):
        end = meter._clock() + 1.2
        while meter._clock() < end:
            sum(range(1000))
    return meter.stop()


def stand_in(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import zeus` in the tool's process run this code."""
    (folder / "zeus").mkdir()
    (folder / "zeus" / "__init__.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture(scope="module")
def beside_codecarbon(tmp_path_factory: pytest.TempPathFactory) -> tuple[MeterResult, Path]:
    if importlib.util.find_spec("codecarbon") is None:
        pytest.skip("needs CodeCarbon: pip install 'kilowit[codecarbon]'")
    folder = tmp_path_factory.mktemp("run")
    return metered(folder, ["codecarbon"]), folder


def test_codecarbon_counts_beside_us_and_is_on_no_bill(beside_codecarbon: tuple[MeterResult, Path]) -> None:
    result, _ = beside_codecarbon
    (opinion,) = opinions_of(["codecarbon"], result)
    assert opinion.why_not is None and opinion.version is not None and "grid of France" in opinion.basis
    assert opinion.energy_cpu_joule is not None and opinion.energy_dram_joule is not None
    assert opinion.energy_cpu_joule > 0 and opinion.energy_dram_joule > 0
    # Its table says 30 to 90 g/kWh for France, of one release or another.
    kwh = (opinion.energy_cpu_joule + opinion.energy_dram_joule + (opinion.energy_gpu_joule or 0)) / 3.6e6
    assert opinion.co2e_kg is not None and 0.03 < opinion.co2e_kg / kwh < 0.09
    assert opinion.cpu_second is not None and 0 <= opinion.cpu_second < 1.2
    assert opinion.startup_second is not None and opinion.startup_second > opinion.cpu_second
    assert "codecarbon" not in result.signature and "codecarbon" not in result.total.energy_total_source
    parts = [getattr(result.total, f"energy_{d}_joule") for d in ("gpu", "cpu", "dram", "other")]
    assert result.total.energy_total_joule == pytest.approx(sum(joule for joule in parts if joule is not None))


def test_a_run_that_was_killed_keeps_the_opinion_up_to_its_last_line(
    beside_codecarbon: tuple[MeterResult, Path], tmp_path: Path
) -> None:
    result, folder = beside_codecarbon
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"sample"' in line)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines[: last + 1]) + b'{"event":"samp')
    (whole,), (cut,) = opinions_of(["codecarbon"], result), opinions_of(["codecarbon"], read_ledger(tmp_path))
    assert whole.energy_cpu_joule is not None and cut.energy_cpu_joule is not None
    assert 0 < cut.energy_cpu_joule <= whole.energy_cpu_joule
    assert (cut.tool, cut.version, cut.basis) == (whole.tool, whole.version, whole.basis)


def test_zeus_measures_or_says_that_there_is_nothing_to_read(tmp_path: Path) -> None:
    if importlib.util.find_spec("zeus") is None:
        pytest.skip("needs Zeus: pip install 'kilowit[zeus]'")
    result = metered(tmp_path, ["zeus"])
    (opinion,) = opinions_of(["zeus"], result)
    measured = [opinion.energy_gpu_joule, opinion.energy_cpu_joule, opinion.energy_dram_joule]
    if opinion.why_not is None:
        assert any(joule is not None and joule >= 0 for joule in measured)
    else:
        assert measured == [None, None, None]
        assert opinion.why_not.startswith("none:nothing_to_read: ")
        assert any(text.startswith("sensor zeus: none:nothing_to_read") for text in result.warnings)
    assert result.phase("train") is not None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ModuleNotFoundError(\"No module named 'zeus'\", name='zeus')", "none:not_installed"),
        ("import os; os._exit(3)", "none:error: its process ended"),
        ("1 / 0", "none:error: ZeroDivisionError"),
    ],
)
def test_a_tool_that_is_absent_or_broken_is_a_warning_and_the_run_goes_on(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, code, monkeypatch)
    sensors = second_opinions(["zeus"])
    with Meter(sensors=sensors, period_second=None) as meter, meter.phase("train"):
        pass
    (opinion,) = opinions_of(["zeus"], meter.stop())
    assert opinion.why_not is not None and opinion.why_not.startswith(said)


def test_a_tool_that_would_reach_the_network_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        stand_in(tmp_path, code, monkeypatch)
        with Meter(sensors=second_opinions(["zeus"]), period_second=None) as meter:
            pass
        with pytest.raises(TimeoutError):
            server.accept()
    (opinion,) = opinions_of(["zeus"], meter.stop())
    assert opinion.why_not is not None and "kept off the network" in opinion.why_not


def test_sockets_of_this_machine_are_left_alone() -> None:
    refuse_network("socket.connect", (None, "/run/zeusd.sock"))
    refuse_network("open", ("file", "r", 0))
    for event, arguments in (("socket.connect", (None, ("10.0.0.1", 80))), ("socket.getaddrinfo", ("host", 80))):
        with pytest.raises(PermissionError, match="kept off the network"):
            refuse_network(event, arguments)


def test_a_sensor_of_ours_is_no_second_opinion() -> None:
    with pytest.raises(PartError, match='sensor "rapl" gives no second opinion'):
        second_opinions(["rapl"])
