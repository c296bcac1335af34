from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kilowit
from kilowit.cli import main
from kilowit.errors import KilowitError
from kilowit.evaluation import read_texts
from kilowit.parts import table_file

WORDS = [*"abcdefghijklmnop"]


def rows(share_wrong: float, num: int = 60) -> list[dict[str, Any]]:
    """Summaries with a share of words at random; references and ids are those of every other call."""
    truth, noise = random.Random(1), random.Random(share_wrong)
    found = []
    for number in range(num):
        reference = [truth.choice(WORDS) for _ in range(12)]
        guess = [noise.choice(WORDS) if noise.random() < share_wrong else word for word in reference]
        found.append({"id": number, "prediction": " ".join(guess), "reference": " ".join(reference)})
    return found


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_a_file_is_scored_without_a_study_and_its_energy_booked(tmp_path: Path) -> None:
    found = kilowit.evaluate(write(tmp_path / "a.jsonl", rows(0.2)), metrics=["rouge", "length"])
    assert [s.metric for s in found.scores] == [
        "rouge1", "rouge2", "rougeL", "rougeLsum", "num_words", "num_words_over_reference",
    ]  # fmt: skip
    assert all(s.ci95_low is not None and s.ci95_low <= s.value for s in found.scores)
    assert found.num_examples == 60
    assert found.words_mean == 12
    assert [phase.phase for phase in found.metered.phases if phase.phase == "score"] == ["score"]
    assert json.dumps(found.to_dict())


def test_texts_are_scored_as_files_are(tmp_path: Path) -> None:
    values = rows(0.2)
    of_file = kilowit.evaluate(write(tmp_path / "a.jsonl", values))
    of_texts = kilowit.evaluate([v["prediction"] for v in values], [v["reference"] for v in values])
    assert of_file.scores == of_texts.scores
    assert of_file.fingerprint == of_texts.fingerprint


