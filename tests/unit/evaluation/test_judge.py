from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from kilowit.cli import main
from kilowit.errors import KilowitError
from kilowit.evaluation import judge

WORDS = [f"word{i}" for i in range(200)]


def judged(num_documents: int = 30, num_systems: int = 4) -> list[dict[str, Any]]:
    """Outputs of systems that keep more or less of the reference; people see how much, with noise."""
    generator = random.Random(5)
    rows = []
    for document in range(num_documents):
        reference = generator.sample(WORDS, 15)
        for system in range(num_systems):
            kept = reference[: 3 + 3 * system]
            human = len(kept) / 15 + generator.gauss(0, 0.05)
            rows.append(
                {
                    "source": " ".join(reference), "reference": " ".join(reference), "system_output": " ".join(kept),
                    "scores": {"relevance": human, "fluency": generator.random()},
                    "doc_id": document, "system_id": system,
                }
            )  # fmt: skip
    return rows


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    return path


def test_a_metric_that_people_agree_with_correlates_and_noise_does_not(tmp_path: Path) -> None:
    found = judge([write(tmp_path / "h.json", judged())], ["rouge"])
    of = {(a.level, a.dimension, a.metric): a for a in found}
    relevance = of["summary", "relevance", "rouge1"].kendall
    fluency = of["summary", "fluency", "rouge1"].kendall
    assert relevance is not None and relevance.low is not None and relevance.low > 0.5
    assert fluency is not None and not fluency.excludes(0.0)
    assert of["system", "relevance", "rouge1"].num_rows == 4
    assert relevance.num_repeats == 30  # documents, not rows


def test_an_array_and_lines_are_read_alike(tmp_path: Path) -> None:
    values = [
        [(a.metric, a.pearson) for a in judge([write(tmp_path / name, judged())], ["rouge"])]
        for name in ("h.json", "h.jsonl")
    ]
    assert values[0] == values[1]


def test_published_correlations_of_qags_are_found_again(shared_dir: Path) -> None:
    # ours, 2026-11-23; an independent count with other tokens gave 0.683 [.58, .76]
    path = shared_dir / "data" / "human" / "qags" / "qags_cnndm.json"
    found = {a.metric: a.pearson for a in judge([path], ["extractiveness"])}
    trigrams = found["supported_trigram_fraction"]
    assert trigrams is not None and trigrams.low is not None and trigrams.high is not None
    assert trigrams.value == pytest.approx(0.697, abs=0.001)
    assert (trigrams.low, trigrams.high) == (pytest.approx(0.60, abs=0.03), pytest.approx(0.77, abs=0.03))


BAD: dict[str, tuple[Any, str]] = {
    "no array": ({"rows": []}, "not a JSON array of objects"),
    "nothing": ([], "holds no judgements"),
    "no output": ([judged(1, 1)[0] | {"system_output": None}], 'row 0  "system_output" is missing'),
    "no scores": ([judged(1, 1)[0] | {"scores": {}}], '"scores" is missing or empty'),
    "a score of text": ([judged(1, 1)[0] | {"scores": {"relevance": "high"}}], 'human score "relevance" is'),
    "NaN": ([judged(1, 1)[0] | {"scores": {"relevance": float("nan")}}], "is nan"),
    "other dimensions": ([*judged(1, 1), judged(1, 1)[0] | {"scores": {"style": 1}}], "row 1  dimension"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_gets_one_clear_message_and_exit_code_two(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "judge", str(write(tmp_path / "h.json", content))]) == 2
    assert message in capsys.readouterr().err


def test_text_that_is_no_json_and_a_missing_file_are_said(tmp_path: Path) -> None:
    (tmp_path / "h.json").write_bytes(b"\xff\xfe")
    for name in ("h.json", "gone.json"):
        with pytest.raises(KilowitError):
            judge([tmp_path / name])


def test_the_verb_shows_each_correlation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "h.jsonl", judged())
    assert main(["metrics", "judge", str(path), "--metrics", "rouge"]) == 0
    said = capsys.readouterr()
    assert "rouge1\trelevance\tsummary\t120" in said.out
    assert "tau-b" in said.err
    assert main(["metrics", "judge", str(path), "--metrics", "rouge", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kendall"]["value"] > 0.5
