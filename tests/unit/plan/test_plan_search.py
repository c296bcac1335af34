"""What a search will take, from what its template takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.plan import Plan, plan_study
from kilowit.store import Store
from kilowit.study import Study
from search_bench import run, study


def second(plan: Plan) -> float:
    assert plan.total.time_second is not None
    return plan.total.time_second.likely


def planned(asked: Study, store: Store) -> Plan:
    return plan_study(asked, store, machine="Standard_NC6s_v3", check_budget=False)


def test_a_search_is_planned_as_its_trials_and_the_winner(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, many = (second(planned(study("random", num_trials=n), store)) for n in (1, 19))
    assert many == pytest.approx(10 * one, rel=0.02)  # 2 and 20 cells
    asha = planned(study("asha", num_trials=19), store)
    assert second(asha) < many
    assert "19 trials and the winner, 0 done" in asha.cells[0].notes[-1]


def test_a_grid_is_planned_with_the_trials_that_it_has(tmp_path: Path) -> None:
    grid = study("grid", num_trials=50, options="{num_points: 2}")
    assert "6 trials and the winner" in planned(grid, Store(tmp_path)).cells[0].notes[-1]


def test_trials_that_were_run_are_not_planned_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("random", num_trials=4), store)
    assert planned(study("random", num_trials=4), store).cells[0].done
    more = planned(study("random", num_trials=8), store)
    assert not more.cells[0].done
    assert "8 trials and the winner, 4 done" in more.cells[0].notes[-1]
