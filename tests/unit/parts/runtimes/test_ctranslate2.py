"""CTranslate2 writes what generate writes, but for its beams' own rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions
from kilowit.parts.runtimes import ctranslate2
from tiny_summarizers import random_sources, save, sharp_model, written_by_generate

pytest.importorskip("torch")
pytest.importorskip("ctranslate2")

ONE_THREAD = RuntimeOptions(num_threads=1)


@pytest.mark.parametrize("family", ["bart", "pegasus", "t5"])
def test_greedy_tokens_equal_those_of_generate(tmp_path: Path, family: str) -> None:
    model = sharp_model(family)
    ctranslate2.export(save(model, tmp_path / "model"), tmp_path / "ct2", "fp32")
    generator, sources = ctranslate2.load(tmp_path / "ct2", ONE_THREAD), random_sources()
    for options in (
        GenerateOptions(max_new_tokens=20),
        GenerateOptions(max_new_tokens=20, min_new_tokens=8, no_repeat_ngram_size=2, batch_size=5),
        GenerateOptions(max_new_tokens=9, min_new_tokens=9),
        GenerateOptions(max_new_tokens=1),
    ):
        done: list[int] = []
        assert generator.generate(sources, options, done.extend) == written_by_generate(model, sources, options)
        assert sorted(done) == list(range(len(sources)))


def test_beams_and_8_bits_write_summaries_of_the_lengths_asked_for(tmp_path: Path) -> None:
    ctranslate2.export(save(sharp_model("t5"), tmp_path / "model"), tmp_path / "ct2", "int8")
    generator = ctranslate2.load(tmp_path / "ct2", ONE_THREAD)
    written = generator.generate(random_sources(), GenerateOptions(4, 12, 5, 2.0, 3))
    assert all(6 <= len(row) <= 12 for row in written)


def test_pruned_heads_are_refused(tmp_path: Path) -> None:
    from kilowit.parts.narrow import narrow

    for family, said in (("bart", "no pruned heads"), ("t5", "cannot convert the model")):
        folder = save(narrow(sharp_model(family), 0.5, 1.0), tmp_path / family)
        with pytest.raises(PartError, match=said):
            ctranslate2.export(folder, tmp_path / f"{family}-ct2", "fp32")


def test_a_folder_that_is_not_whole_is_one_clear_error(tmp_path: Path) -> None:
    ctranslate2.export(save(sharp_model("t5"), tmp_path / "model"), tmp_path / "ct2", "int8")
    (tmp_path / "ct2" / "model.bin").write_bytes(b"no model")
    with pytest.raises(PartError, match="cannot load the model"):
        ctranslate2.load(tmp_path / "ct2", ONE_THREAD)
