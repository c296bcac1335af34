from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meter_bench import bench

faults, kill, ranks = bench("meter_faults"), bench("meter_kill"), bench("meter_ranks")


@pytest.mark.parametrize("item", faults.FAULTS, ids=lambda item: item.name)
def test_the_job_lives_and_the_ledger_tells(item: Any, tmp_path: Path) -> None:
    assert faults.check(item, tmp_path) is None


def test_there_are_thirty_faults() -> None:
    assert len(faults.FAULTS) >= 30


def test_kill_at_any_moment_loses_at_most_a_second_and_parses() -> None:
    kills = kill.kill_many(6)
    assert [k.problem for k in kills] == [None] * 6
    assert max(k.lost_second for k in kills) <= kill.LOST_BAR_SECOND


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_ranks_of_one_node_book_it_once(num_ranks: int, tmp_path: Path) -> None:
    results = ranks.run_ranks(num_ranks, tmp_path, second=0.6)
    assert sum(source != "none:other_rank" for *_, source in results) == 1
    assert ranks.times_booked(results) == pytest.approx((1.0, 1.0), rel=0.03)
