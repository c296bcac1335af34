"""A study with `maintenance:` is told what a year of each choice takes: by its runs, else by the plan."""

from __future__ import annotations

from typing import Any

import pytest

from kilowit.cell import Cell
from kilowit.errors import StudyError
from kilowit.plan import LifeCycle, plan_study
from kilowit.plan.maintenance import measured_efforts
from kilowit.record import PhaseFigures, Record
from kilowit.report.life_cycles import draw_life_cycles
from kilowit.settings import MaintenanceSettings
from kilowit.store import Store

LIFE = {"summaries_per_day": 100.0, "retrain_every_day": 90.0}
HERE = {"gpus": [], "cpu": {}}


def planned(make_study: Any, store: Store, **changes: Any) -> tuple[LifeCycle, ...]:
    return plan_study(make_study(**changes), store, gpu="T4").life_cycles


def test_a_study_without_maintenance_has_no_working_life(make_study: Any, store: Store) -> None:
    assert planned(make_study, store) == ()
    with pytest.raises(StudyError, match="no energy of a working life"):
        draw_life_cycles(planned(make_study, store))


def test_seeds_share_one_life_and_a_baseline_is_never_trained(make_study: Any, store: Store) -> None:
    cycles = planned(make_study, store, maintenance=LIFE, seeds=[0, 1, 2])
    assert [cycle.label for cycle in cycles] == ["bart-tiny_local_files_full", "lead_local_files"]
    assert cycles[0].part("train").time_second.likely > 0
    assert cycles[1].part("train").time_second.likely == 0
    assert cycles[0].basis == "planned"


def test_training_is_the_cell_without_idle_baseline_and_the_trial_of_runtimes(make_study: Any, store: Store) -> None:
    served = {"runtimes": ["torch"], "scenarios": ["single_stream"], "num_documents": 10}
    plan = plan_study(make_study(maintenance=LIFE, serve=served), store, gpu="T4")
    seconds = plan.cells[0].estimate.phase_second
    expected = sum(v.likely for name, v in seconds.items() if name != "idle" and not name.startswith("serve"))
    assert plan.life_cycles[0].part("train").time_second.likely == pytest.approx(expected)
    assert plan.life_cycles[0].served_by == "torch, single_stream"


def test_energies_of_the_phases_are_those_of_the_cell(make_study: Any, store: Store) -> None:
    estimate = plan_study(make_study(maintenance=LIFE), store, gpu="T4").cells[0].estimate
    assert estimate.energy_total_joule is not None
    assert sum(v.likely for v in estimate.phase_joule.values()) == pytest.approx(estimate.energy_total_joule.likely)


def test_maintenance_changes_no_cell_key_and_travels_with_the_cell(make_study: Any) -> None:
    plain, kept = make_study().cells[0], make_study(maintenance=LIFE).cells[0]
    assert plain.key == kept.key
    assert "maintenance" not in plain.to_dict()
    assert Cell.from_dict(kept.to_dict()).maintenance == kept.maintenance


def test_runs_tell_what_the_plan_only_guessed(make_study: Any, store: Store, finish: Any) -> None:
    """`finish` leaves load 10 s, train 100 s, predict 20 s for 40 documents, at 50 W: 6,500 J, 0.5 s and 25 J each."""
    from kilowit.plan.hardware import this_machine

    machine = this_machine()
    if machine.gpu is not None:
        pytest.skip("written for a machine without a GPU")
    study = make_study(maintenance=LIFE)
    finish(study.cells[0], {"gpus": [], "cpu": {"model": machine.cpu_name, "num_usable_cores": machine.num_vcpus}})
    cycle = plan_study(study, store).life_cycles[0]
    assert cycle.basis == "measured in 1 run"
    assert cycle.part("train").energy_total_joule is not None
    assert cycle.part("train").energy_total_joule.likely == pytest.approx(6500)
    assert cycle.part("serve").time_second.likely == pytest.approx(0.5 * 100 * 365)
    assert cycle.part("idle").energy_total_joule is None  # these runs took no idle baseline
    assert any("single_stream was not served" in note for note in cycle.notes)


def test_ends_reach_over_runs_and_over_the_intervals_of_their_sensors() -> None:
    def run(second: float, low: float, joule: float, high: float) -> Record:
        phase = PhaseFigures(
            phase="predict", wall_second=second, energy_total_joule=joule, energy_total_joule_low=low,
            energy_total_joule_high=high, num_examples=10,
        )  # fmt: skip
        return Record(
            run_id="a", cell_key="a", study_name="a", attempt=1, status="finished", started_at_utc="", ended_at_utc="",
            cell={}, environment={}, phases=[phase],
        )  # fmt: skip

    efforts = measured_efforts([run(10, 80, 100, 130), run(20, 150, 180, 190)], MaintenanceSettings())
    assert efforts is not None
    assert (efforts.summary.second.low, efforts.summary.second.likely, efforts.summary.second.high) == (1, 1.5, 2)
    assert efforts.summary.joule is not None
    assert (efforts.summary.joule.low, efforts.summary.joule.likely, efforts.summary.joule.high) == (8, 14, 19)
    assert measured_efforts([], MaintenanceSettings()) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"maintenance": {"runtime": "torch"}}, "nothing is served"),
        ({"maintenance": {"runtime": "openvino"}, "serve": {"runtimes": ["torch"]}}, "not among serve.runtimes"),
        ({"maintenance": {}, "serve": {"scenarios": ["offline"]}}, "not among serve.scenarios"),
        ({"maintenance": {"endpoint_hour_per_day": 0.01}}, "is below 0.1"),
        ({"maintenance": {"scenario": "random_arrivals"}}, "maintenance.scenario"),
        ({"maintenance": {"retrain_every_day": 0}}, "maintenance.retrain_every_day"),
    ],
)
def test_a_life_that_cannot_be_priced_is_refused(make_study: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        make_study(models=[{"scratch": "bart-tiny"}], **changes)
