"""Models that generate together: the mean of their probabilities, under an exact beam search."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from kilowit.parts.averaged import AveragedModel, log_mean_probability
from tiny_training import EOS, PAD, tiny_model

FAMILIES = ["bart", "t5", "pegasus"]


def sharp_model(family: str, seed: int) -> Any:
    """A tiny model whose words are not all as likely."""
    model = tiny_model(family, seed=seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5 if family == "t5" else 3.0)
    model.generation_config.forced_eos_token_id = None  # its score would be 0, whatever the members say
    return model


def documents() -> tuple[torch.Tensor, torch.Tensor]:
    ids_BS = torch.randint(3, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask_BS = torch.ones_like(ids_BS)
    ids_BS[1, 6:], mask_BS[1, 6:] = PAD, 0
    return ids_BS, mask_BS


def settings(model: Any, **changes: Any) -> Any:
    config = copy.deepcopy(model.generation_config)
    config.update(**{"num_beams": 4, "max_new_tokens": 8, "min_new_tokens": 2, "no_repeat_ngram_size": 2, **changes})
    return config


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_members_write_what_one_of_them_writes(family: str) -> None:
    model = sharp_model(family, 0)
    ids_BS, mask_BS = documents()
    both = AveragedModel([model, copy.deepcopy(model)])
    with torch.no_grad():
        one = model.generate(ids_BS, attention_mask=mask_BS, generation_config=settings(model))
        together = both.generate(input_ids=ids_BS, attention_mask=mask_BS, generation_config=settings(model))
    assert torch.equal(one, together)
    assert both.num_averaged_steps > 0
    assert not model._forward_hooks


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_of_unequal_members_have_the_score_of_the_mean_probability(family: str) -> None:
    """Keys and values of every member must follow the beams: without a cache, the same scores must come out."""
    members = [sharp_model(family, seed) for seed in range(3)]
    ids_BS, mask_BS = documents()
    config = settings(
        members[0], min_new_tokens=0, no_repeat_ngram_size=0, length_penalty=0.0, early_stopping=True,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    with torch.no_grad():
        written = AveragedModel(members).generate(ids_BS, mask_BS, config)
        ids_BT = written.sequences
        answers = [m(input_ids=ids_BS, attention_mask=mask_BS, decoder_input_ids=ids_BT[:, :-1]) for m in members]
    probability_BTV = torch.stack([answer.logits.softmax(-1) for answer in answers]).mean(0)
    log_BT = probability_BTV.log().gather(2, ids_BT[:, 1:, None])[..., 0]
    ends_BT = (ids_BT[:, 1:] == EOS).cumsum(1)
    before_end_BT = (ends_BT - (ids_BT[:, 1:] == EOS).long()) == 0
    assert torch.allclose((log_BT * before_end_BT).sum(1), written.sequences_scores, atol=1e-4)


def test_log_of_mean_probability_is_exact_for_equal_ones_and_finite_for_far_ones() -> None:
    first = torch.randn(5, 7).log_softmax(-1)
    assert torch.equal(log_mean_probability([first, first, first]), first)
    second = torch.randn(5, 7).log_softmax(-1)
    assert torch.allclose(log_mean_probability([first, second]).exp(), (first.exp() + second.exp()) / 2)
    far = log_mean_probability([torch.tensor([-900.0]), torch.tensor([-1.0])])
    assert far.item() == pytest.approx(-1.0 - torch.tensor(2.0).log().item())


def test_members_are_saved_each_in_a_folder(tmp_path: Any) -> None:
    AveragedModel([tiny_model("bart"), tiny_model("bart", seed=1)]).save_pretrained(tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("model.safetensors")) == ["member-0", "member-1"]
