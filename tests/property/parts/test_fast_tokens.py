"""torch_fast writes the tokens of transformers' generate: every search, every setting, every way to batch."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_models import generators, loaded_model
from kilowit.parts.fast_batch import DecodeBatch
from kilowit.parts.fast_generate import FastGenerator
from kilowit.parts.fast_search import TokenRules
from kilowit.parts.narrow import narrow
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.stock_generate import StockGenerator, new_tokens
from tiny_training import VOCABULARY_SIZE, random_split

FAMILIES = ("bart", "pegasus", "t5")
SOURCES = [list(source) for source in random_split(14).source_tokens] + [[2]]  # one of a single token


@cache
def pair(family: str) -> tuple[StockGenerator, FastGenerator]:
    return generators(family)


searches = st.builds(
    GenerateOptions,
    num_beams=st.sampled_from([1, 2, 4, 6]),
    max_new_tokens=st.integers(1, 14),
    min_new_tokens=st.just(0),
    length_penalty=st.sampled_from([-0.5, 0.0, 0.6, 1.0, 2.0]),
    no_repeat_ngram_size=st.sampled_from([0, 1, 2, 3]),
    early_stopping=st.booleans(),
    batch_size=st.sampled_from([1, 4, 15]),
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(search=searches, minimum=st.sampled_from([0, 0, 1, 5]))
def test_tokens_are_those_of_transformers_under_any_setting(family: str, search: GenerateOptions, minimum: int) -> None:
    stock, fast = pair(family)
    options = GenerateOptions(**{**vars(search), "min_new_tokens": min(minimum, search.max_new_tokens)})
    assert fast.generate(SOURCES, options) == stock.generate(SOURCES, options)


@pytest.mark.parametrize("family", FAMILIES)
def test_summaries_of_the_test_model_end_at_many_lengths(family: str) -> None:
    lengths = {len(tokens) for tokens in pair(family)[0].generate(SOURCES, GenerateOptions(4, 14, batch_size=15))}
    assert len(lengths) > 2


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_batches_and_retirement_leave_no_trace_in_the_tokens(family: str, num_beams: int) -> None:
    fast = pair(family)[1]
    results = [fast.generate(SOURCES, GenerateOptions(num_beams, 12, batch_size=n)) for n in (1, 5, 15)]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_forced_tokens_are_forced(family: str, num_beams: int) -> None:
    stock, fast = generators(family, forced_bos_token_id=9, forced_eos_token_id=2)
    options = GenerateOptions(num_beams, 8, min_new_tokens=8, batch_size=15)
    written = fast.generate(SOURCES, options)
    assert written == stock.generate(SOURCES, options)
    assert {(tokens[0], tokens[-1]) for tokens in written} == {(9, 2)}


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_several_end_tokens_end_a_summary(family: str, num_beams: int) -> None:
    stock, fast = generators(family, eos_token_id=[2, 11, 30])
    options = GenerateOptions(num_beams, 12, batch_size=6)
    assert fast.generate(SOURCES, options) == stock.generate(SOURCES, options)


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_of_one_shape_can_be_replayed_and_begun_anew(family: str, num_beams: int) -> None:
    """What a CUDA graph holds: every step reads all positions, and takes its number from a tensor."""
    fast = pair(family)[1]
    options = GenerateOptions(num_beams, 9, no_repeat_ngram_size=2, batch_size=15)
    sources = sorted(SOURCES, key=len, reverse=True)
    with torch.inference_mode():
        rules = TokenRules(fast.tokens, options, VOCABULARY_SIZE, fast.device)
        batch = DecodeBatch(fast.decoder, rules, [fast.encode(sources)], range(len(sources)))
        for _ in range(2):
            batch.restart()
            for _ in range(options.max_new_tokens):
                batch.advance()
            written = [new_tokens(row, fast.tokens.end) for row in batch.search.best().tolist()]
            assert written == fast.generate(sources, options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_with_pruned_heads_is_decoded_as_it_is(family: str) -> None:
    loaded = loaded_model(family)
    loaded.model = narrow(loaded.model, heads_kept_fraction=0.5, ffn_kept_fraction=0.5).eval()
    options = GenerateOptions(4, 10, batch_size=5)
    assert FastGenerator(loaded).generate(SOURCES, options) == StockGenerator(loaded).generate(SOURCES, options)
