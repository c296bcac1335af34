"""An exported folder is there whole, with a card that says what it is and what it cost, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import kilowit
from kilowit.errors import PartError, StoreError
from kilowit.parts.text_codec import Manifest
from kilowit.settings import RuntimeSettings
from tiny_summarizer import tiny_corpus

TORCH = RuntimeSettings(name="torch", precision="bf16")


def front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_a_model_of_others_is_exported_with_what_is_known_of_it(model_folder: Path, tmp_path: Path) -> None:
    exported = kilowit.export_model(model_folder, tmp_path / "deep" / "out", TORCH)
    assert exported.folder == tmp_path / "deep" / "out"
    assert exported.disk_byte == sum(p.stat().st_size for p in exported.folder.iterdir())
    assert exported.metered.total.energy_total_joule is not None
    assert Manifest.read(exported.folder).precision == "bf16"
    front = front_matter(exported.folder)
    assert (front["pipeline_tag"], front["license"]) == ("summarization", "other")
    assert "co2_eq_emissions" not in front  # nobody metered its training
    assert [p.name for p in exported.folder.parent.iterdir()] == ["out"]
    with kilowit.load_summarizer(exported.folder) as summarizer:
        assert summarizer.summarize(list(tiny_corpus().test.documents[:1]))


def test_a_folder_that_is_there_is_left_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="is there already"):
        kilowit.export_model(model_folder, tmp_path / "out", TORCH)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_export_that_fails_leaves_nothing(model_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((model_folder / name).read_bytes())
    with pytest.raises(PartError, match="no weights"):
        kilowit.export_model(broken, tmp_path / "out", TORCH)
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]


def test_what_does_not_go_together_is_refused_before_anything_is_written(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PartError, match='no precision "int8"'):
        kilowit.export_model(model_folder, tmp_path / "out", RuntimeSettings(name="torch", precision="int8"))
    kilowit.export_model(model_folder, tmp_path / "out", TORCH)
    with pytest.raises(PartError, match="is an export already"):
        kilowit.export_model(tmp_path / "out", tmp_path / "again", TORCH)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
