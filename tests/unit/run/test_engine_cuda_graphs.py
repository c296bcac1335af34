"""Rows of a few shapes, and passes recorded over them: the losses, gradients and weights of the rows as they come.

A CPU records nothing. Here a "recording" runs the passes anew at each replay, over the same places in memory: what is
shown is that nothing but those places is read, and that the filling changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from kilowit.errors import PartError, PlanError
from kilowit.parts.method import MethodCall, TrainedRun, has_nvidia_gpu, plan_settings, require_machine
from kilowit.parts.methods import cuda_graph, packing
from kilowit.parts.packed import PackedCollator, implementation_for, packed_rows, place_positions
from kilowit.parts.tokenized import TrainingData
from kilowit.run.engines import loop
from kilowit.run.engines import row_shapes as row_shapes_module
from kilowit.run.engines.job import TrainJob
from kilowit.run.engines.loss import token_loss_sum
from kilowit.run.engines.row_shapes import MULTIPLE, filled, row_shapes
from kilowit.settings import Settings
from tiny_training import PAD, Phases, random_split, tiny_model, train_job

INDICES = [3, 1, 7, 2, 9]


class Rerun:
    """Stands for the recorder of CUDA."""

    def __init__(self, device: torch.device) -> None:
        pass

    def warm(self) -> Any:
        return nullcontext()

    def record(self, passes: Callable[[], list[Any]]) -> tuple[Callable[[], None], list[Any]]:
        results = passes()
        return lambda: torch._foreach_copy_(results, passes()), results


@pytest.fixture
def rerun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Recorder", Rerun)
    monkeypatch.setattr(row_shapes_module, "RECORDING_COST", 0)  # each shape that pads less: there are few rows here


def undropped(family: str) -> Any:
    model = tiny_model(family)
    for module in model.modules():
        for name in ("attention_dropout", "activation_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def job(
    *, num_shapes: int | None, facts: Any = None, phases: Any = None, in_bf16: bool = False, **train: Any
) -> TrainJob:
    data = TrainingData(random_split(22), random_split(8, seed=1), is_packed=True)
    facts = {} if facts is None else facts
    callbacks: list[Any] = [packing.CountRows(facts.setdefault("packing", {}))]
    if num_shapes is not None:
        options = cuda_graph.Options(num_shapes=num_shapes)
        data = cuda_graph.on_data(data, options, {})
        callbacks += cuda_graph.callbacks(options, facts.setdefault("cuda_graph", {}))
    wanted = {"num_epochs": 2.0, "batch_size": 4, "learning_rate": 1e-3, "num_validations": 2, **train}
    settings = Settings().with_train(**wanted)
    if in_bf16:
        settings = settings.with_precision("bf16").with_weights("bf16")
    return train_job(model=undropped("bart"), data=data, callbacks=callbacks, settings=settings, phases=phases)


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().float().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("attention", [None, "padded"])
@pytest.mark.parametrize("family", ["bart", "pegasus", "t5"])
def test_a_filled_row_has_the_loss_and_the_gradients_of_the_row(family: str, attention: Any) -> None:
    model, split = undropped(family).train(), random_split(12)
    batch = PackedCollator(split, PAD, model.prepare_decoder_input_ids_from_labels)(INDICES)
    size = (batch["input_ids"].shape[1], batch["labels"].shape[1])
    longest = (max(split.source_lengths), max(split.target_lengths))
    shape = row_shapes([size, (size[0] + 45, size[1] + 21)], 1, longest)[0]
    assert shape.num_fillers > 2
    found = []
    with packed_rows(model, implementation_for(model, attention)):
        for each in (batch, filled(batch, shape, PAD)):
            model.zero_grad()
            loss = token_loss_sum(model, place_positions(model, each), 0.1)[0]
            loss.backward()
            found.append((loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (loss, gradients), (filled_loss, filled_gradients) = found
    assert filled_loss == pytest.approx(loss, rel=1e-5)
    assert max((a - b).abs().max().item() for a, b in zip(gradients, filled_gradients, strict=True)) < 1e-5


def row_of_one_pair(num_sources: int, num_targets: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for side, number in (("source", num_sources), ("target", num_targets)):
        row[f"{side}_bounds"] = torch.tensor([0, number], dtype=torch.int32)
        row[f"{side}_positions"] = torch.arange(number)
    ids = {"input_ids": num_sources, "decoder_input_ids": num_targets, "labels": num_targets}
    return row | {name: torch.ones(1, number, dtype=torch.long) for name, number in ids.items()}


@pytest.mark.parametrize("num_shapes", [1, 3, 50])
def test_every_row_has_a_shape_whose_pairs_are_neither_empty_nor_too_long(num_shapes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [tuple(torch.randint(low, high, (2,), generator=generator).tolist()) for low, high in [(9, 90)] * 40]
    longest = (11, 4)
    shapes = row_shapes(sizes, num_shapes, longest)
    assert len(shapes) <= num_shapes
    for size in sizes:
        shape = next(shape for shape in shapes if shape.holds(size))
        row = filled(row_of_one_pair(*size), shape, PAD)
        for side, number, most in zip(("source", "target"), shape[:2], longest, strict=True):
            lengths = row[f"{side}_bounds"].diff()[1:]
            assert row[f"{side}_bounds"][-1] == number == len(row[f"{side}_positions"])
            assert number % MULTIPLE == 0
            assert 1 <= lengths.min() <= lengths.max() <= most


def test_shapes_are_cut_where_that_saves_the_most_padding_by_either_side() -> None:
    like = [(100, 20), (101, 21), (99, 22)]
    longer_sources, longer_targets = [(160, 20), (161, 21)], [(100, 60), (101, 62)]
    shapes = row_shapes([*longer_targets, *like, *longer_sources] * 9, 3, (50, 50))
    assert [shape[:2] for shape in shapes] == [(168, 24), (104, 64), (104, 24)]
    assert len(row_shapes([(100, 20)] * 9, 3, (50, 50))) == 1


def test_no_shape_is_recorded_that_saves_less_than_its_recording() -> None:
    assert len(row_shapes([(100, 20)] * 50 + [(120, 20)], 3, (50, 50))) == 2
    assert len(row_shapes([(100, 20)] * 10 + [(120, 20)], 3, (50, 50))) == 1


@pytest.mark.usefixtures("rerun")
@pytest.mark.parametrize(
    "train",
    [{}, {"gradient_accumulation_steps": 2, "label_smoothing": 0.1}, {"in_bf16": True}],
)
def test_recorded_passes_train_to_the_weights_of_passes_as_they_come(train: dict[str, Any]) -> None:
    facts: dict[str, Any] = {}
    phases = [Phases(), Phases()]
    plain = job(num_shapes=None, phases=phases[0], **train)
    recorded = job(num_shapes=2, facts=facts, phases=phases[1], **train)
    loop.train(plain)
    counts = loop.train(recorded).counts
    tolerance = 2e-3 if "in_bf16" in train else 1e-5
    assert torch.allclose(weights(plain.model), weights(recorded.model), atol=tolerance)
    for kind in ("loss_first", "loss_last"):
        expected = phases[0].figures["train"].facts[kind]
        assert phases[1].figures["train"].facts[kind] == pytest.approx(expected, abs=tolerance)
    assert (
        facts["cuda_graph"]["num_replays"] == 10
    )  # two epochs of five batches of 4, and one of 2 that is not recorded
    assert len(facts["cuda_graph"]["shapes"]) == 2
    assert counts.num_padded_tokens > counts.num_source_tokens + counts.num_target_tokens
    assert "replay_second" in dict(phases[1].notes)["step_parts"]


@pytest.mark.usefixtures("rerun")
def test_evidence_is_that_batches_were_replayed_and_packing_accepts_the_filling() -> None:
    facts: dict[str, Any] = {}
    asked = job(num_shapes=2, facts=facts)
    result = loop.train(asked)
    counts = result.counts
    num_real = counts.num_source_tokens + counts.num_target_tokens
    common = (result.model, result.optimizer, asked.settings, 0, asked.data, counts.num_steps, (0,))
    sizes = (counts.num_padded_tokens - num_real, num_real)
    evidence = cuda_graph.applied(TrainedRun(*common, *sizes, facts["cuda_graph"]), cuda_graph.Options(num_shapes=2))
    assert evidence.applied
    assert 0 < evidence.numbers["padding_fraction"] < 0.5
    assert packing.applied(TrainedRun(*common, *sizes, facts["packing"]), packing.Options()).applied
    unreplayed = TrainedRun(*common, *sizes, {"num_replays": 0, "shapes": []})
    assert not cuda_graph.applied(unreplayed, cuda_graph.Options()).applied


@pytest.mark.usefixtures("rerun")
def test_a_model_that_drops_layers_and_a_run_without_a_full_batch_are_refused() -> None:
    dropping = job(num_shapes=2)
    dropping.model.get_encoder().layerdrop = 0.1
    with pytest.raises(PlanError, match="drops layers at random"):
        loop.train(dropping)
    with pytest.raises(PlanError, match="no batch has 64 examples"):
        loop.train(job(num_shapes=2, batch_size=64))


def test_the_engine_records_nothing_on_a_cpu() -> None:
    with pytest.raises(PlanError, match="need a CUDA device"):
        loop.train(job(num_shapes=2))


def test_a_recipe_without_packing_is_refused_when_it_is_planned() -> None:
    with pytest.raises(PartError, match='"cuda_graph" needs "packing"'):
        plan_settings(Settings(), (MethodCall("cuda_graph"), MethodCall("bf16")), "bart")
    plan_settings(Settings(), (MethodCall("cuda_graph"), MethodCall("packing"), MethodCall("bf16")), "bart")


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has the GPU that cuda_graph asks for")
def test_a_machine_without_a_gpu_is_refused_when_it_is_planned() -> None:
    with pytest.raises(PlanError, match="needs an NVIDIA GPU"):
        require_machine((MethodCall("cuda_graph"),))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_replayed_graphs_train_to_the_losses_of_plain_passes_on_a_gpu() -> None:
    device, found = torch.device("cuda"), []
    for num_shapes in (None, 2):
        phases, facts = Phases(), {}
        asked = job(num_shapes=num_shapes, in_bf16=True, phases=phases, facts=facts)
        loop.train(replace(asked, model=asked.model.to(device), device=device))
        found.append([phases.figures[name].facts["loss_last"] for name in ("train", "validate")])
    assert facts["cuda_graph"]["num_replays"] == 10
    assert found[1] == pytest.approx(found[0], abs=0.02)  # bfloat16, and kernels that add in another order each time
