"""The plan knows what serving takes, and says beforehand what cannot be served here."""

from __future__ import annotations

from typing import Any

import pytest

from kilowit.errors import StudyError
from kilowit.plan import CellPlan, plan_study
from kilowit.store import Store

SERVE = {"num_documents": 20, "rate_per_second": 2.0, "max_second": 30.0, "batch_size": 5}


def planned(make_study: Any, store: Store, **changes: Any) -> CellPlan:
    return plan_study(make_study(models=[{"scratch": "bart-tiny"}], **changes), store, gpu="T4").cells[0]


def test_serving_takes_time_energy_and_money_on_top(make_study: Any, store: Store) -> None:
    plain, served = planned(make_study, store), planned(make_study, store, serve=SERVE)
    assert not any(name.startswith("serve") for name in plain.estimate.phase_second)
    for name in ("serve", "serve_export", "serve_load", "serve_warmup"):
        assert served.estimate.phase_second[name].likely > 0
    assert served.estimate.time_second.likely > plain.estimate.time_second.likely  # type: ignore[union-attr]
    assert served.estimate.energy_total_joule.likely > plain.estimate.energy_total_joule.likely  # type: ignore[union-attr]


def test_random_arrivals_take_as_long_as_their_requests_come(make_study: Any, store: Store) -> None:
    """20 requests at 2 a second are 10 s at least; a limit of 3 s cuts them off."""
    only = SERVE | {"scenarios": ["random_arrivals"]}
    assert planned(make_study, store, serve=only).estimate.phase_second["serve"].likely == pytest.approx(10, rel=0.01)
    cut = planned(make_study, store, serve=only | {"max_second": 3.0})
    assert cut.estimate.phase_second["serve"].likely == pytest.approx(3.0)


def test_each_runtime_is_served_and_the_reference_only_once(make_study: Any, store: Store) -> None:
    one = planned(make_study, store, serve=SERVE | {"runtimes": ["torch"], "scenarios": ["offline"]})
    two = planned(make_study, store, serve=SERVE | {"runtimes": ["torch", "torch_fast"], "scenarios": ["offline"]})
    other = planned(make_study, store, serve=SERVE | {"runtimes": ["torch_fast"], "scenarios": ["offline"]})
    seconds = [p.estimate.phase_second for p in (one, two, other)]
    assert seconds[1]["serve"].likely > seconds[0]["serve"].likely
    assert seconds[0]["serve_reference"].likely == seconds[1]["serve_reference"].likely == 0
    assert seconds[2]["serve_reference"].likely > 0


def test_a_missing_package_is_said_with_its_remedy(
    make_study: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kilowit.parts.runtimes import torch_fast

    monkeypatch.setattr(torch_fast, "REQUIRES", ("a_package_that_nobody_has",))
    study = make_study(models=[{"scratch": "bart-tiny"}], serve=SERVE | {"runtimes": ["torch_fast"]})
    cell = plan_study(study, store).cells[0]
    assert cell.fits == "no"
    assert any("needs the package a_package_that_nobody_has" in note and "pip install" in note for note in cell.notes)
    assert plan_study(study, store, gpu="T4").cells[0].fits == "yes"  # of another machine nobody knows


def test_a_missing_device_is_said_with_its_remedy(
    make_study: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kilowit.parts.runtimes import torch_fast
    from kilowit.plan import study_plan
    from kilowit.plan.hardware import Hardware

    host = Hardware(
        name="a host", is_here=False, gpu=None, num_gpus=0, num_vcpus=4, memory_host_byte=64e9, cpu_name="",
    )  # fmt: skip
    monkeypatch.setattr(torch_fast, "DEVICES", ("cuda",))
    monkeypatch.setattr(study_plan, "hardware", lambda *_: host)
    cell = plan_study(make_study(predict={"runtime": "torch_fast"}, models=[{"scratch": "bart-tiny"}]), store).cells[0]
    assert cell.fits == "no"
    assert any('"torch_fast" needs a GPU' in note for note in cell.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": [{"scratch": "led-tiny"}], "serve": {"runtimes": ["torch_fast"]}}, "does not run led"),
        ({"predict": {"runtime": "tensorflow"}}, "is not available"),
        ({"predict": {"runtime": {"name": "torch", "precision": "int8"}}}, 'no precision "int8"'),
        ({"serve": {"runtimes": ["tourch"]}}, 'no runtime "tourch". Did you mean "torch"?'),
        ({"serve": {}, "recipes": {"three": [{"ensemble": {"members": 3}}]}}, "answers by several models"),
    ],
)
def test_a_pair_that_does_not_go_together_is_refused_as_the_study_is_read(
    changes: dict[str, Any], said: str, make_study: Any
) -> None:
    with pytest.raises(StudyError) as caught:
        make_study(**changes)
    assert said in str(caught.value)


def test_a_baseline_is_not_served_and_its_author_is_told(make_study: Any) -> None:
    assert any("lead is training-free: no runtime serves it" in note for note in make_study(serve=SERVE).notes)


def test_earlier_runs_that_served_nothing_leave_serving_to_the_formula(
    make_study: Any, store: Store, finish: Any
) -> None:
    import kilowit.run.environment as environment

    study = make_study(models=[{"scratch": "bart-tiny"}])
    finish(study.cells[0], environment.describe_environment())
    cell = plan_study(make_study(models=[{"scratch": "bart-tiny"}], serve=SERVE), store).cells[0]
    assert cell.estimate.basis == "records"
    assert cell.estimate.phase_second["serve"].likely > 0
