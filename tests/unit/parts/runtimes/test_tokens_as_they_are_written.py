"""Tokens are told as runtimes settle them: once, in order, and put together the row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kilowit import parts
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions, TokenFeed

SOURCES = [[5, 6, 7, 2], [9, 10, 2], [20, 21, 22, 23, 24, 25, 2], [30, 31, 2], [40, 41, 42, 2]]
GREEDY = GenerateOptions(num_beams=1, max_new_tokens=10, no_repeat_ngram_size=3, batch_size=3)
BEAMS = replace(GREEDY, num_beams=3, length_penalty=2.0)
RUNTIMES = ("torch", "torch_fast", "onnxruntime", "openvino", "ctranslate2")
KEEPS_BEAMS = ("torch", "ctranslate2")  # to itself, until the batch is over


@pytest.fixture(scope="module")
def generators(tiny_exports: Path) -> Any:
    """A function that returns a runtime with the tiny BART, loaded once."""
    loaded: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in loaded:
            if name in ("openvino", "ctranslate2"):
                pytest.importorskip(name)
            module = parts.load("runtimes", name)
            folder = tiny_exports / ("model" if getattr(module, "READS_MODEL_FOLDER", False) else name)
            if not folder.exists():
                module.export(tiny_exports / "model", folder, "fp32")
            loaded[name] = module.load(folder, RuntimeOptions(num_threads=1))
        return loaded[name]

    return get


class Told:
    """What a runtime told, call by call."""

    def __init__(self, num_wanted: dict[int, int] | None = None) -> None:
        self.calls: list[tuple[int, list[int]]] = []
        self.num_wanted = num_wanted or {}

    def __call__(self, place: int, tokens: Sequence[int]) -> bool:
        self.calls.append((place, list(tokens)))
        return len(self.row(place)) < self.num_wanted.get(place, 1000)

    def row(self, place: int) -> list[int]:
        return [token for told, tokens in self.calls if told == place for token in tokens]


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("options", [GREEDY, BEAMS, replace(GREEDY, min_new_tokens=6)], ids=["greedy", "beams", "min"])
def test_what_is_told_is_the_row_and_telling_changes_nothing(
    generators: Any, name: str, options: GenerateOptions
) -> None:
    generator, told = generators(name), Told()
    expected = generator.generate(SOURCES, options)
    assert generator.generate(SOURCES, options, None, told) == expected
    assert [told.row(place) for place in range(len(SOURCES))] == expected
    assert all(tokens for _, tokens in told.calls)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_greedy_search_tells_each_token_as_it_is_chosen(generators: Any, name: str) -> None:
    told = Told()
    rows = generators(name).generate(SOURCES, GREEDY, None, told)
    calls = [tokens for place, tokens in told.calls if place == 0]
    assert len(calls) >= len(rows[0]) - 1  # an end that is forced may come with the last
    # Sources of one batch take turns: none is held back until another is finished.
    assert len({place for place, _ in told.calls[:3]}) == 3


@pytest.mark.parametrize("name", [name for name in RUNTIMES if name not in KEEPS_BEAMS])
def test_a_beam_search_tells_what_all_beams_agree_on_before_it_ends(generators: Any, name: str) -> None:
    told = Told()
    options = replace(BEAMS, num_beams=2, max_new_tokens=12)
    rows = generators(name).generate(SOURCES, options, None, told)
    assert any(sum(place == told_of for told_of, _ in told.calls) > 1 for place in range(len(rows)))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_source_of_which_no_more_is_wanted_ends_there_and_the_others_go_on(generators: Any, name: str) -> None:
    generator, told = generators(name), Told({1: 2})
    expected = generator.generate(SOURCES, GREEDY)
    rows = generator.generate(SOURCES, GREEDY, None, told)
    assert rows[1] == told.row(1) == expected[1][:2]
    assert [row for place, row in enumerate(rows) if place != 1] == expected[:1] + expected[2:]
    nothing = Told(dict.fromkeys(range(len(SOURCES)), 1))
    assert generator.generate(SOURCES, GREEDY, None, nothing) == [row[:1] for row in expected]


def test_tokens_that_are_taken_back_are_an_error_of_ours() -> None:
    feed = TokenFeed(lambda place, tokens: True, 1)
    feed.tell(0, [3, 4])
    with pytest.raises(AssertionError, match="taken back"):
        feed.finish(0, [3, 5])
