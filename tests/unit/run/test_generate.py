"""Prediction: order, counts and settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kilowit.parts import load
from kilowit.parts.flop import generate_flop
from kilowit.run.generate import generate_summaries, generation_config
from kilowit.run.summaries import Generated, summarize_each
from kilowit.settings import PredictSettings
from kilowit.statistics.latency import latency_percentiles
from tiny_training import EOS, PAD, random_split, tiny_model


class Numbers:
    """A tokenizer whose words are the numbers of its tokens."""

    pad_token_id = PAD

    def batch_decode(self, rows: list[list[int]], skip_special_tokens: bool) -> list[str]:
        return [" ".join(str(i) for i in row if i > EOS) for row in rows]


def generate(batch_size: int, **settings: Any) -> tuple[Generated, Any, list[int]]:
    model = tiny_model("bart")
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():  # weights large enough to write different words
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=1.0)
    model.generation_config.max_length = None
    config = generation_config(model, PredictSettings(num_beams=2, max_new_tokens=9, **settings))
    done: list[int] = []
    generated = generate_summaries(
        model, Numbers(), random_split(7).source_tokens, config=config, batch_size=batch_size, precision="fp32",
        dimensions=load("models", "bart").FAMILY.dimensions(model.config.to_dict()), synchronize=lambda: None,
        on_batch=done.append,
    )  # fmt: skip
    return generated, config, done


def test_summaries_come_in_the_order_of_the_documents_whatever_the_batch() -> None:
    alone, together = generate(1)[0], generate(4)[0]
    assert alone.texts == together.texts
    assert len(set(alone.texts)) > 1
    assert alone.num_output_tokens == together.num_output_tokens


def test_tokens_are_counted_with_the_closing_one_and_without_start_and_padding() -> None:
    generated, config, done = generate(4)
    assert done == [4, 7]
    assert generated.num_output_tokens is not None
    for text, count in zip(generated.texts, generated.num_output_tokens, strict=True):
        assert len(text.split()) <= count <= config.max_new_tokens
    assert len(generated.latency_second) == 7
    assert len(set(generated.latency_second)) == 2  # one for each batch


def test_flops_are_those_of_the_formula_for_the_tokens_written() -> None:
    generated, config, _ = generate(4)
    dimensions = load("models", "bart").FAMILY.dimensions(tiny_model("bart").config.to_dict())
    expected = sum(
        generate_flop(dimensions, len(source), count, config.num_beams)
        for source, count in zip(random_split(7).source_tokens, generated.num_output_tokens or [], strict=True)
    )
    assert generated.flop_total == pytest.approx(expected)


def test_study_overrides_the_defaults_of_the_family_and_leaves_the_model_alone() -> None:
    from transformers import GenerationConfig

    defaults = GenerationConfig(num_beams=4, max_new_tokens=60, length_penalty=2.0)
    model = SimpleNamespace(generation_config=defaults)
    config = generation_config(model, PredictSettings(num_beams=1, min_new_tokens=3, batch_size=8))
    assert (config.num_beams, config.max_new_tokens, config.min_new_tokens) == (1, 60, 3)
    assert config.length_penalty == 2.0
    assert defaults.num_beams == 4


def test_minimum_of_the_family_gives_way_to_a_smaller_maximum_of_the_study() -> None:
    from transformers import GenerationConfig

    model = SimpleNamespace(generation_config=GenerationConfig(max_new_tokens=60, min_new_tokens=11))
    assert generation_config(model, PredictSettings(max_new_tokens=5)).min_new_tokens == 5
    assert generation_config(model, PredictSettings(max_new_tokens=30)).min_new_tokens == 11


def test_training_free_summarizer_is_timed_document_by_document() -> None:
    summarizer = load("models", "lead").summarizer(load("models", "lead").Options(), None)
    done: list[int] = []
    generated = summarize_each(summarizer, ["One. Two.", "Three."], done.append)
    assert generated.texts == ["One.\nTwo.", "Three."]
    assert done == [1, 2]
    assert generated.num_output_tokens is None
    assert len(generated.latency_second) == 2


def test_percentiles_are_interpolated_linearly_and_defined_for_one() -> None:
    values = [float(i) for i in range(101)]
    assert latency_percentiles(values) == {
        "latency_p50_second": 50.0, "latency_p95_second": 95.0, "latency_p99_second": 99.0,
    }  # fmt: skip
    assert set(latency_percentiles([0.25]).values()) == {0.25}
