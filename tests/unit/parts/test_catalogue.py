"""What is known of models before anything is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.models import bart


def test_all_families_and_baselines_are_found_by_their_files() -> None:
    assert [family.name for family in catalogue.families()] == [
        "bart", "bert2bert", "bigbird_pegasus", "gpt2", "led", "llama", "longt5", "mbart", "mt5", "pegasus",
        "pegasus_x", "prophetnet", "t5", "unilm",
    ]  # fmt: skip
    assert catalogue.baseline_names() == ("lead", "textrank")
    assert {"bart-tiny", "t5-mini", "pegasus-large"} <= set(catalogue.scratch_names())
    assert all("default" in family.generation for family in catalogue.families())


def test_nothing_here_needs_torch_or_transformers() -> None:
    code = (
        "import sys; from kilowit.parts import catalogue\n"
        "catalogue.resolve_dimensions({'scratch': 't5-mini'})\n"
        "catalogue.resolve_dimensions({'hub': 'facebook/bart-base'})\n"
        "assert not {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_size_from_scratch_has_its_vocabulary_by_default_or_as_asked() -> None:
    size = catalogue.resolve_dimensions({"scratch": "bart-tiny"})
    assert size is not None and size.family.name == "bart"
    assert (size.dimensions.vocabulary_size, size.num_parameters) == (4096, 1_713_152)
    larger = catalogue.resolve_dimensions({"scratch": "bart-tiny", "vocabulary_size": 5096})
    assert larger is not None and larger.num_parameters == 1_713_152 + 1000 * 128


def test_a_known_hub_id_has_its_published_size_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    size = catalogue.resolve_dimensions({"hub": "google-t5/t5-11b"})
    assert size is not None and size.family.name == "t5"
    assert size.num_parameters / 1e6 == pytest.approx(11307, abs=1)
    assert catalogue.resolve_dimensions({"hub": "someone/some-model"}) is None
    assert catalogue.resolve_dimensions({"baseline": "lead"}) is None


def test_a_hub_id_in_the_cache_is_read_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--some-model"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    config = {"model_type": "bart", **bart.SIZES["bart-tiny"]}
    (repository / "snapshots" / "abc" / "config.json").write_text(json.dumps(config))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for spec in ({"hub": "someone/some-model"}, {"hub": "someone/some-model", "revision": "abc"}):
        size = catalogue.resolve_dimensions(spec)
        assert size is not None and size.num_parameters == 1_713_152


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ({"scratch": "bart-tinny"}, 'no size "bart-tinny"', 'Did you mean "bart-tiny"?'),
        ({"baseline": "leed"}, 'no baseline "leed"', 'Did you mean "lead"?'),
        ({"scratch": "t5-tiny", "tokenizer": "x", "vocabulary_size": 9}, "has its own size", "Leave out"),
        ({"folder": "/nowhere/at/all"}, "no such folder", "save_pretrained"),
        ({"name": "x"}, "needs one of hub, folder, scratch, warm_start, baseline", "Example"),
    ],
)
def test_a_model_that_cannot_be_is_refused_with_a_hint(spec: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(PartError, match=message) as caught:
        catalogue.check_model(spec)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "bloom"}', 'model type "bloom" is not supported'),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"model_type": "bart"}', "config.json of a bart lacks encoder_layers"),
    ],
)
def test_a_folder_that_is_no_model_of_ours_is_refused(tmp_path: Path, config: str, message: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(PartError, match=message) as caught:
        catalogue.resolve_dimensions({"folder": str(tmp_path)})
    assert caught.value.hint


def test_generation_defaults_are_those_of_the_dataset_else_the_general_ones() -> None:
    assert catalogue.generation_defaults(bart.FAMILY, "cnn_dailymail").length_penalty == 2.0
    assert catalogue.generation_defaults(bart.FAMILY, "mine") == bart.FAMILY.generation["default"]
