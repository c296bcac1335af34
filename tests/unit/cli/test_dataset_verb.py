"""`kilowit dataset` and `kilowit.describe_dataset`: the card of any dataset, without a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kilowit
from kilowit.cli import main
from kilowit.cli.dataset_view import sparklines
from kilowit.errors import StudyError
from kilowit.parts.text_lengths import length_facts

ROWS = [
    {"id": str(i), "document": f"Amanda baked {i} cookies. She will bring some tomorrow.", "summary": "Amanda baked."}
    for i in range(8)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["dataset", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_card_of_a_folder_is_shown_as_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = shown(capsys, str(folder), "--max-source", "8", "--set", "licence=cc0")
    lines = out.splitlines()
    assert code == 0
    assert "licence      cc0" in lines
    heads = next(i for i, line in enumerate(lines) if line.startswith("split\tcoverage"))
    table = dict(zip(lines[heads].split("\t"), lines[heads + 1].split("\t"), strict=True))
    assert (table["coverage"], table["density"], table["compression"]) == ("100 %", "2.00", "4.50")
    assert table["novel 1-grams"] == table["novel 2-grams"] == "0 %"
    sources = lines.index(next(line for line in lines if line.startswith("sources in words\tcounted")))
    assert lines[sources + 1] == "train\t8\t9\t9\t9\t9\t9\t█"
    assert any(line == "sources in words\tover 8 ◂\tover 128" for line in lines)


def test_json_holds_the_whole_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = shown(capsys, str(folder), "--json", "--max-target", "1")
    card = json.loads(out)
    assert code == 0
    assert [split["split"] for split in card["splits"]] == ["train", "validation", "test"]
    assert card["splits"][0]["target_length"] == {
        "unit": "word", "num_texts": 8, "maximum": 1, "num_texts_by_length": {"2": 8},
        "percentiles": dict.fromkeys(["0", "5", "25", "50", "75", "95", "99", "100"], 2),
        "truncated_fraction": {"1": 1.0, "32": 0.0, "64": 0.0, "128": 0.0, "256": 0.0, "512": 0.0},
    }  # fmt: skip


def test_one_file_is_divided_and_named_options_are_those_of_a_study(tmp_path: Path) -> None:
    rows = [{"text": f"body {i} of a text", "title": f"title {i}"} for i in range(200)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"name": "local_files", "path": str(file), "document_column": "text", "summary_column": "title"}
    one = kilowit.describe_dataset(file, overrides=["document_column=text", "summary_column=title"])
    assert one == kilowit.describe_dataset(named)
    assert sum(split.num_examples for split in one.splits) == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["samsun"], 'dataset samsun  no dataset "samsun". Did you mean "samsum"?'),
        (["none.jsonl"], "none.jsonl  no such file or folder"),
        (["."], "the folder has no file of the train split"),
        (["samsum", "--set", "pth=x"], '--set pth  no key "pth". Did you mean "path"?'),
        (["samsum", "--set", "path"], '"path" is not key=value'),
        (["docstrings", "--set", "seed=-1"], "--set seed  seed: it should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_described_is_one_clear_error(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = shown(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_mapping_without_a_name_is_refused() -> None:
    with pytest.raises(StudyError, match="expected a dataset's name"):
        kilowit.describe_dataset({"path": "x"})


def test_lengths_are_in_tokens_of_the_tokenizer_that_is_named(folder: Path, shared_dir: Path) -> None:
    pytest.importorskip("transformers")
    facts = kilowit.describe_dataset(folder, tokenizer=shared_dir / "data" / "tokenizers" / "bart", max_source=16)
    train = facts.splits[0]
    assert train.source_length is not None and train.source_length.unit == "token"
    assert (train.source_words_mean, train.source_tokens_mean) == (9, 14)  # <s> Am anda b aked 0 cookies . She ... </s>
    assert train.source_truncated_fraction == 0.0


def test_sparklines_of_splits_stand_under_each_other() -> None:
    short, long = length_facts([4] * 9 + [8], "word", []), length_facts([8, 8, 64], "word", [])
    assert short is not None and long is not None
    first, second = sparklines([short, long])
    assert first[0] == "█" and second.startswith("   ")
    assert first.rstrip()[-1] == "▂"  # a tenth over half the width of the bin of 4: a quarter of its height
    assert len(second) > len(first)
