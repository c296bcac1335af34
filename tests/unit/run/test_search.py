"""A search makes cells: their folders are the truth, failed trials are results, a killed search goes on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from kilowit.cell import Cell
from kilowit.errors import StudyError
from kilowit.factors import JOULE_PER_KWH
from kilowit.plan import foretell, plan_study
from kilowit.store import Store
from kilowit.study import Study
from search_bench import STUDY, Executor, run, study, trials

ALGORITHMS = ["grid", "random", "asha", "pbt"] + (["tpe"] if importlib.util.find_spec("optuna") else [])


def tried(store: Store) -> list[tuple[int, dict[str, object], int | None]]:
    found = [record.cell["search"] for record in trials(store) if record.error_kind != "lost"]
    return [(own["trial"], own["parameters"], own["continues"]) for own in found]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_search_killed_between_cells_goes_on_without_losing_or_repeating_a_trial(
    algorithm: str, tmp_path: Path
) -> None:
    asked = study(algorithm, num_trials=9)
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    outcome, _ = run(asked, whole)
    assert (outcome.num_finished, outcome.exit_code) == (1, 0)

    def kill(number: int) -> None:
        if number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(asked, cut, Executor(kill))
    again = Executor()
    assert run(asked, cut, again)[0].num_finished == 1
    assert tried(cut) == tried(whole)
    num_cells = len(tried(whole)) + 1
    assert again.num_started == num_cells - 4  # of which one was begun when the study was killed
    once_more = Executor()
    assert run(asked, cut, once_more)[0].num_skipped == 1
    assert once_more.num_started == 0


def test_trials_are_judged_on_the_validation_split_and_the_winner_on_the_test_split(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("random"), store)
    assert {r.cell["settings"]["predict"]["split"] for r in trials(store)} == {"validation"}
    (winner,) = trials(store, "winner")
    assert "split" not in winner.cell["settings"]["predict"]
    finished = [r for r in trials(store) if r.status == "finished"]
    best = max(finished, key=lambda r: r.scores[0].value)
    assert winner.cell["search"]["trial"] == best.cell["search"]["trial"]
    assert winner.cell["settings"]["train"] == best.cell["settings"]["train"]
    assert winner.run_id.split("_")[1:5] == ["bart-tiny", "docstrings", "full", "random-winner"]


def test_a_trial_that_runs_out_of_memory_is_a_result_and_not_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    outcome, _ = run(study("grid", options="{num_points: 2}", num_trials=6), store)
    failed = [r for r in trials(store) if r.status == "failed"]
    assert len(failed) == 2 and outcome.num_failed == 0
    assert all(r.error_kind == "out_of_memory_gpu" for r in failed)
    assert len(trials(store)) == 6


def test_a_search_without_any_result_is_a_failed_cell(tmp_path: Path) -> None:
    only_large = "search.space={train.batch_size: {choice: [32, 64]}}"
    outcome, said = run(study("random", only_large, num_trials=3), Store(tmp_path))
    assert (outcome.num_failed, outcome.exit_code) == (1, 1)
    assert "no trial of its search has a result" in said


def test_equal_settings_are_run_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("random", "search.space={train.batch_size: {choice: [8, 16]}}", num_trials=12), store)
    assert len(trials(store)) == 2


def test_asha_goes_on_from_the_model_of_the_trial_that_it_promotes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("asha", num_trials=14), store)
    by_trial = {r.cell["search"]["trial"]: r for r in trials(store)}
    promoted = [r for r in by_trial.values() if r.cell["search"]["continues"] is not None]
    assert promoted
    for record in promoted:
        parent = by_trial[record.cell["search"]["continues"]]
        assert record.cell["model"]["folder"] == str(store.find(parent.run_id).model_path.resolve())
        assert record.cell["search"]["parent_run"] == parent.run_id
        assert record.cell["seed"] == 1000 * record.cell["search"]["rung"]  # another order of the data
        assert Cell.from_dict(record.cell).label.endswith("_s0")
    shares = sorted({round(r.cell["search"]["share"], 3) for r in by_trial.values()})
    assert shares == [0.111, 0.222, 0.667][: len(shares)]


@pytest.mark.parametrize(("algorithm", "num_trials"), [("asha", 14), ("pbt", 24)])
def test_a_search_that_is_done_leaves_the_models_of_the_winners_lineage_alone(
    algorithm: str, num_trials: int, tmp_path: Path
) -> None:
    small = "search.space={train.learning_rate: {log_uniform: [1.0e-6, 1.0e-2]}}"  # none fails
    store = Store(tmp_path / "some")
    _, said = run(study(algorithm, small, num_trials=num_trials), store)
    by_trial = {r.cell["search"]["trial"]: r for r in trials(store)}
    number = trials(store, "winner")[0].cell["search"]["trial"]
    lineage = set()
    while number is not None:
        lineage.add(by_trial[number].run_id)
        number = by_trial[number].cell["search"]["continues"]
    assert {folder.run_id for folder in store.folders() if folder.model_path.exists()} == lineage
    assert f"models of {len(by_trial) - len(lineage)} stopped trials removed" in said
    assert run(study(algorithm, small, num_trials=num_trials), store)[0].num_skipped == 1

    kept = Store(tmp_path / "all")
    run(study(algorithm, small, "measure.keep_model=true", num_trials=num_trials), kept)
    assert all(folder.model_path.exists() for folder in kept.folders())


def test_a_failed_trial_can_be_tried_again_from_the_model_that_it_went_on_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("pbt", num_trials=24, options="{resample: 1.0, quantile: 0.5}"), store)
    failed = [record for record in trials(store) if record.status != "finished"]
    parents = [parent for record in failed if (parent := record.cell["search"]["parent_run"]) is not None]
    assert parents and all(store.find(parent).model_path.exists() for parent in parents)


def test_a_search_that_its_budget_ended_keeps_its_models_to_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("asha", "search.budget.energy_kwh=0.03", num_trials=30), store)
    assert all(store.find(r.run_id).model_path.exists() for r in trials(store) if r.status == "finished")


def test_seeds_are_repeats_of_the_search(tmp_path: Path) -> None:
    store = Store(tmp_path)
    outcome, _ = run(study("random", "seeds=[0, 1, 2]", num_trials=3), store)
    assert outcome.num_finished == 3
    assert len({r.cell["search"]["search_key"] for r in trials(store)}) == 3
    assert len(trials(store, "winner")) == 3


def test_the_budget_of_a_search_is_kept_with_room_for_the_winner(tmp_path: Path) -> None:
    store = Store(tmp_path)
    limit = 0.052  # kWh; a trial takes about 0.0102
    space = "search.space={train.learning_rate: {log_uniform: [1.0e-6, 1.0e-2]}}"
    _, said = run(study("random", space, f"search.budget.energy_kwh={limit}", num_trials=50), store)
    spent = sum(p.energy_total_joule or 0.0 for r in store.records() for p in r.phases) / JOULE_PER_KWH
    assert 0.6 * limit < spent <= limit
    assert len(trials(store, "winner")) == 1
    assert "search ends after 4 trials, budget" in said


def test_a_search_whose_budget_is_smaller_than_one_trial_starts_nothing_and_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = study("random", "search.budget.energy_kwh=1.0e-6")
    outcome, said = run(asked, store, forecast=foretell(asked, store))
    assert store.folders() == []
    assert (outcome.num_left_out, outcome.num_failed, outcome.exit_code) == (1, 0, 3)
    assert "search ends after 0 trials, budget: 0 spent + " in said
    assert "search left unfinished, budget" in said


def test_a_trial_is_foretold_by_its_own_settings_before_any_has_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = study("random", num_trials=2)
    run(asked, store)
    estimate = foretell(asked, Store(tmp_path / "none"))
    planned = plan_study(asked, Store(tmp_path / "none")).cells[0].estimate.time_second
    one, other = (estimate(Cell.from_dict(record.cell)) for record in trials(store))
    assert planned is not None and one is not None and other is not None
    assert one.time_second is not None and other.time_second is not None
    assert 0 < one.time_second.likely + other.time_second.likely < planned.likely * 2  # planned: 2 and the winner


def test_a_trial_whose_parents_model_was_removed_is_foretold_all_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = study("asha", num_trials=14)
    run(asked, store)
    forecast = foretell(asked, store)
    for record in trials(store):
        estimate = forecast(Cell.from_dict(record.cell))
        assert estimate is not None and estimate.time_second is not None


def test_more_trials_go_on_from_those_that_were_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("random", num_trials=3), store)
    first = tried(store)
    run(study("random", num_trials=5), store)
    assert tried(store)[:3] == first and len(tried(store)) == 5


WRONG = {
    "algorithm: tpa": 'no search "tpa"',
    "num_trials: 0": "greater than or equal to 1",
    "objective: rouge9": 'no objective "rouge9"',
    "options: {points: 3}": 'no key "points"',
    "space: {train.rate: {uniform: [0, 1]}}": 'no setting "train.rate" to search',
    "space: {train.learning_rate: {log_uniform: [0, 1]}}": "begins above 0",
    "space: {train.learning_rate: {uniform: [2, 1]}}": "the lower first",
    "space: {train.learning_rate: {normal: [2, 1]}}": "expected one of",
    "space: {train.batch_size: {choice: [0, 1]}}": "greater than or equal to 1",
    "space: {train.batch_size: {uniform: [1.5, 3.5]}}": "valid integer",
    "objective: [rouge2, energy_kwh]": "takes 1 to 1 objectives",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_with_a_search_is_said_with_its_place(line: str) -> None:
    text = STUDY % ("random", "rouge2", 3, "{}")
    key = line.partition(":")[0]
    kept = [row for row in text.splitlines() if not row.strip().startswith(f"{key}:")]
    with pytest.raises(StudyError, match=WRONG[line]) as error:
        Study.parse("\n".join([*kept, f"  {line}"]))
    assert "study.yaml:" in str(error.value)


def test_a_method_that_changes_a_model_once_is_refused_where_models_go_on() -> None:
    recipe = "recipes={pruned: [{prune: {decoder_layers: 1}}]}"
    study("random", recipe)
    with pytest.raises(StudyError, match="changes a model once"):
        study("asha", recipe)


def test_asha_does_not_search_the_length_that_it_sets() -> None:
    with pytest.raises(StudyError, match="sets the length itself"):
        study("asha", "search.space={train.num_epochs: {uniform: [1, 3]}}")