def test_csv_says_the_same_as_jsonl(tmp_path: Path) -> None:
    values = rows(0.2)
    lines = ["id,prediction,reference", *(f"{v['id']},{v['prediction']},{v['reference']}" for v in values)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert kilowit.evaluate(tmp_path / "a.csv").scores == kilowit.evaluate(write(tmp_path / "a.jsonl", values)).scores


def test_a_better_system_is_told_from_a_worse_one_by_example(tmp_path: Path) -> None:
    better, worse = write(tmp_path / "a.jsonl", rows(0.1)), write(tmp_path / "b.jsonl", rows(0.4)[::-1])
    found = kilowit.evaluate(better, metrics=["rouge", "length"], compare=worse)
    assert found.verdicts["rouge2"] == "better"
    assert kilowit.evaluate(worse, compare=better).verdicts["rouge2"] == "worse"
    assert found.verdicts["num_words"] == "not distinguishable"
    contrast = found.comparison["rouge2"]
    assert contrast.p_outputs is not None and contrast.p_outputs_holm is not None
    assert contrast.p_outputs < contrast.p_outputs_holm
    assert contrast.num_examples == 60


def test_a_descriptive_measure_is_higher_never_better(tmp_path: Path) -> None:
    longer = [row | {"prediction": row["prediction"] + " and so on"} for row in rows(0.2)]
    found = kilowit.evaluate(
        write(tmp_path / "a.jsonl", longer), metrics=["length"], compare=write(tmp_path / "b.jsonl", rows(0.2))
    )
    assert found.verdicts["num_words"] == "higher"


def test_a_metric_that_reads_sources_gets_them_or_says_that_it_needs_them(tmp_path: Path) -> None:
    with_source = [row | {"source": row["reference"] + " once more"} for row in rows(0.2)]
    path = write(tmp_path / "a.jsonl", with_source)
    assert kilowit.evaluate(path, metrics=["extractiveness"]).scores[0].value > 0.5
    with pytest.raises(KilowitError, match="needs the sources"):
        kilowit.evaluate(write(tmp_path / "b.jsonl", rows(0.2)), metrics=["extractiveness"])


def with_row(place: int, **changes: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        values = rows(0.2, num=5)
        values[place] = {k: v for k, v in (values[place] | changes).items() if v is not ...}
        write(path, values)

    return make


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(content), None)[1]


BAD = {
    "no prediction": (with_row(2, prediction=...), ":3", 'no "prediction"'),
    "a near name": (with_row(0, prediction=..., predictions="x"), ":1", 'Did you mean "predictions"?'),
    "no reference": (with_row(4, reference=...), ":5", 'no "reference"'),
    "an id too few": (with_row(3, id=...), ":4", 'no "id"'),
    "an id twice": (with_row(3, id=1), ":4", 'id "1" is also at'),
    "an odd id": (with_row(1, id=None), ":2", "id is None"),
    "NaN": (with_row(1, prediction=float("nan")), ":2", "prediction is NaN"),
    "NaN as pandas writes it": (with_row(1, reference="nan"), ":2", "reference is NaN"),
    "null": (with_row(1, prediction=None), ":2", "prediction is null"),
    "a number": (with_row(1, prediction=7), ":2", "prediction is int"),
    "a list": (with_row(1, reference=["x"]), ":2", "reference is list"),
    "nothing": (raw(b""), "", "holds no predictions"),
    "blank lines": (raw(b"\n\n"), "", "holds no predictions"),
    "no JSON": (raw(b"Once upon a time\n"), ":1", "not JSON"),
    "a JSON array": (raw(b'[{"prediction": "a"}]\n'), ":1", "not an object"),
    "another encoding": (raw(b'{"prediction": "caf\xe9", "reference": "x"}\n'), ":1", "not UTF-8"),
    "a column too late": (
        raw(b'{"prediction": "a", "reference": "b"}\n{"prediction": "a", "reference": "b", "id": 1}\n'),
        ":2",
        'has "id"',
    ),
}


@pytest.mark.parametrize(("make", "line", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_gets_one_clear_message_and_exit_code_two(
    make: Callable[[Path], None],
    line: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.jsonl"
    make(path)
    assert main(["evaluate", str(path)]) == 2
    said = capsys.readouterr()
    assert f"{path}{line}  " in said.err
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_row_of_csv_with_too_few_fields_says_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("prediction,reference\na,b\nc\n")
    assert main(["evaluate", str(tmp_path / "a.csv")]) == 2
    assert "a.csv:3  the row has 1 fields" in capsys.readouterr().err


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table_file.MAX_LINE_BYTE < 100e6
    monkeypatch.setattr(table_file, "MAX_LINE_BYTE", 1 << 20)
    (tmp_path / "long.jsonl").write_bytes(b'{"prediction": "' + b"a" * (1 << 21))
    assert main(["evaluate", str(tmp_path / "long.jsonl")]) == 2
    assert "long.jsonl:1  the line is longer than 1 MiB" in capsys.readouterr().err


def test_a_missing_file_and_an_unknown_metric_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "gone.jsonl")]) == 2
    path = write(tmp_path / "a.jsonl", rows(0.2))
    assert main(["evaluate", str(path), "--metrics", "ruge"]) == 2
    assert main(["evaluate", str(path), "--metrics", "rouge,"]) == 2
    said = capsys.readouterr().err
    assert "gone.jsonl  cannot be read" in said
    assert 'Did you mean "rouge"?' in said


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(KilowitError, match="2 predictions, but 1 references"):
        kilowit.evaluate(["a", "b"], ["a"])
    with pytest.raises(KilowitError, match="2 predictions, but 0 references"):
        kilowit.evaluate(["a", "b"])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (rows(0.2)[:-1], '59 examples, but .* has 60; "59" is in one of them only'),
        ([*rows(0.2)[:-1], rows(0.2)[-1] | {"id": "new"}], 'id "59" is not in'),
        ([{k: v for k, v in row.items() if k != "id"} for row in rows(0.2)], "has no ids"),
        ([*rows(0.2)[:-1], rows(0.2)[-1] | {"reference": "else"}], "the reference differs"),
    ],
    ids=["fewer", "another id", "no ids", "another reference"],
)
def test_systems_on_other_examples_are_not_compared(tmp_path: Path, other: list[dict[str, Any]], message: str) -> None:
    one, two = write(tmp_path / "a.jsonl", rows(0.2)), write(tmp_path / "b.jsonl", other)
    with pytest.raises(KilowitError, match=message):
        kilowit.evaluate(one, compare=two)


def test_empty_summaries_are_counted_and_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row | {"prediction": ""} if row["id"] < 3 else row for row in rows(0.2)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert kilowit.evaluate(path).num_empty == 3
    assert read_texts(path).place(2).endswith("a.jsonl:3")


def test_the_verb_shows_scores_and_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "a.jsonl", rows(0.1)), write(tmp_path / "b.jsonl", rows(0.4))
    assert main(["evaluate", str(one), "--compare", str(two), "--metrics", "rouge,bleu"]) == 0
    said = capsys.readouterr()
    assert "rouge2\t0." in said.out
    assert "\tbetter" in said.out
    assert "rouge|l:rouge1|stem:porter" in said.err
    assert "one run cannot tell" in said.err
    assert "compared by what each example adds" in said.err
    assert main(["evaluate", str(one), "--compare", str(two), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"][0]["verdict"] == "better"
