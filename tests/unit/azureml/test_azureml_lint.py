"""What Azure takes and does not run, and what it refuses later: each slip is found here, with place and remedy."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from azure_mutations import MUTATIONS
from kilowit.azureml import lint_folder, require_clean
from kilowit.azureml.lint_resources import fault_of_image
from kilowit.azureml.vm_sizes import AS_OF, fault_of_size, is_offered, vm_sizes
from kilowit.cli import main
from kilowit.errors import StudyError
from kilowit.factors import machine, machines


def test_a_good_export_has_no_finding(exported: Path) -> None:
    assert lint_folder(exported) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_slip_is_found_with_its_place_and_a_remedy(name: str, mutants: dict[str, Path]) -> None:
    findings = lint_folder(mutants[name])
    mutation = MUTATIONS[name]
    own = [finding for finding in findings if mutation.said in finding.message]
    assert own, f"{name}: {findings}"
    assert all(re.match(r"[\w.-]+\.yml:\d+", finding.place) for finding in findings)
    assert all(len(finding.remedy) > 3 for finding in findings)
    if "/" not in mutation.file:
        assert mutation.file in {finding.place.partition(":")[0] for finding in own}


def test_there_are_more_slips_than_the_bar_asks() -> None:
    assert len(MUTATIONS) >= 30


def test_the_verb_shows_findings_and_ends_with_2(
    exported: Path, mutants: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["azureml", "lint", str(exported)]) == 0
    assert main(["azureml", "lint", str(mutants["no compute"]), "--json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)
    assert found["place"].startswith("train.yml:") and "azureml:<cluster>" in found["remedy"]
    with pytest.raises(StudyError, match="no compute"):
        require_clean(mutants["no compute"])


@pytest.mark.parametrize(("content", "said"), [(None, "no such folder"), ("", "no YAML file")])
def test_a_folder_without_files_is_one_error(content: str | None, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    if content is not None:
        folder.mkdir()
    with pytest.raises(StudyError, match=said) as caught:
        lint_folder(folder)
    assert caught.value.hint


def test_every_machine_with_a_price_has_its_state() -> None:
    for name in machines():
        known, size = machine(name), vm_sizes()[name.lower()]
        assert known is not None
        assert (size.name, size.num_gpus, size.num_vcpus) == (name, known.num_gpus, known.num_vcpus)


def test_sizes_have_a_source_and_the_retired_ones_a_day_that_has_come() -> None:
    assert len(vm_sizes()) > 80
    for size in vm_sizes().values():
        assert size.source and size.num_vcpus > 0
        assert bool(size.retires) == (size.state in ("retiring", "retired"))
        if size.state == "retired":
            assert size.retires <= AS_OF
        if size.state == "retiring":
            assert date.fromisoformat(size.retires) > date.fromisoformat(AS_OF)
        assert is_offered(size) == (fault_of_size(size.name) is None)


@pytest.mark.parametrize(
    ("image", "is_pinned"),
    [
        ("python:3.11.9-slim", True),
        ("python", False),
        ("registry:5000/python", False),
        ("registry:5000/python:3", True),
        ("mcr.microsoft.com/azureml/base:latest", False),
        ("mcr.microsoft.com/azureml/base:latest@sha256:" + "0" * 64, True),
    ],
)
def test_an_image_is_pinned_by_a_tag_that_stays_or_by_its_digest(image: str, is_pinned: bool) -> None:
    assert (fault_of_image(image) is None) == is_pinned
