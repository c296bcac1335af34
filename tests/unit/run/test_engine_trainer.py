"""The engine: a true loss, an exact count, a rehearsal that leaves no trace."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from kilowit.errors import CellFailure, PlanError
from kilowit.parts.flop import forward_flop
from kilowit.parts.method import TrainingCallback
from kilowit.parts.methods.bf16 import ForwardDtype
from kilowit.parts.methods.freeze import freeze_parameters
from kilowit.parts.tokenized import TrainingData, num_padded_tokens
from kilowit.run.batches import Collator
from kilowit.run.engines.job import TrainJob
from kilowit.run.engines.trainer import LineTrainer, Watcher, train, trainer_arguments
from kilowit.settings import Settings
from tiny_training import Phases, random_split, tiny_model, train_job

FAMILIES = ["bart", "t5", "pegasus"]


def logged(job: TrainJob, folder: Any) -> list[tuple[float, float]]:
    """Train and return (loss, norm of the gradient) of each step, as the Trainer logs them."""
    trainer = LineTrainer(job, trainer_arguments(job, str(folder)))
    trainer.train()
    return [(row["loss"], row["grad_norm"]) for row in trainer.state.log_history if "grad_norm" in row]


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_equal_for_one_batch_and_four_accumulated_ones(family: str, tmp_path: Any) -> None:
    whole = logged(train_job(family, batch_size=16, num_steps=3), tmp_path)
    parts = logged(train_job(family, batch_size=4, gradient_accumulation_steps=4, num_steps=3), tmp_path)
    assert len(whole) == 3
    for (loss, norm), (loss_of_parts, norm_of_parts) in zip(whole, parts, strict=True):
        assert loss_of_parts == pytest.approx(loss, rel=1e-5)
        assert norm_of_parts == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_logged_loss_is_the_mean_over_the_target_tokens_of_the_step(family: str, tmp_path: Any) -> None:
    job = train_job(family, batch_size=4, gradient_accumulation_steps=2, num_steps=1)
    indices = job.data.epoch_order(4, job.seed, 0)[:8]
    batch = Collator(job.data.train, 1, job.model.prepare_decoder_input_ids_from_labels)(indices)
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = job.model.eval()(**batch).logits
    expected = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()  # dropout is 0
    assert logged(job, tmp_path)[0][0] == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_mixes_in_the_mean_over_the_vocabulary(tmp_path: Any) -> None:
    job = train_job(batch_size=8, num_steps=1, label_smoothing=0.1)
    batch = Collator(job.data.train, 1, job.model.prepare_decoder_input_ids_from_labels)(
        job.data.epoch_order(8, job.seed, 0)[:8]
    )
    labels = batch.pop("labels")
    real = labels != -100
    with torch.no_grad():
        log_probability = job.model.eval()(**batch).logits.log_softmax(-1)[real]
    plain = -log_probability.gather(1, labels[real][:, None]).mean()
    expected = 0.9 * plain - 0.1 * log_probability.mean()
    assert logged(job, tmp_path)[0][0] == pytest.approx(expected.item(), rel=1e-5)


def test_warm_up_changes_neither_weights_nor_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed = train_job(model=tiny_model("bart", dropout=0.2), num_steps=4)
    train(rehearsed)
    monkeypatch.setattr(Watcher, "_warm_up", lambda self, phase: None)
    unrehearsed = train_job(model=tiny_model("bart", dropout=0.2), num_steps=4)
    train(unrehearsed)
    assert torch.equal(weights(rehearsed.model), weights(unrehearsed.model))


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (train_job(model=tiny_model("bart", dropout=0.2), num_steps=3, seed=s) for s in (7, 7, 8))
    for job in (first, again, other):
        train(job)
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))


def test_counts_are_of_real_tokens_and_cover_short_batches_and_epochs() -> None:
    phases = Phases()
    data = TrainingData(random_split(10), random_split(4, seed=1))
    job = train_job(data=data, phases=phases, batch_size=4, num_epochs=2.0)
    counts = train(job).counts
    split = data.train
    assert counts.num_steps == 6  # 3 batches of 4, 4 and 2, twice
    assert counts.num_examples == 20
    assert counts.num_source_tokens == 2 * sum(split.source_lengths)
    assert counts.num_target_tokens == 2 * sum(split.target_lengths)
    orders = [data.epoch_order(4, 0, epoch) for epoch in (0, 1)]
    assert counts.first_order == orders[0]
    assert counts.num_padded_tokens == sum(
        num_padded_tokens(lengths, order, 4)
        for order in orders
        for lengths in (split.source_lengths, split.target_lengths)
    )
    assert phases.figures["train"].counted["num_steps"] == 6
    once = sum(map(lambda s, t: forward_flop(job.dimensions, s, t), split.source_lengths, split.target_lengths))
    assert phases.figures["train"].counted["flop_total"] == pytest.approx(3 * 2 * once)


def test_phases_are_warm_up_then_train_around_validations() -> None:
    phases = Phases()
    train(train_job(phases=phases, num_steps=4, num_validations=2))
    assert phases.opened == ["warmup", "train", "warmup", "validate", "validate"]
    assert phases.figures["validate"].counted["num_examples"] == 2 * 8
    assert set(phases.figures["validate"].facts) == {"loss_first", "loss_last", "flop_source"}


def test_validation_loss_does_not_depend_on_how_it_is_batched() -> None:
    losses = []
    for batch_size in (1, 3, 8):
        phases = Phases()
        train(train_job(phases=phases, batch_size=batch_size, num_steps=1, num_validations=1, learning_rate=1e-12))
        losses.append(phases.figures["validate"].facts["loss_last"])
    assert losses == [pytest.approx(losses[0], rel=1e-5)] * 3


@pytest.mark.parametrize("family", FAMILIES)
def test_formula_and_counter_agree_on_the_flops_of_a_batch(family: str) -> None:
    phases = Phases()
    train(train_job(family, phases=phases, num_steps=1))
    facts = dict(phases.notes)["flop_check"]
    assert facts["counter_forward_flop"] == pytest.approx(facts["formula_forward_flop"], rel=0.01)
    assert facts["total_per_forward"] == pytest.approx(3.0, rel=0.01)


def test_flops_leave_out_the_backward_pass_of_what_is_frozen() -> None:
    phases = Phases()
    model = tiny_model("bart")
    freeze_parameters(model, ["embeddings", "encoder"])
    job = train_job(model=model, phases=phases, num_steps=1)
    counts = train(job).counts
    per_forward = phases.figures["train"].counted["flop_total"] / counts.forward_flop
    assert 1.0 < per_forward < 2.6


def test_progress_ends_with_the_last_step_and_its_loss() -> None:
    phases = Phases()
    train(train_job(phases=phases, num_steps=5))
    last = [facts for kind, facts in phases.notes if kind == "progress"][-1]
    assert (last["phase"], last["step"], last["num_steps"]) == ("train", 5, 5)
    assert math.isfinite(last["loss"])


def test_loss_that_is_not_a_number_is_divergence() -> None:
    job = train_job(num_steps=8, learning_rate=1e20, max_grad_norm=0.0)
    with pytest.raises(CellFailure) as raised:
        train(job)
    assert raised.value.kind == "divergence"
    assert "step" in raised.value.message


class StopAtFirst(TrainingCallback):
    """Notes its calls and ends training at the first validation."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_train_begin(self, model: Any) -> None:
        self.calls.append("begin")

    def on_validation(self, model: Any, num_steps: int, loss: float) -> bool:
        self.calls.append(f"validation after {num_steps}")
        return True

    def on_train_end(self, model: Any) -> None:
        self.calls.append("end")


