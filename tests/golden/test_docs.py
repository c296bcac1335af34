"""The generated pages of the documentation are those that the code would generate."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def builder(repository: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("build_docs", repository / "tools" / "build_docs.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(builder: ModuleType, repository: Path) -> None:
    stale = [
        name
        for name, text in builder.pages().items()
        if not (repository / name).is_file() or (repository / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `make docs`"


def test_no_card_is_left_of_a_method_that_is_gone(builder: ModuleType, repository: Path) -> None:
    files = [path for folder in builder.FOLDERS for path in (repository / folder).glob("*")]
    assert {str(path.relative_to(repository)) for path in files} <= set(builder.pages())
