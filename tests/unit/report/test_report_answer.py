from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kilowit.record import Record
from kilowit.report import answer
from report_records import baseline, failed, scores, study_records, trained


def texts(records: list[Record]) -> str:
    return " ".join(answer(records).sentences)


def with_rouge2(record: Record, value: float) -> Record:
    return replace(record, scores=scores(value))


def test_cheapest_choice_that_equals_the_best_is_worth_it() -> None:
    said = answer(study_records())
    assert said.sentences[0].startswith("bart-mini · frugal is worth it: ROUGE-2 12.75 [12.32, 13.18]")
    assert "n = 3 seeds" in said.sentences[0]
    assert "not distinguishable from the best score, bart-mini · full" in said.sentences[0]
    assert said.parts[0].worth_it == "bart-mini · frugal"


def test_every_claim_has_a_finding_with_its_runs() -> None:
    findings = answer(study_records()).findings
    assert findings
    assert all(finding.run_ids for finding in findings)
    assert {finding.kind for finding in findings} == {"difference", "ratio"}


def test_neural_models_that_beat_lead_are_said_to() -> None:
    assert "Neural models beat lead" in texts(study_records())


def test_lead_is_worth_it_when_no_neural_model_beats_it() -> None:
    runs = [with_rouge2(trained("bart-tiny", "full", s, number=100 + s), 0.031 + s / 1e4) for s in range(3)]
    said = answer([*runs, baseline("lead", number=1)])
    assert said.parts[0].worth_it == "lead"
    assert any(s.startswith("No neural model beats lead") for s in said.sentences)


def test_a_neural_model_equal_to_lead_is_not_shown_to_beat_it() -> None:
    runs = [with_rouge2(trained("bart-tiny", "full", s, number=100 + s), 0.083 + s / 1e4) for s in range(3)]
    said = answer([*runs, baseline("lead", number=1)])
    assert said.parts[0].worth_it == "lead"
    assert any("not distinguishable" in s and "lead" in s for s in said.sentences)


@pytest.mark.parametrize(("num_seeds", "few"), [(1, "a single run is"), (2, "2 seeds are")])
@pytest.mark.parametrize("gap", [0.0, 0.0055])
def test_too_few_seeds_against_lead_are_called_too_few(num_seeds: int, few: str, gap: float) -> None:
    tiny, mini = (
        [with_rouge2(trained(model, "full", s, number=n + s), 0.083 + gap + s / 1e4) for s in range(num_seeds)]
        for n, model in ((100, "bart-tiny"), (200, "bart-mini"))
    )
    sentence = next(s for s in answer([*tiny, *mini, baseline("lead", number=1)]).sentences if "beat lead" in s)
    assert f"{few} too few for a verdict" in sentence
    assert "distinguishable" not in sentence


def test_an_interval_without_zero_that_the_correction_does_not_uphold_says_so() -> None:
    systems = [(model, recipe) for model in ("bart-tiny", "bart-mini") for recipe in ("full", "bf16", "frozen")]
    runs = [
        with_rouge2(trained(model, recipe, s, number=100 * i + s), 0.083 + 0.0065 + s / 1e5)
        for i, (model, recipe) in enumerate(systems, 1)
        for s in range(3)
    ]
    sentence = next(s for s in answer([*runs, baseline("lead", number=1)]).sentences if "beat lead" in s)
    assert "not distinguishable from it after Holm's correction" in sentence


def test_a_study_without_lead_says_so() -> None:
    assert "No lead baseline was run" in texts([trained("bart-tiny", "full", 0, number=1)])


def test_single_runs_are_called_single_runs() -> None:
    said = texts(
        [*(trained("bart-tiny", r, 0, number=i) for i, r in enumerate(("full", "bf16"))), baseline("lead", number=9)]
    )
    assert "single run" in said
    assert "what another seed would change is unknown" in said


def test_nothing_finished_names_the_failures() -> None:
    said = texts([failed("bart-mini", "full", 0, "out_of_memory_gpu", "no room", number=1)])
    assert "out_of_memory_gpu × 1" in said
    assert "unknown" in said


def test_no_records_at_all_still_answer() -> None:
    assert "No run yet" in texts([])


def test_each_dataset_has_its_own_answer() -> None:
    record = trained("bart-tiny", "full", 0, number=1)
    other = replace(record, cell=record.cell | {"dataset": {"name": "xsum"}}, run_id="20261102T000000Z_other_0001")
    assert [part.dataset for part in answer([record, other]).parts] == ["samsum", "xsum"]


@pytest.mark.parametrize("with_scores", [False, True])
def test_scores_per_example_make_comparisons_sharper(tmp_path: Path, with_scores: bool) -> None:
    runs = {
        r: [trained("bart-tiny", r, s, number=100 * i + s) for s in range(3)] for i, r in enumerate(("full", "frozen"))
    }
    shift = {"full": 0.0, "frozen": -0.005}
    files = {}
    for recipe, members in runs.items():
        for i, record in enumerate(members):
            members[i] = replace(record, scores=scores(0.104 + shift[recipe]))
            lines = [
                json.dumps(
                    {"id": str(n), "prediction": "x", "scores": {"rouge2": 0.104 + (n % 7 - 3) / 50 + shift[recipe]}}
                )
                for n in range(98)  # whole weeks of seven: the mean is that of the record
            ]
            path = tmp_path / f"{record.run_id}.jsonl"
            path.write_text("\n".join([*lines, '{"id": "cut off']))
            files[record.run_id] = path
    records = [record for members in runs.values() for record in members]
    # unpaired, two bootstrap intervals of +-0.4 points hide 0.5 points less; paired, every example moves alike
    said = answer(records, predictions=files if with_scores else None)
    judged = {f.verdict for f in said.findings if f.figure == "rouge2"}
    assert judged == {"worse" if with_scores else "not distinguishable"}
