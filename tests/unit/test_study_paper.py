"""`train: paper`: published settings by family and dataset, strict, with their source."""

from __future__ import annotations

import pytest

from kilowit import factors
from kilowit.errors import StudyError
from kilowit.factors.factor import table
from kilowit.parts.paper import paper_training
from kilowit.study import Study

STUDY = "{{name: a, models: [{models}], datasets: [{datasets}], train: {train}}}"


def parse(train: str, models: str = "facebook/bart-large", datasets: str = "samsum") -> Study:
    return Study.parse(STUDY.format(models=models, datasets=datasets, train=train))


def test_every_cell_gets_the_settings_of_its_own_family_and_dataset() -> None:
    study = parse("paper", "facebook/bart-large, google/pegasus-large, lead", "samsum, xsum")
    by_name = {(cell.model.get("hub"), cell.dataset["name"]): cell.settings.train for cell in study.cells}
    samsum = by_name["facebook/bart-large", "samsum"]
    assert (samsum.batch_size * samsum.gradient_accumulation_steps, samsum.num_epochs, samsum.num_steps) == (
        128,
        3,
        None,
    )
    assert (samsum.learning_rate, samsum.max_source_tokens, samsum.max_target_tokens) == (5e-5, 512, 90)
    xsum = by_name["facebook/bart-large", "xsum"]
    assert (xsum.num_steps, xsum.warmup_steps, xsum.label_smoothing, xsum.max_grad_norm) == (15_000, 500, 0.1, 0.1)
    pegasus = by_name["google/pegasus-large", "xsum"]
    assert (pegasus.optimizer, pegasus.schedule, pegasus.num_steps) == ("adafactor", "inverse_sqrt", 30_000)
    assert any("facebookresearch/fairseq" in note and "number of tokens" in note for note in study.notes)


def test_a_study_may_set_its_own_on_top_and_epochs_then_replace_steps() -> None:
    train = parse("{paper: true, num_epochs: 1, learning_rate: 1.0e-4}", datasets="xsum").cells[0].settings.train
    assert (train.num_epochs, train.num_steps, train.learning_rate, train.label_smoothing) == (1, None, 1e-4, 0.1)
    plain = parse("{paper: false}").cells[0].settings.train
    assert plain == parse("{}").cells[0].settings.train


@pytest.mark.parametrize(
    ("train", "models", "datasets", "message"),
    [
        (
            "paper",
            "google/pegasus-x-base",
            "xsum",
            "no published training settings of pegasus_x on xsum. None are known",
        ),
        ("paper", "facebook/bart-large", "reddit_tifu", "Known: bart on samsum, xsum, cnn_dailymail"),
        ("paper", "someone/something", "xsum", "the family of something is not known here"),
        ("{paper: 1}", "facebook/bart-large", "xsum", "expected true or false, found 1"),
        ("{paper: true, bach_size: 4}", "facebook/bart-large", "xsum", 'Did you mean "batch_size"?'),
        ("papers", "facebook/bart-large", "xsum", "train"),
    ],
)
def test_what_no_paper_says_is_an_error_at_its_place(train: str, models: str, datasets: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse(train, models, datasets)
    assert message in str(caught.value)


def test_an_excluded_cell_needs_no_paper() -> None:
    text = STUDY.format(models="facebook/bart-large", datasets="xsum, reddit_tifu", train="paper")
    study = Study.parse(text[:-1] + ", exclude: [{dataset: reddit_tifu}]}")
    assert [cell.dataset["name"] for cell in study.cells] == ["xsum"]


def test_every_row_of_the_table_is_a_valid_training_with_a_source() -> None:
    for row in table("paper_training"):
        published = paper_training(row["family"], row["dataset"], {})
        assert published.source
        assert (row["num_steps"] == "") != (row["num_epochs"] == "")
        assert row["dataset"] in factors.paper_datasets(row["family"])
