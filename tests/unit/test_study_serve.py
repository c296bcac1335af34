"""A study chooses runtimes and patterns of requests; a study that does not is what it was before."""

from __future__ import annotations

import pytest

from kilowit.cell import Cell
from kilowit.errors import StudyError
from kilowit.study import Study

SMALL = "name: a\nmodels: [{scratch: bart-tiny}]\ndatasets: [docstrings]\n"


def cell(more: str = "") -> Cell:
    return Study.parse(SMALL + more).cells[0]


def refusal(more: str) -> str:
    with pytest.raises(StudyError) as caught:
        Study.parse(SMALL + more)
    return str(caught.value)


def test_a_study_without_runtimes_keeps_the_keys_and_the_cells_it_had() -> None:
    assert "runtime" not in cell().to_dict()["settings"]["predict"]
    assert "serve" not in cell().to_dict()["settings"]
    assert not {"serve", "runtime"} & {*cell()._meaning(), *cell()._meaning()["predict"]}


def test_a_runtime_by_its_name_is_the_runtime_with_nothing_else_said() -> None:
    short, long = cell("predict: {runtime: torch}\n"), cell("predict: {runtime: {name: torch}}\n")
    assert short == long
    assert short.key != cell().key


def test_what_is_served_is_part_of_the_result() -> None:
    served = cell("serve: {scenarios: [offline]}\n")
    assert served.key not in (cell().key, cell("serve: {scenarios: [single_stream]}\n").key)
    assert Cell.from_dict(served.to_dict()) == served


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("serve: {scenarios: [on_line]}", 'serve.scenarios[0]: no choice "on_line". Did you mean "offline"?'),
        ("serve: {runtimes: []}", "serve.runtimes: expected at least one item"),
        ("serve: {runtimes: [{nam: torch}]}", 'serve.runtimes[0]: no key "nam". Did you mean "name"?'),
        ("serve: {runtimes: [torch, torch]}", '"torch" stands twice in runtimes'),
        ("serve: {rate_per_second: 0}", "serve.rate_per_second: it should be greater than 0"),
        ("predict: {runtime: {name: torch, num_threads: 0}}", "predict.runtime.num_threads"),
    ],
)
def test_a_fault_of_the_block_is_said_with_its_place(block: str, said: str) -> None:
    assert said in refusal(block + "\n")
