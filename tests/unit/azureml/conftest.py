"""One good export for all tests, its mutants, and an environment that has Microsoft's own client."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from azure_exports import export
from azure_mutations import write_mutants
from kilowit.azureml.wheel import write_wheel


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
    """Python of an environment with the extra azureml alone; made once, and anew when its pins change."""
    pins = repository / "tests" / "azureml-requirements.txt"
    folder = repository / "build" / "venvs" / "azureml"
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    made = folder / "made"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_file() or made.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, pins)
            made.write_text(wanted)
    return folder / "bin" / "python"


def _make(folder: Path, pins: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, "--no-deps", "-r", str(pins)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"azure-ai-ml cannot be installed here: {done.stderr.strip()[-300:]}")
    wheel = write_wheel(folder)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, capture_output=True)
