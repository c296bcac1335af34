"""What Triton's models and the meter say to each other: real sockets, a scripted sensor, no Triton."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint_bench import WATT, SteadySensor
from kilowit.endpoint.books import IDLE, Books, cost_of
from kilowit.endpoint.keeper import Keeper
from kilowit.endpoint.triton_meter import TritonMeter
from kilowit.meter import Meter
from kilowit.parts.triton_meter import UNKNOWN, VARIABLE, BatchMeter, Row
from kilowit.settings import FactorSettings

ROWS = [Row("a", "news", 30, 10), Row("b", "", 10, 10)]


class Running:
    """A meter that answers until `stop`; what it metered and booked."""

    def __init__(self, folder: Path) -> None:
        self.meter = Meter(folder, sensors=[SteadySensor()], period_second=None)  # type: ignore[list-item]
        self.books = Books(folder)
        self.keeper = Keeper(self.meter, self.books)
        self.meter.start()
        self.answering = TritonMeter(self.meter, self.keeper, FactorSettings(region="country/FR"))
        self.served = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # stands for Triton
        self.thread = threading.Thread(target=self.answering.run, args=(self.served.pid,))
        self.thread.start()

    def stop(self) -> None:
        self.served.communicate(b"\n")
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.answering.close()
        result = self.meter.stop()
        self.keeper.book_rest(result.total, cost_of(result.total))
        self.total_joule = result.total.energy_total_joule
        self.warnings = result.warnings


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    running = Running(tmp_path / "books")
    monkeypatch.setenv(VARIABLE, str(running.answering.path))
    yield running
    with contextlib.suppress(ProcessLookupError):
        running.served.kill()


def test_a_batch_is_shared_out_by_tokens_and_all_of_it_is_what_the_meter_saw(running: Running) -> None:
    model = BatchMeter.connect("tiny")
    model.begin()
    time.sleep(0.2)
    taken = model.end(2, ROWS)
    model.close()
    running.stop()
    assert taken[0].joule / taken[1].joule == pytest.approx((30 + 2 * 10) / (10 + 2 * 10), rel=1e-4)
    assert sum(cost.joule for cost in taken) >= 0.2 * WATT
    assert taken[0].gram > taken[1].gram > 0
    sums = running.books.sums()
    assert sums["tiny"].num_documents == 2
    assert sums["tiny"].joule == pytest.approx(sum(cost.joule for cost in taken), rel=1e-4)
    assert running.books.sums(of=lambda account: account.client)["news"].num_documents == 1
    assert sum(amount.joule for amount in sums.values()) == pytest.approx(running.total_joule, rel=1e-3)
    assert IDLE in sums


def test_one_batch_is_let_through_at_a_time(running: Running) -> None:
    seen: list[str] = []

    def compute(name: str) -> None:
        model = BatchMeter.connect(name)
        for _ in range(5):
            model.begin()
            seen.append(f"{name} begins")
            time.sleep(0.005)
            seen.append(f"{name} ends")
            model.end(1, ROWS)
        model.close()

    threads = [threading.Thread(target=compute, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    running.stop()
    assert [event.partition(" ")[0] for event in seen[::2]] == [event.partition(" ")[0] for event in seen[1::2]]
    assert {name: running.books.sums()[name].num_documents for name in ("a", "b")} == {"a": 10, "b": 10}


def test_a_batch_that_fails_and_a_model_that_dies_are_booked_on_nobody(running: Running) -> None:
    model = BatchMeter.connect("tiny")
    model.begin()
    model.fail("ValueError: too hot")
    model.begin()
    model.close()  # in the middle of a batch
    other = BatchMeter.connect("tiny")
    other.begin()
    assert other.end(1, ROWS)[0].joule > 0
    other.close()
    running.stop()
    sums = running.books.sums()
    assert sums["failed tiny"].second > 0 and sums["tiny"].num_documents == 2
    assert any("too hot" in text for text in running.warnings)
    assert any("process has ended" in text for text in running.warnings)


def test_without_a_meter_and_after_its_end_summaries_go_on_at_unknown_cost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BatchMeter.connect("tiny")
    running.stop()
    model.begin()
    assert [cost.joule for cost in model.end(1, ROWS)] == [UNKNOWN, UNKNOWN]
    monkeypatch.delenv(VARIABLE)
    alone = BatchMeter.connect("tiny")
    alone.begin()
    assert not alone.is_connected and alone.end(1, ROWS)[1] == (UNKNOWN, UNKNOWN)
