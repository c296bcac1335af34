"""A study becomes cells; what is wrong with one is said once, with its place."""

# ruff: noqa: E501  (one row a case)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kilowit.cell import Cell
from kilowit.errors import StoreError, StudyError
from kilowit.parts.content import content_hash
from kilowit.study import Study

WHOLE = """\
name: samsum-green
models:   [facebook/bart-base, {scratch: bart-tiny}, lead]
datasets: [{name: docstrings, max_train_examples: 2000}]
recipes:
  full:    []
  bf16:    [bf16]
  frugal:  [bf16, sortish, {freeze: {modules: [embeddings, encoder]}}]
hardware: [local]
seeds:    [0, 1, 2]
exclude:  [{model: lead, recipe: bf16}]
train:    {num_epochs: 3, batch_size: 16, learning_rate: 5.0e-5, max_source_tokens: 512, max_target_tokens: 90}
predict:  {num_beams: 4, max_new_tokens: 62}
metrics:  [rouge]
measure:  {idle_second: 10, cooldown_second: 10, order: shuffled}
factors:  {region: azure/westus2, machine: Standard_NC24ads_A100_v4}
budget:   {cost_usd: 40, energy_kwh: 12, wall_hour: 10}
"""
SMALL = "name: a\nmodels: [{scratch: bart-tiny}]\ndatasets: [docstrings]\n"


def refusal(text: str, overrides: tuple[str, ...] = (), folder: Path = Path()) -> list[str]:
    with pytest.raises(StudyError) as caught:
        Study.parse(text, folder=folder, overrides=overrides)
    return str(caught.value).splitlines()


def test_the_study_of_the_design_expands_to_its_cells() -> None:
    study = Study.parse(WHOLE)
    assert len(study.cells) == 2 * 3 * 3 + 1  # the baseline stands once, whatever recipes and seeds there are
    assert [c.label for c in study.cells if c.is_baseline] == ["lead_docstrings_s0"]
    assert len({cell.key for cell in study.cells}) == 19
    assert study.budget.cost_usd == 40
    assert study.measure.order == "shuffled"
    assert study.cells[0].factors.region == "azure/westus2"


def test_models_and_datasets_are_canonical() -> None:
    cells = Study.parse(WHOLE).cells
    assert [c.model for c in (cells[0], cells[9], cells[18])] == [
        {"hub": "facebook/bart-base"},
        {"scratch": "bart-tiny"},
        {"baseline": "lead", "options": {}},
    ]
    assert cells[0].dataset == {"name": "docstrings", "max_train_examples": 2000}


def test_what_is_left_out_has_a_default() -> None:
    (cell,) = Study.parse(SMALL).cells
    assert (cell.recipe, cell.methods, cell.seed, cell.hardware, cell.metrics) == ("full", (), 0, "local", ("rouge",))


@pytest.mark.parametrize("text", [WHOLE, SMALL])
def test_cell_json_and_back_is_the_same_cell(text: str) -> None:
    for cell in Study.parse(text).cells:
        twin = Cell.from_dict(json.loads(json.dumps(cell.to_dict())))
        assert twin == cell
        assert twin.key == cell.key


@pytest.mark.parametrize("change", [{"seed": None}, {"unknown": 1}, {"settings": {"train": {"num_epochs": -1}}}])
def test_a_corrupt_cell_json_is_a_store_error(change: dict[str, object]) -> None:
    value = {**Study.parse(SMALL).cells[0].to_dict(), **change}
    with pytest.raises(StoreError, match="kilowit run"):
        Cell.from_dict(value)


