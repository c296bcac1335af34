"""Methods that change how a step is computed or what it learns from, but not the engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from kilowit.errors import PartError
from kilowit.parts.method import MethodCall, NoOptions, plan_settings
from kilowit.parts.methods import freeze, gradient_checkpointing, label_smoothing, low_resource
from kilowit.parts.tokenized import TrainingData
from kilowit.run.engines.trainer import train
from kilowit.settings import Settings
from tiny_training import Phases, random_split, tiny_model, train_job

FAMILIES = ["bart", "t5", "pegasus"]


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_layers_give_the_same_weights_for_a_third_more_flops(family: str) -> None:
    plain, again, phases = train_job(family, num_steps=3), tiny_model(family), Phases()
    gradient_checkpointing.on_model(again, NoOptions(), {})
    facts: dict[str, Any] = {}
    callbacks = gradient_checkpointing.callbacks(NoOptions(), facts)
    train(plain)
    train(train_job(family, model=again, phases=phases, callbacks=callbacks, num_steps=3))
    assert weights(again) == pytest.approx(weights(plain.model), abs=1e-5)
    assert facts == {"num_layer_passes": 2 * 4 * 4, "num_recomputed_layers": 4 * 4}  # 4 layers; 3 steps, 1 rehearsal
    shares = dict(phases.notes)["flop_check"]
    assert 3.5 < shares["total_per_forward"] < 4.01  # the vocabulary head is not recomputed


def test_recomputation_keeps_what_freezing_saves() -> None:
    def per_forward(recompute: bool) -> float:
        model, phases = tiny_model("bart"), Phases()
        freeze.freeze_parameters(model, ["embeddings", "encoder"])
        gradient_checkpointing.recompute_layers(model, recompute)
        train(train_job(model=model, phases=phases, num_steps=1))
        return float(dict(phases.notes)["flop_check"]["total_per_forward"])

    assert per_forward(True) - per_forward(False) < 0.7  # the decoder's share of a forward pass, not the encoder's


def test_gradient_accumulation_splits_the_batch_and_refuses_what_does_not_divide_it() -> None:
    base = Settings().with_train(batch_size=12, gradient_accumulation_steps=2)
    split = plan_settings(base, (MethodCall("gradient_accumulation", {"num_parts": 3}),), "bart").train
    assert (split.batch_size, split.gradient_accumulation_steps) == (4, 6)
    with pytest.raises(PartError, match="does not divide"):
        plan_settings(base, (MethodCall("gradient_accumulation", {"num_parts": 5}),), "bart")


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3])
def test_epsilon_is_read_from_the_gradient_of_torchs_own_smoothed_loss(epsilon: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(20, 50, requires_grad=True)
    loss = cross_entropy(logits, torch.randint(50, (20,)), label_smoothing=epsilon, reduction="sum") * 0.37
    loss.backward()
    assert label_smoothing.epsilon_of(logits.detach(), logits.grad) == pytest.approx(epsilon, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_epsilon_is_measured_on_the_loss_that_the_engine_trains(family: str, epsilon: float) -> None:
    facts: dict[str, Any] = {}
    callbacks = label_smoothing.callbacks(label_smoothing.Options(), facts)
    train(train_job(family, callbacks=callbacks, num_steps=1, label_smoothing=epsilon))
    assert facts["measured_epsilon"] == pytest.approx(epsilon, abs=2e-3)


def test_label_smoothing_beside_the_setting_is_refused() -> None:
    smooth = Settings().with_train(label_smoothing=0.2)
    with pytest.raises(PartError, match=r"label_smoothing 0\.2"):
        plan_settings(smooth, (MethodCall("label_smoothing"),), "bart")


def test_smaller_subsets_are_parts_of_larger_ones_whatever_the_order_of_the_file() -> None:
    ids = [f"pair-{i}" for i in range(200)]
    kept = [{ids[i] for i in low_resource.subset(ids, n, seed=3)} for n in (1, 10, 50, 199)]
    assert [len(names) for names in kept] == [1, 10, 50, 199]
    assert kept[0] < kept[1] < kept[2] < kept[3]
    backwards = ids[::-1]
    assert {backwards[i] for i in low_resource.subset(backwards, 50, seed=3)} == kept[2]
    assert {ids[i] for i in low_resource.subset(ids, 50, seed=4)} != kept[2]


def test_low_resource_cuts_the_training_split_alone() -> None:
    data, facts = TrainingData(random_split(40), random_split(8, seed=1)), dict[str, Any]()
    cut = low_resource.on_data(data, low_resource.Options(fraction=0.25), facts)
    assert facts == {"num_whole_examples": 40, "num_kept_examples": 10}
    assert cut.validation is data.validation
    where = [data.train.ids.index(name) for name in cut.train.ids]
    assert [cut.train.source_tokens[i] for i in range(10)] == [data.train.source_tokens[i] for i in where]
    assert [cut.train.target_tokens[i] for i in range(10)] == [data.train.target_tokens[i] for i in where]


def test_low_resource_refuses_to_keep_everything_and_to_be_told_twice() -> None:
    data = TrainingData(random_split(8), random_split(4))
    with pytest.raises(PartError, match="keep 8 of 8"):
        low_resource.on_data(data, low_resource.Options(num_examples=8), {})
    for options in ({}, {"num_examples": 3, "fraction": 0.5}):
        with pytest.raises(PartError, match="one of them"):
            plan_settings(Settings(), (MethodCall("low_resource", options),), "bart")
