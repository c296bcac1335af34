"""A cell's key changes with all that can change its result, and with nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilowit.errors import KilowitError, StudyError
from kilowit.study import Study

STUDY: dict[str, Any] = {
    "name": "a-study",
    "models": [{"hub": "facebook/bart-base", "revision": "main"}, {"scratch": "bart-tiny"}],
    "datasets": [{"name": "docstrings", "max_train_examples": 200}],
    "recipes": {"full": [], "frugal": ["bf16", {"freeze": {"modules": ["encoder"]}}]},
    "seeds": [0, 1],
    "train": {"num_epochs": 3, "batch_size": 16, "learning_rate": 5e-5},
    "predict": {"num_beams": 4},
    "metrics": ["rouge"],
}
IRRELEVANT: dict[str, list[Any]] = {
    "name": ["another-name"],
    "description": ["What for."],
    "measure": [{"idle_second": 0, "order": "listed", "keep_model": True}, {"timeout_second": 60}],
    "factors": [{"region": "country/FR"}, {"machine": "Standard_NC24ads_A100_v4", "pue": 1.2}],
    "budget": [{"energy_kwh": 1}],
}
RELEVANT = [
    ("models", [{"hub": "facebook/bart-large"}, {"scratch": "bart-mini"}]),
    ("models", [{"hub": "facebook/bart-base", "revision": "other"}, {"scratch": "bart-tiny", "vocabulary_size": 999}]),
    ("models", [{"hub": "facebook/bart-base", "weights": "random"}, {"scratch": "t5-tiny"}]),
    ("datasets", [{"name": "docstrings", "max_train_examples": 201}]),
    ("datasets", [{"name": "docstrings", "max_train_examples": 200, "seed": 1}]),
    ("datasets", ["samsum"]),
    ("recipes", {"full": ["sortish"], "frugal": [{"freeze": {"modules": ["encoder"]}}, "bf16"]}),
    ("recipes", {"full": ["bf16"], "frugal": ["bf16", {"freeze": {"modules": ["embeddings"]}}]}),
    ("seeds", [2, 3]),
    ("train", {"num_epochs": 3, "batch_size": 8, "learning_rate": 5e-5}),
    ("train", {"num_epochs": 3, "batch_size": 16, "learning_rate": 5e-5, "label_smoothing": 0.1}),
    ("predict", {"num_beams": 2}),
    ("predict", {"num_beams": 4, "length_penalty": 2.0}),
    ("predict", {"num_beams": 4, "runtime": "torch_fast"}),
    ("predict", {"num_beams": 4, "runtime": {"name": "torch", "precision": "bf16"}}),
    ("serve", {}),
    ("serve", {"runtimes": ["torch", "torch_fast"]}),
]


def keys(document: dict[str, Any]) -> list[str]:
    return [cell.key for cell in Study.parse(json.dumps(document)).cells]


def block_style(value: Any, indent: int = 0) -> str:
    """The same document, one key a line, with comments."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        return "\n" + "".join(f"{pad}{key}:{block_style(item, indent + 1)}  # why\n" for key, item in value.items())
    if isinstance(value, list) and value:
        return "\n" + "".join(f"{pad}- {json.dumps(item)}\n" for item in value)
    return f" {json.dumps(value)}"


@given(st.permutations(list(STUDY)))
def test_the_order_of_keys_does_not_matter(names: list[str]) -> None:
    assert keys({name: STUDY[name] for name in names}) == keys(STUDY)


def test_the_layout_does_not_matter() -> None:
    assert [cell.key for cell in Study.parse(block_style(STUDY)).cells] == keys(STUDY)


def test_a_default_that_is_written_out_does_not_matter() -> None:
    written = json.loads(json.dumps(STUDY))
    written["train"] |= {"schedule": "linear", "num_epochs": 3.0, "num_steps": None}
    written["hardware"] = ["local"]
    written["recipes"]["frugal"][0] = {"bf16": {}}
    written["datasets"][0] |= {"seed": 0, "max_test_examples": None}
    assert keys(written) == keys(STUDY)


@given(st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in IRRELEVANT.items()}))
def test_how_it_is_measured_priced_and_named_does_not_matter(changes: dict[str, Any]) -> None:
    assert keys({**STUDY, **changes}) == keys(STUDY)


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=5), min_size=2, max_size=2, unique=True))
def test_the_names_of_recipes_do_not_matter(names: list[str]) -> None:
    renamed = dict(zip(names, STUDY["recipes"].values(), strict=True))
    assert keys({**STUDY, "recipes": renamed}) == keys(STUDY)


@pytest.mark.parametrize(("name", "value"), RELEVANT)
def test_what_changes_the_result_changes_every_key(name: str, value: Any) -> None:
    assert not set(keys({**STUDY, name: value})) & set(keys(STUDY))


def test_a_baseline_keeps_its_key_whatever_is_trained() -> None:
    alone = {"name": "a", "models": ["lead"], "datasets": ["docstrings"]}
    changed = {
        **alone,
        "train": {"num_epochs": 9},
        "seeds": [3, 4],
        "recipes": {"half": ["bf16"]},
        "predict": {"num_beams": 1},
    }
    assert keys(alone) == keys(changed)
    assert keys(alone) != keys({**alone, "models": [{"baseline": "lead", "num_sentences": 2}]})


@given(st.integers(0, 4), st.integers(0, 4))
def test_what_was_excluded_does_not_change_the_others(model: int, seed: int) -> None:
    exclude = [{"model": "bart-tiny", "seed": seed % 2}] if model % 2 else [{"recipe": "frugal", "seed": seed % 2}]
    assert set(keys({**STUDY, "exclude": exclude})) < set(keys(STUDY))


@given(st.text(max_size=300))
def test_any_text_is_a_study_or_one_study_error(text: str) -> None:
    try:
        Study.parse(text)
    except StudyError as error:
        assert error.place
        assert str(error).startswith("study.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*STUDY, *IRRELEVANT, "exclude", "hardware", "x"), JSON)))
def test_any_document_is_a_study_or_one_study_error(changes: dict[str, Any]) -> None:
    try:
        Study.parse(json.dumps({**STUDY, **changes}))
    except KilowitError as error:
        assert isinstance(error, StudyError)
