"""BLEU and chrF are no means of examples: they are compared by what each example adds, alike in reports and alone."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kilowit
from kilowit.parts.metrics import bleu, chrf
from kilowit.record import Record
from kilowit.report import compare
from kilowit.report.evidence import Evidence
from kilowit.report.examples import ExampleScores
from kilowit.report.runs import choices_of
from kilowit.run.predictions import add_scores, write_predictions
from kilowit.statistics.contrast import contrast_of_outputs
from kilowit.statistics.resample import resampled_sums
from report_records import trained

WORDS = [*"abcdefghijklmnop"]
NUM = 150


def texts(share_wrong: float, seed: int) -> tuple[list[str], list[str]]:
    """Predictions and references; the latter are the same for every share."""
    truth, noise = random.Random(1), random.Random(seed)
    references = [[truth.choice(WORDS) for _ in range(truth.randint(5, 30))] for _ in range(NUM)]
    guesses = [[noise.choice(WORDS) if noise.random() < share_wrong else w for w in r] for r in references]
    return [" ".join(g) for g in guesses], [" ".join(r) for r in references]


@pytest.mark.parametrize("metric", [bleu, chrf], ids=["bleu", "chrf"])
def test_what_examples_add_has_the_corpus_score_as_its_mean(metric: Any) -> None:
    result = metric.score(*texts(0.3, 2))
    (score,) = result.scores
    assert np.mean(result.contributions[score.metric]) == pytest.approx(score.value, abs=1e-12)
    assert np.mean(result.per_example[score.metric]) != pytest.approx(score.value, abs=1e-3)
    alone = metric.score(["the cat sat on it"], ["the cat sat on a mat"])
    assert alone.contributions[score.metric] == [pytest.approx(alone.scores[0].value)]


@pytest.mark.parametrize("metric", [bleu, chrf], ids=["bleu", "chrf"])
def test_the_comparison_is_that_of_a_paired_bootstrap_of_the_corpus_score_itself(
    metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = []
    counted = metric.segment_counts
    monkeypatch.setattr(metric, "segment_counts", lambda *a, **k: tables.append(counted(*a, **k)) or tables[-1])
    results = [metric.score(*texts(share, seed)) for share, seed in ((0.25, 2), (0.30, 3))]
    name = results[0].scores[0].metric
    found = contrast_of_outputs(*(result.contributions[name] for result in results))
    value = metric._bleu if metric is bleu else metric._chrf
    direct = value(resampled_sums(tables[0])) - value(resampled_sums(tables[1]))
    low, high = np.percentile(direct, (2.5, 97.5))
    assert found.difference.value == pytest.approx(results[0].scores[0].value - results[1].scores[0].value, abs=1e-9)
    assert found.difference.low == pytest.approx(low, abs=0.06 * (high - low))
    assert found.difference.high == pytest.approx(high, abs=0.06 * (high - low))
    swaps = np.random.default_rng(0).integers(0, 2, (2_000, NUM))
    sums = [swaps @ tables[i] + (1 - swaps) @ tables[1 - i] for i in (0, 1)]
    extreme = np.abs(value(sums[0]) - value(sums[1])) >= abs(found.difference.value)
    assert found.p_outputs == pytest.approx((extreme.sum() + 1) / 2_001, abs=0.03)


def run_of(recipe: str, result: Any, predictions: list[str], folder: Path, number: int) -> tuple[Record, Path]:
    record = trained("bart-tiny", recipe, 0, number=number)
    path = folder / f"{record.run_id}.jsonl"
    write_predictions(path, [{"id": str(i), "prediction": text} for i, text in enumerate(predictions)])
    add_scores(path, result.per_example, result.contributions)
    return replace(record, scores=[replace(s, num_examples=NUM) for s in result.scores]), path


@pytest.mark.parametrize(("metric", "name"), [("bleu", "bleu"), ("chrf", "chrf++")])
def test_a_report_and_evaluate_say_the_same_of_two_runs(metric: str, name: str, tmp_path: Path) -> None:
    (mine, references), (theirs, _) = texts(0.25, 2), texts(0.32, 3)
    theirs[:20] = mine[:20]
    module = {"bleu": bleu, "chrf": chrf}[metric]
    pairs = [
        run_of(recipe, module.score(predictions, references), predictions, tmp_path, number)
        for number, (recipe, predictions) in enumerate((("bf16", mine), ("full", theirs)))
    ]
    records, files = [record for record, _ in pairs], {record.run_id: path for record, path in pairs}
    alone = kilowit.evaluate(mine, references, metrics=[metric], compare=theirs).comparison[name]
    shown = next(
        r for r in compare("recipe=full", "recipe=bf16", records=records, predictions=files).rows if r.figure == name
    )
    evidence = Evidence(choices_of(records), name, ExampleScores(files))
    of_recipe = {str(choice.finished[0].record.cell["recipe"]): choice for choice in evidence.choices}
    in_report = evidence.contrast(of_recipe["bf16"], of_recipe["full"])
    for other in (shown.contrast, in_report):
        assert other is not None
        assert other.difference.value == pytest.approx(alone.difference.value, abs=2e-6)
        assert other.p_outputs == pytest.approx(alone.p_outputs, abs=0.002)
        assert (other.num_wins, other.num_ties, other.num_losses) == (alone.num_wins, alone.num_ties, alone.num_losses)
        assert other.difference.low == pytest.approx(alone.difference.low, abs=0.002)
        assert other.difference.high == pytest.approx(alone.difference.high, abs=0.002)
    assert alone.num_ties is not None and alone.num_ties >= 20
    assert json.loads(files[records[0].run_id].read_text().splitlines()[0])["contributions"].keys() == {name}


def test_a_record_of_old_without_contributions_is_compared_by_its_interval(tmp_path: Path) -> None:
    predictions, references = texts(0.3, 2)
    record, path = run_of("full", bleu.score(predictions, references), predictions, tmp_path, 0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_predictions(path, [{key: value for key, value in row.items() if key != "contributions"} for row in rows])
    examples = ExampleScores({record.run_id: path})
    ((run,),) = [choice.finished for choice in choices_of([record])]
    assert examples.table([run], "bleu", examples.ids(run)) is None
