"""The real worker on tiny cells: a folder in, a folder out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import worker_cells
from kilowit import parts
from kilowit.parts.ranks import has_deepspeed
from kilowit.record import PhaseFigures, Record
from kilowit.run import worker

RECIPES = {
    "ctranslate2_int8": "[ctranslate2_int8]",
    "fp16_export": "[fp16_export]",
    "int8_dynamic": "[int8_dynamic]",
    "int8_static": "[{int8_static: {num_documents: 8}}]",
    "adafactor": "[adafactor]",
    "adam8bit": "[adam8bit]",
    "balanced": "[balanced]",
    "batch_size": "[{batch_size: {memory_byte: 40000000, max_batch_size: 32}}]",
    "bf16": "[bf16]",
    "distill": "[{distill: {decoder_layers: 1}}]",
    "ddp": "[ddp]",
    "bf16_weights": "[bf16_weights]",
    "compile": "[{compile: {backend: aot_eager}}]",
    "early_stopping": "[early_stopping]",
    "ensemble": "[{ensemble: {kind: checkpoint_soup, members: 2}}]",
    "freeze": "[{freeze: {modules: [embeddings, encoder]}}]",
    "fused_loss": "[{fused_loss: {chunk_tokens: 16}}]",
    "gradient_accumulation": "[gradient_accumulation]",
    "gradient_checkpointing": "[gradient_checkpointing]",
    "label_smoothing": "[label_smoothing]",
    "lora": "[{lora: {r: 4}}]",
    "low_resource": "[{low_resource: {fraction: 0.5}}]",
    "prune": "[{prune: {decoder_layers: 1}}]",
    "fsdp": "[fsdp]",
    "sparse_attention": "[{sparse_attention: {window: 4}}]",
    "packing": "[packing]",
    "sortish": "[{sortish: {pool_batches: 4}}]",
    "token_budget": "[{token_budget: {max_tokens: 160}}]",
    "truncate": "[{truncate: {max_source_tokens: 16, max_target_tokens: 6}}]",
    **({"zero": "[zero]"} if has_deepspeed() else {}),
    "zero_shot": "[zero_shot]",
}
# All methods that train in the engine loop, many to a cell: each has to show that it was applied.
LOOP_RECIPES = {
    "frugal": "[bf16_weights, packing, fused_loss, {low_resource: {fraction: 0.5}}, early_stopping, adafactor,"
    " {truncate: {max_source_tokens: 16}}, {freeze: {modules: [embeddings]}}, gradient_accumulation, sortish]",
    "recomputed": "[bf16, packing, balanced, gradient_checkpointing, label_smoothing, {lora: {r: 4}}]",
    "distilled": "[packing, {distill: {kind: knowledge_distillation, decoder_layers: 1}}]",
    "ensemble": "[bf16_weights, packing, {ensemble: {members: 2}}]",
    "soup": "[bf16_weights, packing, {ensemble: {kind: checkpoint_soup, members: 2}}]",
    "pruned": "[bf16_weights, {token_budget: {max_tokens: 160}}, {prune: {kind: magnitude}}]",
    "sparse": "[{sparse_attention: {window: 4}}]",
    "compressed": "[packing, int8_dynamic]",
    "compiled": "[bf16_weights, packing, fused_loss, {compile: {backend: aot_eager}}]",
}
NEEDS_CUDA = {"cuda_graph", "fp16", "tf32", "zero_offload"}
NEEDS_DEEPSPEED = {"zero"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    folder = tmp_path_factory.mktemp("plain")
    record = worker_cells.run(folder, overrides=["measure.keep_model=true", "train.num_validations=2"])
    return folder / "runs" / record.run_id, record


def phase(record: Record, name: str) -> PhaseFigures:
    figures = record.phase(name)
    assert figures is not None
    return figures


def test_finished_cell_leaves_every_file_of_the_contract(plain: tuple[Path, Record]) -> None:
    folder, record = plain
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "cell.json", "environment.json", "ledger.jsonl", "power.csv", "predictions.jsonl", "record.json", "model",
    }  # fmt: skip
    assert not [name for name in names if name.startswith(".")]
    assert record.status == "finished"
    assert (record.error_kind, record.error_message, record.error_phase) == (None, None, None)
    assert record.environment == json.loads((folder / "environment.json").read_text(encoding="utf-8"))


def test_phases_of_a_trained_cell_are_all_there_and_add_up(plain: tuple[Path, Record]) -> None:
    _, record = plain
    names = [figures.phase for figures in record.phases]
    assert names == ["idle", "prepare", "load", "warmup", "train", "validate", "save", "predict", "score", "gap"]
    assert all(figures.wall_second >= 0 for figures in record.phases)
    assert phase(record, "gap").wall_second < 0.5


def test_counts_and_facts_of_each_phase_are_filled_in(plain: tuple[Path, Record]) -> None:
    _, record = plain
    train, predict = phase(record, "train"), phase(record, "predict")
    assert (train.num_steps, train.num_examples) == (4, 16)
    assert train.num_input_tokens > train.num_output_tokens > 0  # type: ignore[operator]
    assert train.flop_total > 0  # type: ignore[operator]
    assert train.flop_source == "formula"
    assert phase(record, "warmup").flop_source == "counter"
    assert train.loss_first is not None
    assert phase(record, "validate").num_examples == 2 * record.dataset.splits[1].num_examples  # type: ignore[union-attr]
    assert predict.num_examples == record.dataset.splits[2].num_examples  # type: ignore[union-attr]
    assert 0 < predict.latency_p50_second <= predict.latency_p99_second  # type: ignore[operator]
    assert phase(record, "save").disk_kept_byte > 10**6  # type: ignore[operator]


def test_dataset_card_has_the_lengths_that_tokenizing_counted_of_every_example(plain: tuple[Path, Record]) -> None:
    _, record = plain
    assert record.dataset is not None
    maxima = record.cell["settings"]["train"]
    for split in record.dataset.splits:
        assert split.source_length is not None and split.target_length is not None
        assert (split.source_length.unit, split.source_length.num_texts) == ("token", split.num_examples)
        assert split.source_length.maximum == maxima["max_source_tokens"]
        assert split.target_length.maximum == maxima["max_target_tokens"]
        assert split.coverage_mean is not None and 0 <= split.coverage_mean <= 1


def test_scores_come_with_intervals_and_each_prediction_with_its_own(plain: tuple[Path, Record]) -> None:
    folder, record = plain
    assert [score.metric for score in record.scores] == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
    assert set(rows[0]) == {"id", "prediction", "num_output_tokens", "scores"}
    for score in record.scores:
        values = [row["scores"][score.metric] for row in rows]
        assert score.value == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_model_that_is_kept_can_be_loaded_again(plain: tuple[Path, Record]) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder, record = plain
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "model")
    assert sum(p.numel() for p in model.parameters()) == record.model.num_parameters  # type: ignore[union-attr]
    assert AutoTokenizer.from_pretrained(folder / "model").pad_token_id == model.config.pad_token_id
    assert record.model.model_disk_byte == (folder / "model" / "model.safetensors").stat().st_size  # type: ignore[union-attr]


def test_same_cell_gives_the_same_losses_and_summaries_again(plain: tuple[Path, Record], tmp_path: Path) -> None:
    folder, record = plain
    again = worker_cells.run(tmp_path, overrides=["train.num_validations=2"])
    for name in ("loss_first", "loss_last"):
        assert getattr(phase(again, "train"), name) == getattr(phase(record, "train"), name)
    here = tmp_path / "runs" / again.run_id / "predictions.jsonl"
    assert here.read_text(encoding="utf-8") == (folder / "predictions.jsonl").read_text(encoding="utf-8")


def test_folder_that_was_run_is_not_run_again(plain: tuple[Path, Record]) -> None:
    from kilowit.errors import StoreError

    with pytest.raises(StoreError, match="never rewritten"):
        worker.main(plain[0])


def test_every_method_has_a_recipe_here() -> None:
    runnable = {name for name in parts.names("methods") if not hasattr(parts.load("methods", name), "UNAVAILABLE")}
    assert RECIPES.keys() | NEEDS_CUDA | NEEDS_DEEPSPEED == runnable


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.slow] * (name == "compiled")) for name in sorted(LOOP_RECIPES)]
)
def test_methods_are_applied_together_in_the_loop(recipe: str, tmp_path: Path) -> None:
    overrides = ["train.num_validations=4", "train.num_steps=8", "train.engine=loop"]
    record = worker_cells.run(tmp_path, recipe=LOOP_RECIPES[recipe], overrides=overrides)
    assert record.status == "finished", record.error_message
    assert [evidence.method for evidence in record.methods if not evidence.applied] == []
    assert phase(record, "train").num_examples


def test_every_method_that_trains_in_the_loop_is_tried_there() -> None:
    modules = {name: parts.load("methods", name) for name in parts.names("methods")}
    # What compresses the trained model comes after the engine: one of them stands for all.
    able = {name for name, module in modules.items() if "loop" in getattr(module, "ENGINES", ())}
    able -= {name for name in able if hasattr(modules[name], "compress_trained")} - {"int8_dynamic"}
    tried = {name for name in able if any(re.search(rf"\b{name}\b", recipe) for recipe in LOOP_RECIPES.values())}
    assert tried == able - NEEDS_CUDA


@pytest.mark.parametrize("method", sorted(RECIPES))
def test_method_is_applied_and_shows_it(method: str, tmp_path: Path) -> None:
    record = worker_cells.run(
        tmp_path, recipe=RECIPES[method], overrides=["train.num_validations=4", "train.num_steps=8"]
    )
    assert record.status == "finished", record.error_message
    evidence = record.methods[-1]
    assert (evidence.method, evidence.applied) == (method, True)
    assert evidence.evidence
    assert json.loads(json.dumps(evidence.evidence)) == evidence.evidence
    if method == "zero_shot":
        assert [figures.phase for figures in record.phases if figures.phase in ("train", "validate")] == []
        assert record.model.num_trainable_parameters == record.model.num_parameters  # type: ignore[union-attr]
    if method not in {"ddp", "fsdp", "zero"}:
        return
    # However many processes it took: one bill, and the examples that one process sees.
    names = [figures.phase for figures in record.phases]
    assert names == ["idle", "prepare", "load", "warmup", "train", "validate", "predict", "score", "gap"]
    assert phase(record, "train").num_examples == 4 * phase(record, "train").num_steps  # type: ignore[operator]


def test_methods_of_one_recipe_work_together(tmp_path: Path) -> None:
    record = worker_cells.run(
        tmp_path,
        recipe="[bf16, sortish, {truncate: {max_source_tokens: 20}}, adafactor, {freeze: {modules: [encoder]}}]",
    )
    assert record.status == "finished", record.error_message
    assert [evidence.applied for evidence in record.methods] == [True] * 5
    shown = {evidence.method: evidence.evidence for evidence in record.methods}
    assert shown["bf16"]["linear_dtype"] == "bfloat16"
    assert shown["truncate"]["source_longest_tokens"] == 20
    assert shown["freeze"]["unmoved"]
    assert record.model.num_trainable_parameters < record.model.num_parameters  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    ("size", "recipe"),
    [
        ("llama-tiny", "[bf16, {lora: {r: 2}}, gradient_checkpointing, gradient_accumulation]"),
        ("gpt2-tiny", "[{lora: {r: 2}}, gradient_checkpointing, label_smoothing]"),
        ("llama-tiny", "[bf16, zero_shot]"),
    ],
)
def test_decoder_only_models_take_the_methods_of_all(size: str, recipe: str, tmp_path: Path) -> None:
    model = f'{{scratch: {size}, vocabulary_size: 300, prompt: "{{document}}\\nIn short:"}}'
    record = worker_cells.run(tmp_path, model=model, recipe=recipe)
    assert record.status == "finished", record.error_message
    assert all(evidence.applied for evidence in record.methods)


@pytest.mark.parametrize("recipe", ["frugal"])
def test_packaged_recipe_goes_the_whole_way_by_its_name(recipe: str, tmp_path: Path) -> None:
    record = worker_cells.run(tmp_path, recipe=recipe)
    assert record.status == "finished", record.error_message
    shown = {evidence.method: evidence.evidence for evidence in record.methods}
    assert shown["packing"]["padding_fraction"] == 0.0
    assert shown["bf16_weights"]["gradient_dtype"] == "bfloat16"
    assert [figures.phase for figures in record.phases if figures.phase in ("warmup", "train", "validate")]


def test_method_that_took_no_effect_fails_the_cell_and_is_billed(tmp_path: Path) -> None:
    record = worker_cells.run(
        tmp_path, recipe="[{truncate: {max_source_tokens: 300}}]", overrides=["train.max_source_tokens=400"]
    )
    assert (record.status, record.error_kind, record.error_phase) == ("failed", "method_not_applied", "train")
    assert '"source_truncated_fraction": 0.0' in (record.error_message or "")
    assert record.scores == []
    assert phase(record, "train").wall_second > 0


@pytest.mark.parametrize("baseline", ["lead", "textrank"])
def test_baseline_is_predicted_and_scored_without_training(baseline: str, tmp_path: Path) -> None:
    record = worker_cells.run(tmp_path, model=baseline)
    assert record.status == "finished", record.error_message
    names = [figures.phase for figures in record.phases]
    assert names == ["idle", "prepare", "load", "predict", "score", "gap"]
    assert record.scores[0].value > 0
    assert record.model.source == "baseline"  # type: ignore[union-attr]
    assert phase(record, "predict").num_output_tokens is None


@pytest.mark.parametrize(
    "size",
    [
        "t5-tiny",
        "pegasus-tiny",
        "led-tiny",
        "bigbird_pegasus-tiny",
        "prophetnet-tiny",
        "pegasus_x-tiny",
        "longt5-tiny",
        "bert2bert-tiny",
        "unilm-tiny",
        "llama-tiny",
        "gpt2-tiny",
        "mbart-tiny",
    ],
)
def test_other_families_go_the_whole_way(size: str, tmp_path: Path) -> None:
    record = worker_cells.run(tmp_path, model=f"{{scratch: {size}, vocabulary_size: 300}}")
    assert record.status == "finished", record.error_message
    assert record.model.family == size.partition("-")[0]  # type: ignore[union-attr]
    assert record.model.flop_per_output_token > 0  # type: ignore[union-attr,operator]
