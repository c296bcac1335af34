"""A probe is the same worker on a short cell."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from kilowit.plan import plan_study
from kilowit.plan.probe import short_cell
from kilowit.plan.workload import workload
from kilowit.store import Store
from kilowit.study import Study

MakeStudy = Callable[..., Study]


def test_a_probe_asks_for_a_dozen_steps_and_two_batches(make_study: MakeStudy) -> None:
    cell = make_study().cells[0]
    short = short_cell(cell, workload(cell))
    assert short.settings.train.num_steps == 12
    assert short.settings.measure.idle_second == 0
    assert (short.dataset["max_train_examples"], short.dataset["max_test_examples"]) == (120, 40)
    assert short.methods == cell.methods


def test_a_probed_baseline_is_planned_from_what_it_took(make_study: MakeStudy, store: Store) -> None:
    (cell,) = plan_study(make_study(models=["lead"]), store, probe=True).cells
    assert cell.estimate.basis == "probe"
    assert cell.estimate.time_second is not None
    assert 5 <= cell.estimate.time_second.likely < 60
    assert not store.folders()  # the probe leaves nothing behind


@pytest.mark.slow
def test_a_probed_model_is_planned_from_a_dozen_real_steps(
    make_study: MakeStudy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    (cell,) = plan_study(make_study(models=[{"scratch": "bart-tiny"}]), store, probe=True).cells
    assert cell.estimate.basis == "probe"
    assert cell.estimate.phase_second["train"].likely > 0
    assert cell.fits == "yes"
