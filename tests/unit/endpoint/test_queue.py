"""What waits and what is refused, by a clock that the test moves."""

from __future__ import annotations

import pytest

from kilowit.endpoint.job import Job, Refused
from kilowit.endpoint.queue import RequestQueue
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.sensors.replay import VirtualClock

GREEDY = GenerateOptions()


def queue_of(clock: VirtualClock, *, max_waiting: int = 10, max_batch_size: int = 4) -> RequestQueue:
    return RequestQueue(max_waiting=max_waiting, max_batch_size=max_batch_size, clock=clock)


def job(
    clock: VirtualClock, model: str = "a", options: GenerateOptions = GREEDY, within: float = 10.0, length: int = 1
) -> Job:
    return Job(
        request_id="r", model=model, client="", source=[1] * length, options=options, arrived_second=clock(),
        deadline_second=clock() + within,
    )  # fmt: skip


def test_a_batch_holds_what_is_alike_and_the_oldest_decides() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    longer = GenerateOptions(max_new_tokens=9)
    jobs = [job(clock), job(clock, "b"), job(clock), job(clock, options=longer)]
    for one in jobs:
        queue.put([one])
    assert queue.take() == [jobs[0], jobs[2]]
    assert queue.take() == [jobs[1]]
    assert queue.take() == [jobs[3]]
    assert queue.take() == []


def test_a_batch_holds_no_more_than_it_may() -> None:
    clock = VirtualClock()
    queue = queue_of(clock, max_batch_size=3)
    queue.put([job(clock) for _ in range(5)])
    assert [len(queue.take()) for _ in range(3)] == [3, 2, 0]


def test_a_batch_holds_the_oldest_and_the_batches_of_a_request_are_those_that_sorting_it_would_cut() -> None:
    clock = VirtualClock()
    queue = queue_of(clock, max_waiting=12, max_batch_size=4)
    lengths = (50, 10, 90, 52, 12, 95, 11, 13, 93, 51, 49, 91)
    queue.put([job(clock, length=length) for length in lengths])
    batches = [[len(one.source) for one in queue.take()] for _ in range(3)]
    assert batches == [[52, 51, 50, 49], [13, 12, 11, 10], [95, 93, 91, 90]]  # no document is padded by more than 5


def test_a_document_that_is_left_over_by_length_takes_others_along() -> None:
    clock = VirtualClock()
    queue = queue_of(clock, max_batch_size=4)
    queue.put([job(clock, length=length) for length in (1, 90, 80, 70, 60)])
    assert [[len(one.source) for one in queue.take()] for _ in range(2)] == [[80, 70, 60, 1], [90]]


def test_too_many_that_wait_are_refused_with_the_time_until_there_is_room() -> None:
    clock = VirtualClock()
    queue = queue_of(clock, max_waiting=4)
    queue.learn("a", second=2.0, num_documents=4)
    queue.put([job(clock) for _ in range(4)])
    with pytest.raises(Refused) as refused:
        queue.put([job(clock)])
    assert refused.value.status == 429
    # 1.25 x (4 waiting x 0.5 s + a batch of its own, 2 s)
    assert refused.value.retry_after_second == 5


def test_what_could_not_be_answered_in_time_is_refused_at_the_door() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    queue.learn("a", second=4.0, num_documents=1)
    queue.put([job(clock)])
    with pytest.raises(Refused) as refused:
        queue.put([job(clock, within=9.0)])  # 1.25 x (4 + 4) = 10 s
    assert (refused.value.status, refused.value.retry_after_second) == (503, 1)


def test_a_free_server_tries_however_slow_it_once_was() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    queue.learn("a", second=100.0, num_documents=1)
    queue.put([job(clock, within=1.0)])
    assert len(queue.take()) == 1


def test_quick_documents_are_taken_in_more_than_one_batch_so_that_the_meter_reads_less_often() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    queue.learn("a", second=0.04, num_documents=4)  # 10 ms each: 12 take no more than 0.15 s
    queue.put([job(clock) for _ in range(10)])
    assert len(queue.take()) == 10
    queue.learn("a", second=4.0, num_documents=4)
    queue.put([job(clock) for _ in range(10)])
    assert len(queue.take()) == 4


def test_who_waited_too_long_is_told_so_and_not_computed() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    late, early = job(clock, within=3.0), job(clock, within=30.0)
    queue.put([late])
    queue.put([early])
    clock.advance(3.1)
    assert queue.take() == [early]
    with pytest.raises(Refused, match="deadline"):
        late.future.result(0)


def test_who_has_gone_is_not_computed() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    gone, there = job(clock), job(clock)
    queue.put([gone, there])
    assert gone.future.cancel()
    assert queue.take() == [there]


def test_a_queue_that_closes_gives_out_what_it_has_and_takes_nothing_more() -> None:
    clock = VirtualClock()
    queue = queue_of(clock)
    queue.put([job(clock)])
    queue.close()
    with pytest.raises(Refused, match="stopping"):
        queue.put([job(clock)])
    assert len(queue.take()) == 1
