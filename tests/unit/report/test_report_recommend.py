"""What is recommended, why, how surely, and what to run next."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import kilowit
from kilowit.cli import main
from kilowit.errors import StoreError, StudyError
from kilowit.record import Record
from kilowit.report.recommend import Recommendation
from report_records import baseline, failed, phase, scores, study_records, trained

NUM_DRAWS = 1000


def asked(records: list[Record], **limits: object) -> Recommendation:
    return kilowit.recommend(records, num_draws=NUM_DRAWS, **limits)[0]  # type: ignore[arg-type]


def scored(recipe: str, values: list[float], joule: float, number: int) -> list[Record]:
    """Runs of one recipe with these ROUGE-2 values, hardly any noise of examples, and about these joules."""
    return [
        trained(
            "bart-tiny", recipe, seed, number=number + seed, scores=scores(value, half_width=1e-5),
            phases=[phase("train", 10.0, joule * (1 + seed / 1000), latency_p95_second=0.5)],
        )
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_the_cheapest_choice_within_the_limits_is_recommended_with_reasons() -> None:
    found = asked(study_records(), at_least={"rouge2": 0.12}, at_most={"co2e_kg": 1.0})
    assert found.answer is not None and found.runner_up is not None
    assert found.answer.choice == "bart-mini · frugal"
    assert found.runner_up.choice == "bart-mini · bf16"
    assert found.probability is not None and found.probability > 0.95
    assert [kept.figure for kept in found.answer.limits] == ["rouge2", "co2e_kg"]
    assert "least energy_kwh with rouge2 ≥ 0.12, co2e_kg ≤ 1" in found.sentences[0]
    assert {r.choice for r in found.ruled_out} >= {"lead", "bart-tiny · full"}


def test_without_a_score_to_reach_the_best_score_decides() -> None:
    found = asked(study_records(), at_most={"energy_kwh": 0.02})
    assert found.asked == "highest rouge2 with energy_kwh ≤ 0.02"
    assert found.answer is not None and found.answer.choice.startswith("bart-mini")
    assert asked(study_records(), objective="wall_hour").answer.choice in ("lead", "textrank")  # type: ignore[union-attr]


def test_a_choice_that_failed_or_lacks_a_figure_is_ruled_out_with_the_reason() -> None:
    oom = failed("bart-mini", "full", 0, "out_of_memory_gpu", "CUDA out of memory", number=900)
    unread = replace(baseline("lead", number=1), phases=[phase("predict", 1.0, None)])
    found = asked([oom, unread, *scored("bf16", [0.21, 0.22, 0.21], 100.0, 10)], at_least={"rouge2": 0.05})
    reasons = {r.choice: (r.kind, r.reason) for r in found.ruled_out}
    assert reasons["bart-mini · full"] == ("failed", "no result: does not fit in GPU memory")
    assert reasons["lead"][0] == "missing" and "energy_kwh" in reasons["lead"][1]


def test_where_nothing_keeps_the_limits_the_nearest_is_named_and_by_how_much() -> None:
    found = asked(study_records(), at_least={"rouge2": 0.25})
    assert found.answer is None and found.nearest is not None
    best = max(statistics.fmean(r.score("rouge2").value for r in runs) for runs in by_recipe(study_records()))  # type: ignore[union-attr]
    assert found.nearest.largest_shortfall == pytest.approx((0.25 - best) / 0.25)
    assert found.probability is not None and found.probability > 0.99  # that nothing does
    assert "Nothing keeps the limits" in found.sentences[0] and "misses rouge2 by" in found.sentences[1]


def by_recipe(records: list[Record]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.status == "finished":
            groups.setdefault(str([record.cell["model"], record.cell["recipe"]]), []).append(record)
    return list(groups.values())


def test_the_run_that_may_change_the_answer_is_the_next_one() -> None:
    sure = scored("bf16", [0.2500, 0.2501, 0.2502], 100.0, 10)  # far above the limit
    doubtful = scored("frugal", [0.19, 0.204, 0.215], 50.0, 20)  # cheaper, and on the edge
    hopeless = scored("frozen", [0.1000, 0.1001, 0.1002], 20.0, 30)
    found = asked([*sure, *doubtful, *hopeless], at_least={"rouge2": 0.2})
    first = found.next_runs[0]
    assert (first.choice, first.seed) == ("bart-tiny · frugal", 3)
    assert first.gain is not None and first.gain > 0.01
    assert first.change is not None and first.change > 0.05
    assert "bart-tiny · frozen" not in {run.choice for run in found.next_runs}


def test_a_clear_case_needs_no_further_run() -> None:
    found = asked(
        [*scored("bf16", [0.25, 0.2501, 0.2502], 100.0, 10), *scored("full", [0.25, 0.2501, 0.2502], 900.0, 20)],
        at_least={"rouge2": 0.2},
    )
    assert found.next_runs == ()
    assert found.sentences[-1].startswith("No further run")


def test_without_any_repeat_it_says_what_the_probability_leaves_out_and_asks_for_one() -> None:
    found = asked(study_records(num_seeds=1)[:6], at_least={"rouge2": 0.1})
    assert "test examples alone" in found.probability_covers
    assert found.next_runs and found.next_runs[0].gain is None


def test_a_limit_on_a_quantile_of_latency_is_read_from_prediction(tmp_path: Path) -> None:
    slow, fast = scored("full", [0.21] * 3, 10.0, 10), scored("bf16", [0.21] * 3, 20.0, 20)

    def with_latency(records: list[Record], second: float) -> list[Record]:
        row = phase("predict", 5.0, 1.0, latency_p95_second=second)
        return [replace(record, phases=[*record.phases, row]) for record in records]

    found = asked(
        [*with_latency(slow, 2.0), *with_latency(fast, 0.4)],
        at_least={"rouge2": 0.2},
        at_most={"latency_p95_second": 1},
    )
    assert found.answer is not None and found.answer.choice == "bart-tiny · bf16"


def test_names_and_stores_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="rouge3") as error:
        asked(study_records(), at_least={"rouge3": 0.2})
    assert "Did you mean" in str(error.value.hint)
    with pytest.raises(StoreError, match="no finished or failed run"):
        kilowit.recommend(tmp_path)
    with pytest.raises(StudyError, match='no run of a study "other"'):
        asked(study_records(), study="other")


def test_the_verb_reads_a_store_and_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for record in study_records():
        (tmp_path / record.run_id).mkdir()
        request = {"cell": record.cell, "cell_key": record.cell_key}
        (tmp_path / record.run_id / "cell.json").write_text(json.dumps(request))
        (tmp_path / record.run_id / "record.json").write_text(record.to_json())
    store = ["--store", str(tmp_path)]
    assert main(["recommend", "--min", "rouge2=0.12,rouge1=0.1", "--max", "co2e_kg=1", *store]) == 0
    assert "bart-mini · frugal is recommended" in capsys.readouterr().out
    assert main(["recommend", "--min", "rouge2=0.12", "--json", *store]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert found["answer"]["choice"] == "bart-mini · frugal"
    assert found["next_runs"] == [] or found["next_runs"][0]["seed"] >= 3
    for wrong in ("rouge2", "rouge2=high", "rouge2=1,rouge2=2"):
        assert main(["recommend", "--min", wrong, *store]) == 2


@pytest.fixture(scope="module")
def calibration(repository: Path) -> ModuleType:
    folder = repository / "benchmarks"
    specification = importlib.util.spec_from_file_location("recommend_calibration", folder / "recommend_calibration.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["recommend_calibration"] = module
    sys.path.insert(0, str(folder))
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@pytest.mark.parametrize("world", [4])
def test_the_stated_probability_is_honest_on_simulated_stores(calibration: ModuleType, world: int) -> None:
    found = list(calibration.verdicts(calibration.WORLDS[world], 120))
    assert all(one.is_honest for one in calibration.bins(found))
