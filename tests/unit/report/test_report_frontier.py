from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from kilowit.record import Record
from kilowit.report import answer, compare, contents_of
from kilowit.report.table import Table
from report_records import ROUGE, baseline, scores, study_records, trained

NUM = 120


def with_examples(
    folder: Path, records: list[Record], gains: dict[str, float], *, scatter: float = 0.0
) -> tuple[list[Record], dict[str, Path]]:
    """Give records the scores of examples that share their difficulty, and the file that holds them."""
    shared = random.Random(1)
    difficulty = [0.10 + shared.random() / 4 for _ in range(NUM)]
    changed, files = [], {}
    for record in records:
        own = random.Random(record.run_id)
        shift = gains[str(record.cell["recipe"])] + scatter * (own.random() - 0.5)
        if scatter and record.cell["recipe"] == "frozen":
            shift += scatter * (1, -1, 0.5)[record.cell["seed"]]
        values = [round(d + shift + own.gauss(0, 0.02), 6) for d in difficulty]
        mean = sum(values) / NUM
        rows = [{"id": str(i), "prediction": "x", "scores": {"rouge2": v}} for i, v in enumerate(values)]
        path = folder / f"{record.run_id}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        files[record.run_id] = path
        changed.append(replace(record, scores=[replace(s, value=mean) if s.metric == "rouge2" else s
                                               for s in scores(mean, half_width=0.013)]))  # fmt: skip
    return changed, files


def study(*recipes: str, num_seeds: int = 3) -> list[Record]:
    return [trained("bart-tiny", r, s, number=100 * i + s) for i, r in enumerate(recipes) for s in range(num_seeds)]


def table(name: str, records: list[Record], files: dict[str, Path] | None = None) -> Table:
    return next(t for t in contents_of(records, predictions=files).tables if t.name == name)


def cells(found: Table, choice: str) -> dict[str, float | str | None]:
    row = next(r for r in found.rows if r[0].value == choice)
    return dict(zip([c.key for c in found.columns], [e.value for e in row], strict=True))


def test_the_front_is_given_with_probabilities_and_prices() -> None:
    found = table("frontier", study_records())
    lead, best, beaten = (cells(found, c) for c in ("lead", "bart-mini · frugal", "bart-mini · frozen"))
    assert lead["on_front_fraction"] > 0.99  # type: ignore[operator]
    assert best["on_front_fraction"] > 0.9  # type: ignore[operator]
    assert beaten["on_front_fraction"] < 0.05  # type: ignore[operator]
    assert best["price_against"] == "bart-tiny · frugal"
    # 15.8 Wh against 5.85 Wh for 12.75 against 10.45 points: 9.95 Wh x 3600 / 2.3
    assert best["price_energy_joule"] == pytest.approx(9.95 * 3600 / 2.3, rel=0.02)
    assert best["price_co2e_kg"] is not None and best["price_cost_usd"] is not None
    assert beaten["price_energy_joule"] is None
    assert any("not distinguishable" in reason for reason in found.reasons)


def test_an_equal_score_is_cheaper_on_the_front() -> None:
    found = table("frontier", study_records())
    # 11.78 points cost 22.7 Wh frozen, and 15.8 Wh buy 12.75 points
    assert cells(found, "bart-mini · frozen")["energy_equal_quality_ratio"] == pytest.approx(15.8 / 22.7, rel=0.01)
    assert cells(found, "lead")["energy_equal_quality_ratio"] == 1.0


def test_use_is_given_for_a_thousand_summaries() -> None:
    found = table("frontier", [trained("bart-tiny", "full", 0, number=1)])
    record = trained("bart-tiny", "full", 0, number=1)
    predict = record.phase("predict")
    assert predict is not None and predict.energy_total_joule is not None
    stored = cells(found, "bart-tiny · full")["predict.energy_per_1000_kwh"]  # joules; the CSV file divides
    assert stored == pytest.approx(1000 * predict.energy_total_joule / 819)


def test_constants_and_the_reference_point_are_printed() -> None:
    notes = " ".join(table("frontier", study_records()).footnotes)
    assert "α = 10" in notes and "β = 1 for training" in notes and "β = 100 for use" in notes
    assert "reference point (30.1 Wh: the dearest choice; score 8.30: lead)" in notes


