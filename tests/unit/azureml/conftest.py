"""One good export for all tests, its mutants, and an environment that has Microsoft's own client."""

from __future__ import annotations

from pathlib import Path

import pytest

from azure_environment import own_environment
from azure_exports import export
from azure_mutations import write_mutants


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the tiny study with a search; nobody may write into it."""
    return export(tmp_path_factory.mktemp("export")).folder


@pytest.fixture(scope="session")
def mutants(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A copy of the export for each slip of `azure_mutations`."""
    return write_mutants(exported, tmp_path_factory.mktemp("mutants"))


@pytest.fixture(scope="session")
def azure_python(repository: Path) -> Path:
    """Python of an environment with the extra azureml alone."""
    return own_environment(repository, "azureml") / "python"
