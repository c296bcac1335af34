"""What every runtime says of itself, and what is refused before anything is loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature

import pytest

from kilowit import parts
from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.runtime_support import check_runtime, require_packages, support_matrix, support_of

RUNTIMES = parts.names("runtimes")
CARD = ("What it does", "When to use", "When not", "Source")


@pytest.mark.parametrize("name", RUNTIMES)
def test_card_names_its_runtime_first_and_has_every_heading(name: str) -> None:
    card = parts.card("runtimes", name)
    assert card.startswith(f"{name}: ")
    assert [heading for heading in CARD if not re.search(rf"^{heading}  ", card, re.MULTILINE)] == []


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime_defines_what_it_takes_or_why_nothing_runs_it(name: str) -> None:
    module, support = parts.load("runtimes", name), support_of(name)
    if support.unavailable is not None:
        assert not hasattr(module, "load")
        assert "not available" in parts.card("runtimes", name).splitlines()[0]
        return
    assert set(support.families) <= {family.name for family in catalogue.families()}
    assert support.families and support.precisions and support.requires
    assert set(support.devices) <= {"cpu", "cuda"}
    assert list(signature(module.export).parameters) == ["model", "folder", "precision"]
    assert list(signature(module.load).parameters) == ["folder", "options"]


def test_asking_every_runtime_what_it_takes_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kilowit.parts.runtime_support import support_matrix; support_matrix(); "
        "print(sorted({'torch', 'transformers', 'numpy', 'onnxruntime', 'ctranslate2', 'openvino'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "[]"


def test_every_family_has_a_runtime() -> None:
    served = {family for row in support_matrix().values() for family in row.families}
    assert served == {family.name for family in catalogue.families()}


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("tensorflow", {}, "not available"),
        ("torch_fast", {"family": "led"}, "does not run led"),
        ("torch", {"precision": "int8"}, 'no precision "int8"'),
        ("torch", {"device": "tpu"}, 'does not run on "tpu"'),
        ("tourch", {}, 'no runtime "tourch"'),
    ],
)
def test_what_a_runtime_cannot_do_is_refused_with_a_way_out(name: str, asked: dict[str, str], message: str) -> None:
    with pytest.raises(PartError, match=message) as raised:
        check_runtime(name, **asked)
    assert raised.value.hint


def test_what_a_runtime_can_do_passes() -> None:
    assert check_runtime("torch", family="led", precision="bf16", device="cuda") is parts.load("runtimes", "torch")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(PartError, match="needs the package torch") as raised:
        require_packages("torch")
    assert "kilowit[train]" in str(raised.value.hint)
