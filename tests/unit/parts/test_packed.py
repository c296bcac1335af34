"""Packed rows: the padded batch's loss and gradients, and nothing that crosses from pair to pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kilowit.errors import PartError, PlanError
from kilowit.parts.method import MethodCall, plan_settings
from kilowit.parts.packed import PackedCollator, implementation_for, packed_rows, place_positions
from kilowit.parts.tokenized import TokenizedSplit
from kilowit.run.batches import Collator
from kilowit.run.engines.loss import token_loss_sum
from kilowit.settings import Settings
from tiny_training import BOS, EOS, PAD, VOCABULARY_SIZE, random_split, tiny_model

FAMILIES = ["bart", "mbart", "pegasus", "t5", "mt5", "bert2bert", "roberta2roberta"]
INDICES = [3, 1, 7, 2, 9]


def model_of(family: str) -> Any:
    """A tiny model in training mode, without dropout."""
    if family == "mbart":
        from transformers import MBartConfig, MBartForConditionalGeneration

        sizes = {"d_model": 16, "max_position_embeddings": 64, "vocab_size": VOCABULARY_SIZE}
        for side in ("encoder", "decoder"):
            sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 32}
        torch.manual_seed(0)
        ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS}
        model = MBartForConditionalGeneration(MBartConfig(**sizes, **ids, dropout=0.0))
    elif family == "mt5":
        from transformers import MT5Config, MT5ForConditionalGeneration

        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": VOCABULARY_SIZE}
        torch.manual_seed(0)
        ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
        model = MT5ForConditionalGeneration(MT5Config(**sizes, **ids, dropout_rate=0.0))
    elif family in ("bert2bert", "roberta2roberta"):
        model = joined_halves(family)
    else:
        model = tiny_model(family)
    for module in model.modules():
        for name in ("attention_dropout", "activation_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model.train()


def joined_halves(family: str) -> Any:
    """Two halves of one kind; RoBERTa counts positions from the id after padding."""
    from transformers import BertConfig, EncoderDecoderModel, RobertaConfig

    from kilowit.parts.models.bert2bert import join_configs

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": VOCABULARY_SIZE, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0}
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS}
    config = (BertConfig if family == "bert2bert" else RobertaConfig)(**sizes, **ids, attention_probs_dropout_prob=0.0)
    torch.manual_seed(0)
    return EncoderDecoderModel(join_configs(config, ids))


def gradients(model: Any, loss: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def packed_loss(model: Any, split: TokenizedSplit, indices: list[int]) -> Any:
    batch = PackedCollator(split, PAD, model.prepare_decoder_input_ids_from_labels)(indices)
    return token_loss_sum(model, place_positions(model, batch), 0.0)[0]


@pytest.mark.parametrize("attention", [None, "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_padded_batch(family: str, attention: Any) -> None:
    model, split = model_of(family), random_split(12)
    padded = Collator(split, PAD, model.prepare_decoder_input_ids_from_labels)(INDICES)
    num_tokens = (padded["labels"] != -100).sum()
    loss = token_loss_sum(model, padded, 0.0)[0] / num_tokens
    expected = gradients(model, loss)
    with packed_rows(model, implementation_for(model, attention)):
        ours = packed_loss(model, split, INDICES) / num_tokens
        found = gradients(model, ours)
    assert ours.item() == pytest.approx(loss.item(), abs=1e-5)
    assert found.keys() == expected.keys()
    assert max((found[name] - expected[name]).abs().max().item() for name in found) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_in_a_row_sees_nothing_of_the_others(family: str) -> None:
    model, split = model_of(family), random_split(12)
    with packed_rows(model), torch.no_grad():
        alone = packed_loss(model, split, [3])
        others = packed_loss(model, split, [1, 7])
        together = packed_loss(model, split, [1, 3, 7])
    assert together.item() == pytest.approx(alone.item() + others.item(), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_is_as_before_afterwards_and_its_parameters_keep_their_names(family: str) -> None:
    model, split = model_of(family), random_split(12)
    batch = Collator(split, PAD, model.prepare_decoder_input_ids_from_labels)(INDICES)
    before = token_loss_sum(model, batch, 0.0)[0].item()
    names, state = [name for name, _ in model.named_parameters()], set(model.state_dict())
    with packed_rows(model):
        assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
        assert set(model.state_dict()) == state
    assert token_loss_sum(model, batch, 0.0)[0].item() == before


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_bfloat16_rows_give_the_padded_loss_to_a_hundredth(family: str) -> None:
    model, split = model_of(family).to(torch.bfloat16), random_split(12)
    loss = token_loss_sum(model, Collator(split, PAD, model.prepare_decoder_input_ids_from_labels)(INDICES), 0.0)[0]
    with packed_rows(model):
        ours = packed_loss(model, split, INDICES)
        found = gradients(model, ours)
    assert ours.item() == pytest.approx(loss.item(), rel=1e-2)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_fused_attention_is_refused_where_a_bias_is_in_the_way() -> None:
    with pytest.raises(PlanError, match="bias"):
        implementation_for(model_of("t5"), "fused")
    with pytest.raises(PartError, match="bias of t5"):
        plan_settings(Settings(), (MethodCall("packing", {"attention": "fused"}),), "t5")
