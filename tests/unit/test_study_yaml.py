"""YAML is read with places, by the rules of YAML 1.2, and refuses what cannot be hashed by meaning."""

# ruff: noqa: E501  (one row a case)

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.errors import StudyError
from kilowit.study import Study
from kilowit.study_yaml import MAX_STUDY_BYTE, override, parse_document, path_name, read_text


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("true", True), ("False", False),
        ("1e-5", 1e-5), ("5.0e-5", 5e-5), ("1.", 1.0), (".5", 0.5), ("-3", -3), ("012", 12), ("0x1f", 31), ("0o17", 15),
        ("1_000", "1_000"), ("12:30", "12:30"), ("2026-11-23", "2026-11-23"), ("~", None), ("null", None), ("", None),
        ("'1'", "1"), ('"true"', "true"), ("a b", "a b"), ("|\n  x\n", "x\n"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written: str, value: object) -> None:
    read = parse_document(f"key: {written}\n", "s").value["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "s:1:1  the study is empty\n  `kilowit init` writes a first study."),
        ("# only a comment\n", "s:1:1  the study is empty\n  `kilowit init` writes a first study."),
        ("- a\n", "s:1:1  a study is a mapping of keys to values\n  Begin with `name: my-study`; `kilowit init` writes a first study."),
        ("a: 1\nb: 2\na: 3\n", 's:3:1  duplicate key "a". It stands already at line 1.'),
        ("a: {b: 1, b: 2}\n", 's:1:11  a: duplicate key "b". It stands already at line 1.'),
        ("a: &x 1\nb: *x\n", "s:2:4  anchors and aliases are not used in a study\n  Write the value out."),
        ("a:\n  <<: {b: 1}\n", "s:2:3  a: merge keys are not used in a study. Write the values out."),
        ("a: !!python/name:os.system x\n", "s:1:4  a: tag tag:yaml.org,2002:python/name:os.system is not used in a study. Remove it."),
        ("a: !!str 1\n", "s:1:4  a: tag tag:yaml.org,2002:str is not used in a study. Remove it."),
        ("1: a\n", "s:1:1  key 1 is not text. Quote it."),
        ("? [a]\n: b\n", "s:1:3  key ? is not text. Quote it."),
        ("a: .inf\n", "s:1:4  a: .inf is not a finite number"),
        ("a: 1e999\n", "s:1:4  a: 1e999 is not a finite number"),
        ("a: 1\n---\nb: 2\n", "s:2:1  a second document begins here\n  Keep one study a file: remove the `---`."),
        ("a:\n\tb: 1\n", "s:2:1  a tab indents this line\n  Indent with spaces."),
        ("a: [1, 2\n", "s:2:1  expected ',' or ']', but got '<stream end>'\n  Check indentation, quotes and brackets here and on the line above."),
        ("a: \x01\n", "s:1  character U+0001 does not belong in YAML\n  Remove it; is this a text file?"),
        ("[" * 3000, "s  nested too deeply\n  A study needs four levels."),
    ],
)  # fmt: skip
def test_what_is_not_a_study_is_refused_in_one_message(text: str, expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_document(text, "s")
    assert str(caught.value) == expected


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such file"):
        read_text(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match=r"cannot be read \(Is a directory\)"):
        read_text(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: a\n# é\n".encode("latin-1"))
    with pytest.raises(StudyError, match=r"latin.yaml:2  not UTF-8 \(byte 0xe9\)"):
        read_text(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_bytes(b" " * (MAX_STUDY_BYTE + 1))
    with pytest.raises(StudyError, match="too long"):
        read_text(tmp_path / "large.yaml")
    (tmp_path / "marked.yaml").write_bytes(b"\xef\xbb\xbfname: a\n")
    assert read_text(tmp_path / "marked.yaml") == "name: a\n"


def test_every_value_has_its_place() -> None:
    document = parse_document("a:\n  b: [1, {c: 2}]\n", "s")
    assert document.values[("a", "b", 1, "c")] == (2, 14)
    assert document.keys[("a", "b", 1, "c")] == (2, 11)
    assert document.problem(("a", "b", 1, "none"), "x").place == "s:2:10"
    assert path_name(("a", "b", 1, "c")) == "a.b[1].c"


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("train.num_epochs=1", ("train", "num_epochs"), 1),
        ("train.learning_rate=1e-4", ("train", "learning_rate"), 1e-4),
        ("new.key=a=b", ("new", "key"), "a=b"),
        ("seeds=[0, 1]", ("seeds",), [0, 1]),
        ("datasets[0].max=3", ("datasets", 0, "max"), 3),
        ("datasets.0.max=null", ("datasets", 0, "max"), None),
        ("name=", ("name",), None),
    ],
)
def test_an_override_changes_one_value(assignment: str, path: tuple[str | int, ...], value: object) -> None:
    document = parse_document("name: a\ntrain: {num_epochs: 3}\ndatasets: [{name: x}]\n", "s")
    override(document, assignment)
    found = document.value
    for step in path:
        found = found[step]  # type: ignore[index]
    assert found == value


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.num_epochs", '--set  "train.num_epochs" is not key=value'),
        ("=1", '--set  "=1" is not key=value'),
        ("name.first=1", "--set name.first  name is not a mapping"),
        ("datasets[1].max=3", "--set datasets[1].max  datasets has items 0 to 0, not 1"),
        ("seeds=[0", "--set seeds:1:3  expected"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(assignment: str, message: str) -> None:
    document = parse_document("name: a\ndatasets: [{name: x}]\n", "s")
    with pytest.raises(StudyError) as caught:
        override(document, assignment)
    assert str(caught.value).startswith(message)


def test_an_override_goes_through_the_same_schema_and_names_itself_as_the_place() -> None:
    text = "name: a\nmodels: [lead]\ndatasets: [docstrings]\n"
    assert Study.parse(text, overrides=["train.num_epochs=1"]).settings.train.num_epochs == 1
    with pytest.raises(StudyError) as caught:
        Study.parse(text, overrides=["train.num_epochs=none", "train.num_epoch=1"])
    assert str(caught.value).splitlines() == [
        '--set train.num_epoch  train: no key "num_epoch". Did you mean "num_epochs"?',
        '--set train.num_epochs  train.num_epochs: expected a number, found "none".',
    ]