def test_a_front_without_lead_has_zero_for_its_reference() -> None:
    notes = " ".join(table("frontier", study("full", "bf16")).footnotes)
    assert "for want of a lead baseline" in notes


def test_comparisons_are_paired_by_example_where_scores_are_kept(tmp_path: Path) -> None:
    records, files = with_examples(
        tmp_path, study("full", "bf16", "frozen"), {"full": 0, "bf16": 0.001, "frozen": -0.02}
    )
    sharp, blunt = table("comparisons", records, files), table("comparisons", records)
    row = next(r for r in sharp.rows if r[0].value == "bart-tiny · frozen")
    assert row[-1].value == "worse"
    assert sum(map(int, str(row[4].value).split(" / "))) == NUM
    interval, other = (next(r for r in t.rows if r[0].value == "bart-tiny · frozen")[3] for t in (sharp, blunt))
    assert interval.low is not None and interval.high is not None and other.low is not None and other.high is not None
    assert interval.high - interval.low < 0.7 * (other.high - other.low)
    assert other.value == pytest.approx(interval.value)


def test_seeds_that_scatter_take_the_verdict_back(tmp_path: Path) -> None:
    gains = {"full": 0.0, "frozen": -0.02}
    records, files = with_examples(tmp_path, study("full", "frozen"), gains, scatter=0.03)
    found = table("comparisons", records, files)
    assert {r[-1].value for r in found.rows} == {"not distinguishable"}
    assert min(float(r[5].value) for r in found.rows) < 0.05  # type: ignore[arg-type]


def test_two_seeds_are_a_single_run_in_the_table_and_the_answer_says_so(tmp_path: Path) -> None:
    gains = {"full": 0.0, "frozen": -0.02}
    records, files = with_examples(tmp_path, study("full", "frozen", num_seeds=2), gains)
    assert {r[-1].value for r in table("comparisons", records, files).rows} == {"single run"}
    said = answer([*records, baseline("lead", number=999)], predictions=files)
    assert "only 2 seeds" in " ".join(said.sentences)
    assert {f.verdict for f in said.findings if f.figure == "rouge2"} == {"single run"}


def test_many_comparisons_are_corrected_together() -> None:
    found = table("comparisons", study_records())
    rows = [dict(zip([c.key for c in found.columns], [e.value for e in row], strict=True)) for row in found.rows]
    assert all(r["p_method_holm"] >= r["p_method"] for r in rows)  # type: ignore[operator]
    pairs = [frozenset((r["choice"], r["against"])) for r in rows]
    assert len(pairs) == len(set(pairs))
    assert all((r["verdict"] == "not distinguishable") == (r["p_method_holm"] > 0.05) for r in rows)  # type: ignore[operator]
    assert max(r["p_method_holm"] / r["p_method"] for r in rows) > len(rows) / 2  # type: ignore[operator]


def test_compare_counts_wins_over_examples(tmp_path: Path) -> None:
    gains = {"full": 0.0, "bf16": 0.05}
    records, files = with_examples(tmp_path, study("full", "bf16"), gains)
    found = compare("recipe=full", "recipe=bf16", records=records, predictions=files)
    rouge2 = next(r for r in found.rows if r.figure == "rouge2")
    assert rouge2.verdict == "higher"
    assert rouge2.contrast is not None and rouge2.contrast.num_examples == NUM
    values = next(f for f in found.to_dict()["figures"] if f["figure"] == "rouge2")
    assert values["num_wins"] > values["num_losses"]
    assert values["p_method_holm"] >= values["p_method"]
    assert {r.figure for r in found.rows if r.contrast is not None} == set(ROUGE)


def test_a_report_says_the_same_with_and_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kilowit.report.render_markdown import markdown_text
    from kilowit.statistics import randomization, resample

    records, files = with_examples(tmp_path, study("full", "frozen"), {"full": 0.0, "frozen": -0.01})
    with_numpy = markdown_text(contents_of(records, predictions=files))
    for module in (resample, randomization):
        monkeypatch.setattr(module, "has_numpy", lambda engine="auto": False)
    assert markdown_text(contents_of(records, predictions=files)) == with_numpy
