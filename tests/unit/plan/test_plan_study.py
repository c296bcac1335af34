"""Plans of whole studies: what is done, what it will take and on which basis, and the budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kilowit.errors import DataError, PlanError
from kilowit.plan import Plan, plan_study
from kilowit.plan.hardware import this_machine
from kilowit.record import Record
from kilowit.store import Store
from kilowit.study import Study

MakeStudy = Callable[..., Study]
Finish = Callable[..., Record]

HERE = this_machine()
LOCAL: dict[str, Any] = {"cpu": {"model": HERE.cpu_name, "num_usable_cores": HERE.num_vcpus}, "gpus": []}
V100: dict[str, Any] = {"cpu": {}, "gpus": [{"name": "Tesla V100-SXM2-16GB", "memory_byte": 17_071_734_784}]}
BIG = {"name": "samsum"}


def only_cell(plan: Plan) -> Any:
    assert len(plan.cells) == 1
    return plan.cells[0]


def test_a_new_study_is_planned_by_formula_with_ordered_ends(make_study: MakeStudy, store: Store) -> None:
    plan = plan_study(make_study(), store)
    assert [cell.estimate.basis for cell in plan.cells] == ["analytic", "analytic"]
    for cell in plan.cells:
        for name in ("time_second", "energy_total_joule", "co2e_kg", "memory_host_byte", "disk_byte"):
            value = getattr(cell.estimate, name)
            assert 0 < value.low <= value.likely <= value.high, (cell.cell_label, name)


def test_the_baseline_costs_far_less_than_the_trained_model(make_study: MakeStudy, store: Store) -> None:
    tiny, lead = plan_study(make_study(), store).cells
    assert lead.estimate.time_second.likely < tiny.estimate.time_second.likely
    assert lead.estimate.energy_total_joule.likely < tiny.estimate.energy_total_joule.likely


def test_time_counts_idle_and_one_cooldown_between_two_cells(make_study: MakeStudy, store: Store) -> None:
    plan = plan_study(make_study(), store)
    phases = [cell.estimate.phase_second for cell in plan.cells]
    assert all(p["idle"].low == p["idle"].high == 5 for p in phases)
    assert plan.total.time_second is not None
    summed = sum(value.likely for p in phases for value in p.values())
    assert plan.total.time_second.likely == pytest.approx(summed + 7)


def test_what_is_done_is_said_and_not_counted_again(make_study: MakeStudy, store: Store, finish: Finish) -> None:
    study = make_study()
    finish(study.cells[1], LOCAL)
    plan = plan_study(study, store)
    assert [cell.done for cell in plan.cells] == [False, True]
    assert plan.num_done == 1
    assert plan.cells[1].estimate.basis == "record"
    assert plan.total.energy_total_joule == plan.cells[0].estimate.energy_total_joule


def test_another_seed_is_foretold_by_the_runs_that_were(make_study: MakeStudy, store: Store, finish: Finish) -> None:
    study = make_study(models=[{"scratch": "bart-tiny"}], seeds=[0, 1])
    finish(study.cells[0], LOCAL)
    estimate = plan_study(study, store).cells[1].estimate
    assert estimate.basis == "records"
    assert estimate.phase_second["train"].likely == 100
    assert estimate.energy_total_joule.likely == pytest.approx((10 + 100 + 20) * 50)
    assert estimate.memory_host_byte.likely == 10**9


def test_more_epochs_scale_the_training_of_an_earlier_run(make_study: MakeStudy, store: Store, finish: Finish) -> None:
    models = [{"scratch": "bart-tiny"}]
    finish(make_study(models=models).cells[0], LOCAL)  # 2 epochs of 200 examples: 400 seen
    train = {"num_epochs": 6, "batch_size": 10, "max_source_tokens": 256, "max_target_tokens": 64}
    estimate = only_cell(plan_study(make_study(models=models, train=train), store)).estimate
    assert estimate.phase_second["train"].likely == pytest.approx(300)
    assert estimate.phase_second["predict"].likely == 20
    assert estimate.basis == "records"


def test_runs_on_other_hardware_foretell_nothing(make_study: MakeStudy, store: Store, finish: Finish) -> None:
    study = make_study(models=[{"scratch": "bart-tiny"}], seeds=[0, 1])
    finish(study.cells[0], V100)
    assert plan_study(study, store).cells[1].estimate.basis == "analytic"
    assert plan_study(study, store, gpu="V100 SXM2 16GB").cells[1].estimate.basis == "records"


def test_a_gpu_that_is_not_here_can_be_planned_for(make_study: MakeStudy, store: Store) -> None:
    study = make_study(models=[{"hub": "facebook/bart-large"}], datasets=[BIG])
    times = {}
    for gpu in ("P100 PCIe 16GB", "T4 16GB", "V100 SXM2 16GB", "A100 SXM4 80GB", "H100 SXM5 80GB", "RTX 4090 24GB"):
        cell = only_cell(plan_study(study, store, gpu=gpu))
        assert cell.estimate.memory_gpu_byte is not None
        times[gpu] = cell.estimate.time_second.likely
    assert times["T4 16GB"] > times["V100 SXM2 16GB"] > times["A100 SXM4 80GB"] > times["H100 SXM5 80GB"]


def test_a_machine_brings_its_gpu_and_its_price(make_study: MakeStudy, store: Store) -> None:
    study = make_study(models=[{"hub": "facebook/bart-base"}], datasets=[BIG])
    plan = plan_study(study, store, machine="Standard_NC24ads_A100_v4")
    assert "A100 PCIe 80GB" in plan.hardware
    estimate = only_cell(plan).estimate
    assert estimate.cost_usd.likely == pytest.approx(3.673 * estimate.time_second.likely / 3600)
    assert "price:azure/westus2/Standard_NC24ads_A100_v4/on_demand@2024-25" in plan.factor_ids


def test_the_price_of_a_machine_that_this_is_not_is_said(make_study: MakeStudy, store: Store) -> None:
    factors = {"region": "azure/westus2", "machine": "Standard_NC6s_v2"}
    plan = plan_study(make_study(factors=factors), store)
    assert plan.total.cost_usd is not None
    assert (HERE.gpu is None) <= any("which this machine is not" in note for note in plan.notes)


def test_a_gpu_is_not_billed_at_the_price_of_another_machine(make_study: MakeStudy, store: Store) -> None:
    factors = {"region": "azure/westus2", "machine": "Standard_NC24ads_A100_v4"}
    plan = plan_study(make_study(factors=factors), store, gpu="H100 SXM5 80GB")
    assert plan.total.cost_usd is None
    assert any("no cost" in note for note in plan.notes)


@pytest.mark.parametrize("gpu", ["T4 16GB", "V100 SXM2 16GB", "P100 PCIe 16GB"])
def test_bf16_is_refused_on_boards_that_cannot_do_it(make_study: MakeStudy, store: Store, gpu: str) -> None:
    study = make_study(models=[{"scratch": "bart-tiny"}], recipes={"bf16": ["bf16"], "fp32": []})
    bf16, fp32 = plan_study(study, store, gpu=gpu).cells
    assert bf16.fits == "no"
    assert "cannot train in bf16" in bf16.notes[-1]
    assert fp32.fits == "yes"


def test_what_cannot_fit_is_said_with_the_size_of_the_board(make_study: MakeStudy, store: Store) -> None:
    # T5-3b: 2.85 G parameters x 16 bytes of weights, gradients and AdamW state = 45.6 GB.
    study = make_study(models=[{"hub": "google-t5/t5-3b"}], datasets=[BIG])
    cell = only_cell(plan_study(study, store, gpu="T4 16GB"))
    assert cell.fits == "no"
    assert "does not fit (needs > 16 GiB of GPU memory)" in cell.notes
    assert only_cell(plan_study(study, store, gpu="H200 SXM 141GB")).fits == "yes"


def test_a_study_over_its_budget_is_refused_with_every_limit(make_study: MakeStudy, store: Store) -> None:
    study = make_study(budget={"energy_kwh": 1e-6, "wall_hour": 1e-6, "co2e_kg": 1000.0})
    with pytest.raises(PlanError) as caught:
        plan_study(study, store)
    assert caught.value.exit_code == 3
    assert "energy_kwh" in str(caught.value)
    assert "wall_hour" in str(caught.value)
    assert "co2e_kg" not in str(caught.value)
    assert "over by" in str(caught.value)


def test_an_unchecked_plan_shows_what_would_be_refused(make_study: MakeStudy, store: Store) -> None:
    plan = plan_study(make_study(budget={"wall_hour": 1e-6}), store, check_budget=False)
    (limit,) = plan.over_budget
    assert limit.over == pytest.approx(plan.total.time_second.likely / 3600 - 1e-6)  # type: ignore[union-attr]


def test_what_the_study_has_spent_counts_against_its_budget(
    make_study: MakeStudy, store: Store, finish: Finish
) -> None:
    study = make_study(models=["lead"], budget={"energy_kwh": 1.0})
    assert plan_study(study, store).over_budget == ()
    finish(make_study(models=[{"scratch": "bart-tiny"}]).cells[0], LOCAL, watt=40_000.0)  # 130 s x 40 kW = 1.44 kWh
    with pytest.raises(PlanError, match=r"1.44 spent"):
        plan_study(study, store)


def test_a_model_that_nobody_knows_is_said_rather_than_guessed(make_study: MakeStudy, store: Store) -> None:
    cell = only_cell(plan_study(make_study(models=[{"hub": "someone/something"}]), store))
    assert cell.estimate.time_second is None
    assert any("size of the model is not known" in note for note in cell.notes)


def test_an_unknown_machine_is_refused_with_the_nearest(make_study: MakeStudy, store: Store) -> None:
    with pytest.raises(PlanError) as caught:
        plan_study(make_study(), store, machine="Standard_NC24ads_A100_v5")
    assert caught.value.hint == 'Did you mean "Standard_NC24ads_A100_v4"?'
    with pytest.raises(PlanError, match="no GPU"):
        plan_study(make_study(), store, gpu="GTX 1080")
    with pytest.raises(PlanError, match="this machine"):
        plan_study(make_study(), store, gpu="T4 16GB", probe=True)


def test_a_bad_local_dataset_is_found_before_anything_runs(make_study: MakeStudy, store: Store) -> None:
    study = make_study(datasets=[{"name": "local_files", "path": "train.jsonl", "document_column": "dialogue"}])
    with pytest.raises(DataError, match="dialogue"):
        plan_study(study, store)


def test_a_plan_is_plain_json(make_study: MakeStudy, store: Store, finish: Finish) -> None:
    study = make_study(budget={"wall_hour": 100.0})
    finish(study.cells[0], LOCAL)
    value = json.loads(json.dumps(plan_study(study, store).to_dict(), allow_nan=False))
    assert value["num_done"] == 1
    assert value["cells"][1]["estimate"]["time_second"].keys() == {"low", "likely", "high"}
    assert value["limits"][0]["name"] == "wall_hour"
