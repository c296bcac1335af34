"""Four patterns of requests in a time that is moved by hand: a summary takes 0.2 s, and 0.1 s more for each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilowit.serving.scenarios import Clock, Served, arrival_seconds, play, warm_up
from kilowit.serving.summarizer import Written
from kilowit.settings import ScenarioName, ServeSettings

DOCUMENTS = [f"document {i}" for i in range(10)]


class Bench:
    """A clock and a summarizer on it."""

    def __init__(self) -> None:
        self.second = 100.0
        self.calls: list[list[str]] = []

    def now(self) -> float:
        return self.second

    def sleep(self, second: float) -> None:
        assert second > 0
        self.second += second

    def answer(self, documents: Sequence[str], size: int) -> list[Written]:
        assert len(documents) > 0
        self.calls.append(list(documents))
        for start in range(0, len(documents), size):
            self.second += 0.2 + 0.1 * (len(documents[start : start + size]) - 1)
        return [Written(f"of {d}", [1, 2], 3) for d in documents]

    def play(self, scenario: ScenarioName, **settings: float) -> Served:
        asked = ServeSettings.model_validate(settings)
        return play(scenario, DOCUMENTS, self.answer, asked, seed=0, clock=Clock(self.now, self.sleep))


def test_single_stream_asks_for_one_after_another() -> None:
    bench = Bench()
    served = bench.play("single_stream", batch_size=4)
    assert [len(call) for call in bench.calls] == [1] * 10
    assert served.latency_second == pytest.approx([0.2] * 10)
    assert [served.written[i].text for i in range(10)] == [f"of {d}" for d in DOCUMENTS]


def test_a_document_of_a_batch_waits_for_the_whole_batch() -> None:
    bench = Bench()
    served = bench.play("fixed_batch", batch_size=4)
    assert [len(call) for call in bench.calls] == [4, 4, 2]
    assert served.latency_second == pytest.approx([0.5] * 8 + [0.3] * 2)


def test_requests_stop_at_the_limit_and_the_rest_is_counted() -> None:
    served = Bench().play("single_stream", max_second=0.5)
    assert (len(served.written), served.num_unserved) == (3, 7)


def test_offline_gives_everything_at_once_and_nobody_waits() -> None:
    bench = Bench()
    served = bench.play("offline", batch_size=4)
    assert bench.calls == [DOCUMENTS]
    assert (served.latency_second, len(served.written)) == ([], 10)


def test_random_requests_wait_while_the_summarizer_is_busy() -> None:
    """Ten requests in a moment: the first is served alone, all that came meanwhile in batches of four."""
    bench = Bench()
    served = bench.play("random_arrivals", rate_per_second=1000.0, batch_size=4)
    assert [len(call) for call in bench.calls] == [1, 4, 4, 1]
    assert served.wait_second[0] == pytest.approx(0.0, abs=1e-3)
    assert served.latency_second[1] == pytest.approx(0.7, abs=0.01)  # 0.2 of the first, 0.5 of its own batch
    assert served.latency_second[-1] == pytest.approx(0.2 + 0.5 + 0.5 + 0.2, abs=0.02)


def test_random_requests_that_come_rarely_are_served_at_once() -> None:
    bench = Bench()
    served = bench.play("random_arrivals", rate_per_second=0.1, max_second=1e6)
    assert served.wait_second == pytest.approx([0.0] * 10, abs=1e-3)
    assert bench.second - 100.0 > 10 / 0.1 / 3  # it waited in real time


def test_random_requests_end_at_the_limit() -> None:
    bench = Bench()
    served = bench.play("random_arrivals", rate_per_second=1000.0, batch_size=1, max_second=0.7)
    assert (len(served.written), served.num_unserved) == (4, 6)


def test_warm_up_has_the_form_of_the_scenario() -> None:
    for scenario, sizes in (("single_stream", [1, 1]), ("fixed_batch", [8, 2]), ("offline", [8, 2])):
        bench = Bench()
        settings = ServeSettings(batch_size=8, num_warmup_requests=2)
        warm_up(scenario, DOCUMENTS, bench.answer, settings)  # type: ignore[arg-type]
        assert [len(call) for call in bench.calls] == sizes


@given(st.integers(1, 200), st.floats(0.01, 1e3), st.floats(0.01, 1e3), st.integers(0, 2**32 - 1))
def test_arrivals_grow_stay_within_the_limit_and_are_the_same_for_a_seed(
    num: int, rate: float, limit: float, seed: int
) -> None:
    moments = arrival_seconds(num, rate, limit, seed)
    assert len(moments) <= num
    assert all(0 <= a <= b <= limit for a, b in itertools.pairwise([0.0, *moments]))
    assert moments == arrival_seconds(num, rate, limit, seed)


def test_arrivals_have_the_rate_that_was_asked_for() -> None:
    """The mean of 4,000 exponential gaps is within 5 % of 1/rate: its standard error is 1.6 %."""
    moments = arrival_seconds(4000, 5.0, 1e9, 1)
    assert moments[-1] / 4000 == pytest.approx(0.2, rel=0.05)
