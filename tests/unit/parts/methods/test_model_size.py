"""distill, prune and ensemble, each on its own: what they add to the loss, keep at zero, average and refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kilowit.errors import PartError, PlanError
from kilowit.parts.method import MethodCall, has_ampere_gpu, plan_size, require_machine
from kilowit.parts.methods import distill, ensemble, prune
from kilowit.parts.model import Dimensions
from kilowit.parts.narrow import matrix_weights
from kilowit.parts.shrink import keep_layers
from kilowit.run.batches import Collator
from kilowit.run.engines.trainer import train
from kilowit.settings import Settings
from tiny_training import PAD, Phases, random_split, tiny_model, train_job

FAMILIES = ["bart", "t5", "pegasus"]
BART_LARGE = Dimensions(12, 12, 1024, 1024, 4096, 4096, 50265, 16)
KD = distill.Options(kind="knowledge_distillation", decoder_layers=1)


def student_of(teacher: Any) -> tuple[Any, distill.LearnFromTeacher]:
    callback = distill.LearnFromTeacher(teacher, [0], KD, Settings())
    return keep_layers(teacher, [0, 1], [0]), callback


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_of_distillation_is_that_of_the_paper_by_hand(family: str) -> None:
    teacher = tiny_model(family, seed=3).eval()
    with torch.no_grad():
        for parameter in teacher.parameters():  # words that are not all as likely
            parameter.mul_(1.5 if family == "t5" else 3.0)
    student, callback = student_of(teacher)
    student.eval()
    split = random_split(4)
    inputs = Collator(split, PAD, student.prepare_decoder_input_ids_from_labels)(range(4))
    given = {name: value for name, value in inputs.items() if name != "labels"}
    callback.on_train_begin(student)
    outputs = student(**given)
    total = callback.on_loss(student, inputs, outputs, torch.tensor(100.0))
    callback.on_train_end(student)
    real = inputs["labels"] != -100
    with torch.no_grad():
        theirs = teacher(**given, output_hidden_states=True)
    own = student(**given, output_hidden_states=True)
    p, q = (theirs.logits[real] / 2).softmax(-1), (outputs.logits[real] / 2).softmax(-1)
    divergence = 4 * (p * (p.log() - q.log())).sum()
    # The last hidden state that transformers reports is after the final norm, where there is one: T5's and PEGASUS's.
    # layer_norm cannot see their scale, so only BART, which has none, is compared here.
    expected = 100 + 0.8 * divergence
    if family == "bart":
        a, b = (o.decoder_hidden_states[-1][real] for o in (own, theirs))
        norm = torch.nn.functional.layer_norm
        expected = expected + 3 * (norm(a, (16,)) - norm(b, (16,))).square().mean(-1).sum()
        assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    else:
        assert total.item() > expected.item()
    assert callback.numbers()["divergence_mean"] == pytest.approx(divergence.item() / int(real.sum()), rel=1e-4)


def test_distillation_brings_the_student_nearer_to_its_teacher_and_lets_go_of_it() -> None:
    def divergence(trained: Any, teacher: Any) -> float:
        split = random_split(24)
        inputs = Collator(split, PAD, trained.prepare_decoder_input_ids_from_labels)(range(24))
        real = inputs.pop("labels") != -100
        with torch.no_grad():
            logits = [m.eval()(**inputs).logits[real] for m in (trained, teacher)]
        return float(distill.divergence_sum(*logits, temperature=1.0))

    teacher = tiny_model("bart", seed=3)
    train(train_job(model=teacher, num_epochs=8.0, learning_rate=1e-2))
    student, callback = student_of(teacher)
    before = divergence(student, teacher)
    train(train_job(model=student, callbacks=[callback], num_epochs=4.0, learning_rate=3e-3))
    assert divergence(student, teacher) < 0.8 * before
    assert callback.teacher is None
    assert not any(module._forward_hooks for module in (*student.modules(), *teacher.modules()))


def test_flops_of_training_hold_the_teachers_forward_pass() -> None:
    def flop_per_forward(callbacks: list[Any], model: Any) -> float:
        phases = Phases()
        counts = train(train_job(model=model, callbacks=callbacks, phases=phases, num_steps=1)).counts
        checked = dict(phases.notes)["flop_check"]
        assert checked["counter_forward_flop"] == pytest.approx(checked["formula_forward_flop"], rel=0.01)
        return phases.figures["train"].counted["flop_total"] / counts.forward_flop

    teacher = tiny_model("bart", seed=3)
    student, callback = student_of(teacher)
    alone, taught = flop_per_forward([], keep_layers(teacher, [0, 1], [0])), flop_per_forward([callback], student)
    assert alone == pytest.approx(3.0, rel=0.01)
    assert 4.0 < taught < 6.0  # the teacher, twice as deep in the decoder, is more than one forward pass of the student


def test_student_learns_from_the_last_layer_of_each_share() -> None:
    assert distill.supervising_layers(12, 3) == [3, 7, 11]
    assert distill.supervising_layers(12, 1) == [11]
    assert distill.supervising_layers(6, 6) == list(range(6))


def test_sizes_are_planned_and_what_removes_nothing_or_too_much_is_refused() -> None:
    def planned(name: str, **options: Any) -> Dimensions:
        return plan_size(BART_LARGE, (MethodCall(name, options),))

    assert (planned("distill").encoder_layers, planned("distill").decoder_layers) == (12, 3)
    assert planned("distill", encoder_layers=6, decoder_layers=6).encoder_layers == 6
    slim = planned("prune")
    assert (slim.num_heads, slim.d_attention, slim.encoder_ffn) == (12, 768, 3072)
    assert planned("prune", kind="magnitude") == planned("ensemble") == BART_LARGE
    for name, options, message in (
        ("distill", {"decoder_layers": 12}, "keeps all 12"),
        ("distill", {"decoder_layers": 13}, "of a model with 12"),
        ("distill", {"encoder_layers": 2}, "2 encoder and 3 decoder"),
        ("prune", {"heads_removed_fraction": 0.0, "ffn_removed_fraction": 0.0}, "nothing"),
    ):
        with pytest.raises(PartError, match=message):
            planned(name, **options)


@pytest.mark.skipif(has_ampere_gpu(), reason="this machine has the GPU that n_m asks for")
def test_two_of_four_is_refused_where_no_device_skips_its_zeros() -> None:
    with pytest.raises(PlanError, match=r"Ampere"):
        require_machine((MethodCall("prune", {"kind": "n_m"}),))
    require_machine((MethodCall("prune"), MethodCall("prune", {"kind": "magnitude"})))


def test_masks_keep_the_largest_and_two_of_every_four() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.1, 0.2, -0.4, 0.3]])
    assert prune.two_of_four(weight).tolist() == [[False, True, True, False, False, False, True, True]]
    assert prune.largest(weight, 0.5).tolist() == [[True, True, True, True, False, False, False, False]]
    assert prune.two_of_four(torch.ones(3, 6)).all()


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("kind", ["magnitude", "n_m"])
def test_zeros_stay_zero_while_the_other_weights_are_trained(kind: str, optimizer: str) -> None:
    model = tiny_model("bart", dropout=0.1)
    mask = prune.two_of_four if kind == "n_m" else lambda weight: prune.largest(weight, 0.5)
    keeper = prune.KeepZeros({name: mask(weight) for name, weight in matrix_weights(model).items()})
    keeper.zero(model)
    before = {name: weight.detach().clone() for name, weight in matrix_weights(model).items()}
    train(train_job(model=model, callbacks=[keeper], num_steps=4, optimizer=optimizer, weight_decay=0.1))
    for name, weight in matrix_weights(model).items():
        assert (weight == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
        assert not torch.equal(weight, before[name])
        assert not weight._backward_hooks
    assert keeper.all_zero(model)


def test_soup_is_the_mean_of_the_last_checkpoints() -> None:
    soup = ensemble.MeanOfCheckpoints(2)
    model = torch.nn.Linear(2, 2)
    for step, value in enumerate([9.0, 1.0, 2.0]):
        torch.nn.init.constant_(model.weight, value)
        assert soup.on_validation(model, step, 1.0) is False
    soup.on_train_end(model)
    assert model.weight.tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert soup.steps == [0, 1, 2]