def test_all_faults_are_found_at_once_each_with_its_place() -> None:
    lines = refusal(
        WHOLE.replace("bf16]\n", "bf17]\n", 1)
        .replace("num_epochs", "num_epoch")
        .replace("docstrings", "docstring")
        .replace("azure/westus2", "azure/westus22")
        .replace("num_beams: 4", "num_beams: no")
        .replace("lead]", "leed]")
    )
    assert lines == [
        'study.yaml:2:54  models[2]: no model "leed". Did you mean "lead"? A hub id has an owner, as facebook/bart-base.',
        'study.yaml:3:12  datasets[0]: no dataset "docstring". Did you mean "docstrings"?',
        'study.yaml:6:13  recipes.bf16[0]: no method "bf17". Did you mean "bf16"?',
        'study.yaml:11:12  train: no key "num_epoch". Did you mean "num_epochs"?',
        'study.yaml:12:23  predict.num_beams: expected a whole number, found "no".',
        'study.yaml:15:20  factors.region: no grid factor for region "azure/westus22". Did you mean "azure/westus2"?',
    ]


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        ("[docstrings]", "docstrings", '3:11  datasets: expected a list, found "docstrings". Write [docstrings].'),
        ("[docstrings]", "[]", "3:11  datasets: expected at least one item, found none."),
        ("[docstrings]", "[{max_train_examples: 3}]", "3:12  datasets[0]: expected a dataset's name, or a mapping with the key name."),
        ("[docstrings]", "[docstrings, docstrings]", "3:24  datasets[1]: the same as datasets[0]. Remove one."),
        ("[docstrings]", "[{name: docstrings, max_train_examples: 0}]", "3:51  datasets[0].max_train_examples: it should be greater than or equal to 1, found 0."),
        ("[docstrings]", "[{name: docstrings, max_train: 1}]", '3:31  datasets[0]: no key "max_train". Did you mean "max_train_examples"?'),
        ("{scratch: bart-tiny}", "bart-tiny", '2:10  models[0]: "bart-tiny" is a size from scratch. Write {scratch: bart-tiny}.'),
        ("{scratch: bart-tiny}", "{scratch: bart-tinny}", '2:10  models[0]: no size "bart-tinny" to build from scratch. Did you mean "bart-tiny"?'),
        ("{scratch: bart-tiny}", "{hub: a/b, scratch: bart-tiny}", "2:10  models[0]: a model is one of hub, folder, scratch, warm_start, baseline; this has hub and scratch."),
        ("{scratch: bart-tiny}", "{hub: a b}", '2:10  models[0]: "a b" cannot be a hub id. Example: facebook/bart-base.'),
        ("{scratch: bart-tiny}", "{baseline: led}", '2:10  models[0]: no baseline "led". Did you mean "lead"?'),
        ("{scratch: bart-tiny}", "3", "2:10  models[0]: expected a model's name or a mapping, found 3."),
        ("name: a", "name: a b", '1:7  name: expected letters, digits, dot, dash or underscore, found "a b".'),
        ("name: a", "name: 3", "1:7  name: expected text, found 3. Quote it."),
        ("name: a\n", "", '1:1  the key "name" is missing.'),
    ],
)  # fmt: skip
def test_a_fault_has_a_place_and_a_remedy(written: str, instead: str, expected: str) -> None:
    assert refusal(SMALL.replace(written, instead)) == [f"study.yaml:{expected}"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("seeds: [0, 0]", "4:12  seeds[1]: 0 stands twice. Remove one."),
        ("seeds: [0.5]", "4:9  seeds[0]: expected a whole number, found 0.5."),
        ("seeds: [true]", "4:9  seeds[0]: expected a whole number, found true."),
        ("hardware: [gpu]", '4:12  hardware[0]: no hardware "gpu". Known: local, the machine that runs the study.'),
        ("metrics: [rogue]", '4:11  metrics[0]: no metric "rogue". Did you mean "rouge"?'),
        ("recipes: {a: [bf16, bf16]}", "4:21  recipes.a[1]: the same method twice in one recipe. Remove one."),
        ("recipes: {a: [bf16], b: [{bf16: {}}]}", '4:22  recipes.b: the same methods as recipe "a". Remove one.'),
        ("recipes: {a: [bf16, fp16]}", '4:11  recipes.a: method "bf16" conflicts with "fp16". Put them in two recipes.'),
        ("recipes: {a: [{freeze: {modules: [x], y: 1}}]}", '4:39  recipes.a[0].freeze: no key "y". Known: modules.'),
        ("recipes: {a: [{bf16: null}]}", "4:22  recipes.a[0].bf16: expected a mapping of options, found nothing. Without options write bf16."),
        ("recipes: {a: [[bf16]]}", "4:15  recipes.a[0]: expected a method's name or {method: {options}}, found a list."),
        ("recipes: {}", "4:10  recipes: expected at least one item, found none."),
        ("recipes: {a: null}", "4:14  recipes.a: expected a list, found nothing."),
        ("recipes: {a b: []}", '4:11  recipes.a b: expected letters, digits, dot, dash or underscore, found "a b".'),
        ("exclude: [{recipe: ful}]", '4:20  exclude[0].recipe: "ful" matches no recipe of this study. Did you mean "full"?'),
        ("exclude: [{seed: 7}]", "4:18  exclude[0].seed: 7 matches no seed of this study. Known: 0."),
        ("exclude: [{}]", "4:11  exclude[0]: names nothing. Give one of model, dataset, recipe, hardware, seed."),
        ("exclude: [{modell: a}]", '4:12  exclude[0]: no key "modell". Did you mean "model"?'),
        ("exclude: [{model: bart-tiny}]", "4:1  exclude: nothing is left to run. Remove an exclusion."),
        ("train: {schedule: linaer}", '4:19  train.schedule: no choice "linaer". Did you mean "linear"?'),
        ("train:", "4:7  train: expected a mapping, found nothing."),
        ("measure: {keep_model: yes}", '4:23  measure.keep_model: expected true or false, found "yes".'),
        ("factors: {machine: Standard_NC24ads_A100}", '4:20  factors.machine: no machine "Standard_NC24ads_A100". Did you mean "Standard_NC24ads_A100_v4"?'),
        ("budget: {energy_kwh: 0}", "4:22  budget.energy_kwh: it should be greater than 0, found 0."),
        ("dataset: [docstrings]", '4:1  no key "dataset". Did you mean "datasets"?'),
    ],
)  # fmt: skip
def test_a_fault_in_an_optional_key_has_a_place_and_a_remedy(more: str, expected: str) -> None:
    assert refusal(SMALL + more + "\n") == [f"study.yaml:{expected}"]


