"""Imports go one way. The line of `docs/design.md`, held."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LAYERS = (
    "wording", "errors", "served", "imported", "opinion", "record", "statistics", "factors", "settings", "parts",
    "meter", "evaluation", "cell", "study_yaml", "study_parts", "study_models", "study_paper", "study_serving",
    "study_search", "dataset", "study", "store", "serving", "endpoint", "plan", "run", "report", "exchange", "azureml",
    "mirror", "doctor", "console", "cli",
)  # fmt: skip


def imported_layers(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("kilowit"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("kilowit.")}
    return found & set(LAYERS)


def sources(repository: Path) -> list[tuple[str, Path]]:
    package = repository / "src" / "kilowit"
    named = [(path.relative_to(package).parts[0].removesuffix(".py"), path) for path in package.rglob("*.py")]
    return [(layer, path) for layer, path in named if not layer.startswith("__")]


def test_every_module_stands_in_the_line(repository: Path) -> None:
    assert {layer for layer, _ in sources(repository)} <= set(LAYERS)


def test_no_module_imports_from_its_right(repository: Path) -> None:
    wrong = [
        f"{path.name} imports {other}"
        for layer, path in sources(repository)
        for other in imported_layers(path)
        if LAYERS.index(other) > LAYERS.index(layer)
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["kilowit.meter", "kilowit.factors", "kilowit.record", "kilowit.statistics.contrast"])
def test_the_meter_and_its_left_import_without_heavy_packages(name: str) -> None:
    import subprocess
    import sys

    code = f"import {name}, sys; print(sorted({{'torch', 'numpy', 'pydantic', 'transformers'}} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "[]"


def test_files_stay_within_four_hundred_lines(repository: Path) -> None:
    long = {path.name: n for _, path in sources(repository) if (n := len(path.read_text().splitlines())) > 400}
    assert not long
