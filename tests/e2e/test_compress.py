"""Methods that change the size of the model, through the real worker: what the record says is of the small model."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import worker_cells
from kilowit.record import PhaseFigures, Record
from kilowit.store import Store

WHOLE = {"bart-tiny": 1_227_264, "t5-tiny": 957_696, "pegasus-tiny": 1_226_752}


def run(folder: Path, size: str, recipe: str, *overrides: str) -> Record:
    record = worker_cells.run(
        folder,
        model=f"{{scratch: {size}, vocabulary_size: 300}}",
        recipe=recipe,
        overrides=["train.num_validations=2", *overrides],
    )
    assert record.status == "finished", record.error_message
    (evidence,) = record.methods
    assert evidence.applied
    return record


def phase(record: Record, name: str) -> PhaseFigures:
    figures = record.phase(name)
    assert figures is not None
    return figures


def evidence(record: Record) -> dict[str, Any]:
    return record.methods[0].evidence


@pytest.mark.parametrize(
    ("size", "recipe"),
    [
        ("pegasus-tiny", "[{distill: {decoder_layers: [1]}}]"),
        ("bart-tiny", "[{distill: {kind: knowledge_distillation, decoder_layers: 1}}]"),
        ("bart-tiny", "[prune]"),
        ("t5-tiny", "[{prune: {encoder_layers: 1, decoder_layers: 1}}]"),
    ],
)
def test_record_is_of_the_small_model_and_its_teacher_is_on_the_bill(size: str, recipe: str, tmp_path: Path) -> None:
    from kilowit.parts import catalogue

    record = run(tmp_path, size, recipe, "measure.keep_model=true", "predict.min_new_tokens=2")
    model, shown = record.model, evidence(record)
    assert model is not None
    assert shown["num_parameters_before"] == WHOLE[size]
    assert shown["num_parameters_after"] == model.num_parameters < WHOLE[size]  # type: ignore[operator]
    compress = phase(record, "compress")
    assert compress.num_steps == 5  # 4 of the teacher, and its warm-up
    assert compress.energy_total_joule is not None
    assert compress.flop_total > phase(record, "train").flop_total * 0.5  # type: ignore[operator]
    assert phase(record, "train").num_steps == 4
    kept = tmp_path / "runs" / record.run_id / "model"
    size_kept = catalogue.resolve_dimensions({"folder": str(kept)})
    assert size_kept is not None
    assert size_kept.num_parameters == model.num_parameters
    assert model.model_disk_byte == (kept / "model.safetensors").stat().st_size
    again = worker_cells.run(tmp_path, model=f"{{folder: {kept}}}")
    assert again.status == "finished", again.error_message
    assert again.model is not None
    assert again.model.num_parameters == model.num_parameters
    assert again.model.flop_per_output_token == model.flop_per_output_token


def test_teacher_writes_the_targets_on_the_bill_of_compress(tmp_path: Path) -> None:
    recipe = "[{distill: {kind: pseudo_labels, encoder_layers: 1, decoder_layers: 1, num_beams: 1}}]"
    record = run(tmp_path, "t5-tiny", recipe, "train.num_steps=24", "train.learning_rate=0.01")
    shown, compress = evidence(record), phase(record, "compress")
    num_examples = record.dataset.splits[0].num_examples  # type: ignore[union-attr]
    assert 0 < shown["num_pseudo_labels"] <= num_examples
    assert shown["targets_unchanged_fraction"] < 1
    assert compress.num_output_tokens >= shown["num_pseudo_labels"]  # type: ignore[operator]
    assert (record.model.num_parameters, shown["decoder_layers_kept"]) == (shown["num_parameters_after"], [0])  # type: ignore[union-attr]


def test_magnitude_pruning_saves_nothing_and_says_so(tmp_path: Path) -> None:
    record = run(tmp_path, "pegasus-tiny", "[{prune: {kind: magnitude, sparsity: 0.7}}]")
    shown = evidence(record)
    assert shown["zero_fraction"] == pytest.approx(0.7, abs=0.01)
    assert (shown["zeros_stayed"], shown["is_smaller"]) == (True, False)
    assert shown["model_byte_before"] == shown["model_byte_after"]


@pytest.mark.parametrize("size", ["bart-tiny", "t5-tiny"])
def test_members_of_an_ensemble_are_all_on_the_bill(size: str, tmp_path: Path) -> None:
    record = run(tmp_path, size, "[{ensemble: {members: 2}}]", "measure.keep_model=true")
    plain = worker_cells.run(tmp_path, model=f"{{scratch: {size}, vocabulary_size: 300}}")
    assert evidence(record)["num_distinct_members"] == 2
    assert phase(record, "train").num_steps == 8
    assert record.model is not None
    assert plain.model is not None
    for name in ("num_parameters", "flop_per_input_token", "flop_per_output_token"):
        assert getattr(record.model, name) == 2 * getattr(plain.model, name)
    assert record.model.num_trainable_parameters == plain.model.num_trainable_parameters
    folder = tmp_path / "runs" / record.run_id / "model"
    kept = [path.stat().st_size for path in folder.rglob("*.safetensors")]
    assert (len(kept), sum(kept)) == (2, record.model.model_disk_byte)


def test_other_methods_of_the_recipe_hold_for_student_and_members(tmp_path: Path) -> None:
    for number, recipe in enumerate((
        "[{distill: {kind: knowledge_distillation, decoder_layers: 1}}, bf16, {freeze: {modules: [encoder]}}]",
        "[sortish, {freeze: {modules: [encoder]}}, {ensemble: {members: 2}}]",
    )):  # fmt: skip
        folder = tmp_path / str(number)
        record = worker_cells.run(folder, recipe=recipe)
        assert record.status == "finished", record.error_message
        assert [shown.applied for shown in record.methods] == [True] * 3
        assert record.model is not None
        assert record.model.num_trainable_parameters < record.model.num_parameters  # type: ignore[operator]


@pytest.fixture(scope="module")
def resume(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("resume", repository / "benchmarks" / "resume.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_cell_killed_while_it_compresses_is_billed_and_tried_anew(resume: ModuleType, tmp_path: Path) -> None:
    recipe = "[{distill: {decoder_layers: 1}}]"
    study, runs = resume.write_study(tmp_path, [resume.BART], recipe), tmp_path / "runs"
    killed = resume.kill_in_phase(study, runs, "compress", "worker")
    assert (killed.record.error_kind, killed.record.error_phase) == ("killed", "compress")
    assert resume.unbilled_second(killed) < 1.0
    assert resume.run(study, runs) == 0
    finished = [record for record in Store(runs).records() if record.status == "finished"]
    assert [shown.applied for shown in finished[0].methods] == [True]
    assert len(finished) == 1