def test_a_number_in_e_notation_is_a_number() -> None:
    assert Study.parse(SMALL + "train: {learning_rate: 1e-5}").settings.train.learning_rate == 1e-5


def test_a_baseline_is_left_out_only_by_what_it_has() -> None:
    text = WHOLE.replace("exclude:  [{model: lead, recipe: bf16}]", "exclude:  [{recipe: bf16}, {seed: 0}]")
    assert sum(cell.is_baseline for cell in Study.parse(text).cells) == 1
    text = WHOLE.replace("{model: lead, recipe: bf16}", "{model: lead}")
    assert sum(cell.is_baseline for cell in Study.parse(text).cells) == 0


def test_a_model_is_excluded_by_its_short_name_or_its_hub_id() -> None:
    for name in ("bart-base", "facebook/bart-base"):
        text = WHOLE.replace("{model: lead, recipe: bf16}", f"{{model: {name}, seed: 1}}")
        assert len(Study.parse(text).cells) == 19 - 3


def test_more_than_ten_thousand_cells_are_refused() -> None:
    lines = refusal(SMALL + f"seeds: {list(range(10_001))}\n")
    assert lines == ["study.yaml:1:1  10,001 cells, more than 10,000. Split the study."]


def test_a_local_folder_is_named_by_what_it_holds(tmp_path: Path) -> None:
    keys = []
    for place in ("one", "two"):
        folder = tmp_path / place / "model"
        folder.mkdir(parents=True)
        sizes = dict.fromkeys(("encoder_layers", "decoder_layers"), 1) | dict.fromkeys(
            ("d_model", "encoder_ffn_dim", "decoder_ffn_dim", "encoder_attention_heads", "decoder_attention_heads"), 8
        )
        config = {"model_type": "bart", "vocab_size": 99, "max_position_embeddings": 32, **sizes}
        (folder / "config.json").write_text(json.dumps(config))
        study = Study.parse(SMALL.replace("{scratch: bart-tiny}", "./model"), folder=folder.parent)
        assert study.cells[0].model == {"folder": str(folder), "fingerprint": content_hash(folder)}
        keys.append(study.cells[0].key)
    assert keys[0] == keys[1]
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 98}))
    assert Study.parse(SMALL.replace("{scratch: bart-tiny}", "./model"), folder=folder.parent).cells[0].key != keys[0]


def test_a_local_folder_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (line,) = refusal(SMALL.replace("{scratch: bart-tiny}", "./none"), folder=tmp_path)
    assert line.startswith('study.yaml:2:10  models[0]: "./none" cannot be read (No such file or directory')
    (tmp_path / "empty").mkdir()
    (line,) = refusal(SMALL.replace("{scratch: bart-tiny}", "./empty"), folder=tmp_path)
    assert line.endswith("no config.json in it. Give a folder as save_pretrained() leaves it.")


def test_local_files_are_resolved_beside_the_study_and_hashed(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"document": "a", "summary": "b"}\n')
    text = SMALL.replace("[docstrings]", "[{name: local_files, path: pairs.jsonl}]")
    (tmp_path / "study.yaml").write_text(text)
    (cell,) = Study.load(tmp_path / "study.yaml").cells
    assert cell.dataset["path"] == str(tmp_path / "pairs.jsonl")
    (tmp_path / "pairs.jsonl").write_text('{"document": "a", "summary": "c"}\n')
    assert Study.load(tmp_path / "study.yaml").cells[0].key != cell.key
    (tmp_path / "pairs.jsonl").unlink()
    (line,) = refusal(text, folder=tmp_path)
    assert line.startswith('study.yaml:3:38  datasets[0].path: "pairs.jsonl" cannot be read')


def test_a_method_that_does_not_suit_a_model_is_found_before_anything_runs() -> None:
    (line,) = refusal(SMALL.replace("bart", "t5") + "recipes: {full: [], half: [fp16]}\n")
    assert line.startswith("study.yaml:4:21  recipes.half: method")


def test_a_hub_id_that_no_table_knows_is_noted() -> None:
    study = Study.parse(SMALL.replace("{scratch: bart-tiny}", "someone/some-bart"))
    assert study.notes[0].startswith("someone/some-bart is not in the table")


def test_a_recipe_may_be_the_name_of_a_packaged_one_and_means_its_methods() -> None:
    by_name = Study.parse(SMALL + "recipes: {mine: frugal}\n").cells[0]
    listed = Study.parse(SMALL + "recipes: {mine: [bf16_weights, packing]}\n").cells[0]
    assert by_name.methods == listed.methods
    assert by_name.key == listed.key
    (line,) = refusal(SMALL + "recipes: {full: [], mine: frugle}\n")
    assert line.startswith('study.yaml:4:27  recipes.mine: no recipe "frugle"')
    assert 'Did you mean "frugal"?' in line


def test_a_recipe_without_an_engine_for_all_its_methods_is_found_before_anything_runs() -> None:
    (line,) = refusal(SMALL + "recipes: {mine: [packing, fp16]}\n")
    assert "no engine works with all of the recipe" in line
