"""What is put right in LED, BigBird-PEGASUS and ProphetNet, whose traps make no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_pretrained import load, make_corpus

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.flop import forward_flop
from kilowit.parts.model import LoadedModel
from kilowit.parts.pretrained import load_model
from kilowit.run.engines.loss import token_loss_sum


def tiny(size: str) -> LoadedModel:
    return load({"scratch": size, "vocabulary_size": 400})


def random_ids(num_rows: int, num_tokens: int) -> Any:
    return torch.randint(5, 300, (num_rows, num_tokens), generator=torch.Generator().manual_seed(0))


def test_every_parameter_of_led_is_trained_because_the_first_token_is_global() -> None:
    model = tiny("led-tiny").model
    model(input_ids=random_ids(2, 40), decoder_input_ids=random_ids(2, 5)).logits.sum().backward()
    without_gradient = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without_gradient == []


def test_the_first_token_of_led_reaches_beyond_its_window_in_generation_too() -> None:
    model = tiny("led-tiny").model.eval()
    ids = random_ids(1, 200)
    other = ids.clone()
    other[0, 0] = 399
    encoder = model.get_encoder()
    # Two layers of a half window of 16 carry a token 32 positions far; the last one is 199 away.
    far = [encoder(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0, -1] for row in (ids, other)]
    assert not torch.allclose(far[0], far[1])


def test_bigbird_is_sparse_again_after_a_short_batch_and_draws_nothing_to_switch() -> None:
    model = tiny("bigbird_pegasus-tiny").model.eval()
    encoder, short, long = model.get_encoder(), random_ids(1, 40), random_ids(1, 160)  # full up to 7 x 16 = 112
    fresh = encoder(input_ids=long).last_hidden_state
    state = torch.get_rng_state()
    encoder(input_ids=short)
    assert encoder.attention_type == "original_full"
    again = encoder(input_ids=long).last_hidden_state
    assert encoder.attention_type == "block_sparse"
    assert torch.equal(fresh, again)
    assert torch.equal(state, torch.get_rng_state())
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_bigbird_says_that_short_sources_never_use_its_sparse_attention() -> None:
    size = catalogue.resolve_dimensions({"scratch": "bigbird_pegasus-large"})
    assert size is not None
    [caution] = catalogue.cautions(size.family, size.dimensions, 704)
    assert "up to 704 source tokens" in caution
    assert catalogue.cautions(size.family, size.dimensions, 705) == ()


def test_led_says_that_a_short_source_costs_a_whole_window() -> None:
    size = catalogue.resolve_dimensions({"hub": "allenai/led-base-16384"})
    assert size is not None
    [caution] = catalogue.cautions(size.family, size.dimensions, 512)
    assert "pads every source to 1024 tokens" in caution
    assert catalogue.cautions(size.family, size.dimensions, 1024) == ()
    assert forward_flop(size.dimensions, 147, 26) > 0.9 * forward_flop(size.dimensions, 1000, 26)


def test_prophetnet_trains_on_the_mean_of_its_streams_and_is_validated_on_the_next_token() -> None:
    model = tiny("prophetnet-tiny").model
    labels = random_ids(2, 6)
    labels[1, 4:] = -100
    inputs = {
        "input_ids": random_ids(2, 20), "labels": labels,
        "decoder_input_ids": model.prepare_decoder_input_ids_from_labels(labels),
    }  # fmt: skip
    model.eval()
    streams = model(**inputs)
    next_token, _ = token_loss_sum(model, inputs, 0.0)
    manual = torch.nn.functional.cross_entropy(streams.logits.flatten(0, 1), labels.flatten(), reduction="sum")
    assert next_token.item() == pytest.approx(manual.item(), rel=1e-5)
    model.train()
    torch.manual_seed(0)  # the same dropout twice
    theirs = model(**inputs).loss
    torch.manual_seed(0)
    total, _ = token_loss_sum(model, inputs, 0.0)
    assert total.item() / 10 == pytest.approx(theirs.item(), rel=1e-5)  # 10 target tokens


def test_prophetnet_with_the_default_ids_of_transformers_ends_where_its_tokenizer_does(shared_dir: Path) -> None:
    tokenizer = str(shared_dir / "data" / "tokenizers" / "prophetnet")
    loaded = load({"scratch": "prophetnet-tiny", "tokenizer": tokenizer})
    closing = loaded.tokenizer("a")["input_ids"][-1]
    config = loaded.model.config
    assert (
        closing == config.eos_token_id == config.decoder_start_token_id == loaded.model.generation_config.eos_token_id
    )
    assert config.pad_token_id == loaded.tokenizer.pad_token_id == 0


@pytest.mark.parametrize(
    ("size", "source", "target", "setting"),
    [("led-tiny", 1056, 32, "max_source_tokens"), ("led-tiny", 64, 1056, "max_target_tokens")],
)
def test_led_has_another_limit_on_sources_than_on_targets(
    size: str, source: int, target: int, setting: str, tmp_path: Path
) -> None:
    loaded = tiny(size)
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(PartError, match="has 1024 positions") as caught:
        load_model(
            {"folder": str(tmp_path)}, corpus=make_corpus(), seed=0, max_source_tokens=source, max_target_tokens=target
        )
    assert setting in str(caught.value.hint)


def test_long_sources_need_no_positions_where_they_are_computed() -> None:
    for size in ("pegasus_x-tiny", "longt5-tiny"):
        loaded = load_model(
            {"scratch": size, "vocabulary_size": 400}, corpus=make_corpus(), seed=0, max_source_tokens=2000,
            max_target_tokens=32,
        )  # fmt: skip
        encoder = loaded.model.eval().get_encoder()
        assert encoder(input_ids=random_ids(1, 1500)).last_hidden_state.shape[1] == 1500
