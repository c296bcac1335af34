"""Smaller models: what is copied is copied bit for bit, and what is left is counted right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kilowit.errors import PartError
from kilowit.parts import load
from kilowit.parts.narrow import load_narrowed, matrix_weights, narrow
from kilowit.parts.shrink import choose_layers, keep_layers, num_layers_of, spread_layers
from kilowit.run.engines.trainer import train
from tiny_training import VOCABULARY_SIZE, Phases, tiny_model, train_job

FAMILIES = ["bart", "t5", "pegasus"]


def logits(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ids_BS = torch.randint(3, VOCABULARY_SIZE, (2, 9), generator=generator)
    ids_BT = torch.randint(3, VOCABULARY_SIZE, (2, 5), generator=generator)
    with torch.no_grad():
        result: torch.Tensor = model.eval()(input_ids=ids_BS, decoder_input_ids=ids_BT).logits
    return result


def num_parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_copy_of_all_layers_is_exact_and_leaves_no_trace_in_the_random_numbers(family: str) -> None:
    model = tiny_model(family)
    before = torch.get_rng_state()
    copy = keep_layers(model, [0, 1], [0, 1])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(logits(copy), logits(model))
    assert num_parameters(copy) == num_parameters(model)
    assert not set(map(id, copy.parameters())) & set(map(id, model.parameters()))


@pytest.mark.parametrize("family", FAMILIES)
def test_student_has_the_layers_chosen_and_the_size_that_its_configuration_says(family: str) -> None:
    model = tiny_model(family)
    student = keep_layers(model, [0, 1], [1])
    assert (num_layers_of(student, "encoder"), num_layers_of(student, "decoder")) == (2, 1)
    assert num_parameters(student) == load("models", family).FAMILY.num_parameters(student.config.to_dict())
    own = student.get_decoder()
    theirs = model.get_decoder()
    layers = "block" if family == "t5" else "layers"
    copied = dict(getattr(own, layers)[0].named_parameters())
    for name, value in getattr(theirs, layers)[1].named_parameters():
        assert torch.equal(copied[name], value)
    if family == "t5":  # the bias of positions belongs to the stack, though its first layer holds it
        bias = copied["layer.0.SelfAttention.relative_attention_bias.weight"]
        assert torch.equal(bias, theirs.block[0].layer[0].SelfAttention.relative_attention_bias.weight)
    assert student.generate(torch.ones(1, 4, dtype=torch.long), num_beams=2, max_new_tokens=3).shape[1] <= 4


@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_model_is_smaller_as_its_configuration_says_and_computes_as_many_flops(family: str) -> None:
    model = tiny_model(family)
    slim = narrow(model, 0.5, 0.5)
    facts = load("models", family).FAMILY
    dimensions = facts.dimensions(slim.config.to_dict())
    assert (dimensions.num_heads, dimensions.d_attention) == (1, 8)
    assert (dimensions.encoder_ffn, dimensions.decoder_ffn) == (16, 16)
    assert num_parameters(slim) == facts.num_parameters(slim.config.to_dict()) < num_parameters(model)
    phases = Phases()
    train(train_job(family, model=slim, phases=phases, num_steps=1))
    counted = dict(phases.notes)["flop_check"]
    assert counted["counter_forward_flop"] == pytest.approx(counted["formula_forward_flop"], rel=0.01)
    assert slim.generate(torch.ones(1, 4, dtype=torch.long), num_beams=2, max_new_tokens=3).shape[1] <= 4


@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_of_nothing_changes_nothing_and_heads_of_no_weight_are_not_missed(family: str) -> None:
    model = tiny_model(family)
    assert torch.equal(logits(narrow(model, 1.0, 1.0)), logits(model))
    with torch.no_grad():  # the second head of every attention, and half of every feed-forward, write nothing
        for name, weight in matrix_weights(model).items():
            if name.endswith((".out_proj.weight", ".o.weight")):
                weight[:, 8:] = 0
            elif name.endswith((".fc2.weight", ".wo.weight")):
                weight[:, 1::2] = 0
    assert torch.allclose(logits(narrow(model, 0.5, 0.5)), logits(model), atol=1e-6)


@pytest.mark.parametrize("family", ["bart", "pegasus"])
def test_saved_model_with_fewer_heads_is_loaded_as_it_was(family: str, tmp_path: Path) -> None:
    slim = narrow(tiny_model(family), 0.5, 0.75)
    slim.config.use_cache = False  # as the Trainer leaves it
    slim.save_pretrained(tmp_path)
    again = load_narrowed(tmp_path, type(slim.config).from_pretrained(tmp_path))
    assert torch.equal(logits(again), logits(slim))
    assert again.generation_config.use_cache  # without it generation is three times slower


def test_layers_are_spread_from_the_first_to_the_last() -> None:
    assert spread_layers(12, 6) == [0, 2, 4, 7, 9, 11]
    assert spread_layers(6, 3) == [0, 2, 5]
    assert spread_layers(4, 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("wanted", [7, [0, 6], [3, 1], [1, 1]])
def test_layers_that_are_not_there_are_refused(wanted: Any) -> None:
    with pytest.raises(PartError, match="decoder_layers") as raised:
        choose_layers(6, wanted, method="distill", side="decoder")
    assert raised.value.hint