def test_callback_of_a_method_can_end_training_at_a_validation() -> None:
    callback = StopAtFirst()
    counts = train(train_job(callbacks=[callback], num_steps=6, num_validations=3)).counts
    assert callback.calls == ["begin", "validation after 2", "end"]
    assert counts.num_steps == 2


def test_mixed_precision_leaves_no_wrapper_on_the_model() -> None:
    model = tiny_model("bart")
    plain = type(model).forward
    train(train_job(model=model, settings=Settings().with_train(num_steps=1).with_precision("bf16")))
    assert getattr(model.forward, "__func__", None) is plain
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused only where torch sees no CUDA device")
def test_fp16_without_cuda_is_refused() -> None:
    with pytest.raises(PlanError, match="CUDA"):
        train(train_job(settings=Settings().with_precision("fp16")))


def test_a_model_that_is_trained_twice_computes_in_bf16_both_times() -> None:
    model, found = tiny_model("bart"), []
    for _ in range(2):  # as `prune` does: the whole model first, then what is left of it
        facts: dict[str, Any] = {}
        settings = Settings().with_train(num_steps=1, batch_size=4, num_validations=0).with_precision("bf16")
        train(train_job(model=model, settings=settings, callbacks=[ForwardDtype(facts)]))
        found.append(facts["linear_dtype"])
    assert found == ["bfloat16", "bfloat16"]
