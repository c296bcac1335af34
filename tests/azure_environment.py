"""Environments of their own for packages that cannot live beside the rest: made once, of pins, in build/."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kilowit.azureml.wheel import write_wheel


def own_environment(repository: Path, name: str) -> Path:
    """Return the folder of programs of ``build/venvs/NAME``, made anew when ``tests/NAME-requirements.txt`` changes.

    kilowit itself is installed from the wheel of this checkout, made anew each time: it changes between two tests.
    """
    pins = repository / "tests" / f"{name}-requirements.txt"
    folder = repository / "build" / "venvs" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    made = folder / "made"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_file() or made.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
            done = _install(folder, "-r", str(pins))
            if done.returncode:
                pytest.skip(f"{name} cannot be installed here: {done.stderr.strip()[-300:]}")
            made.write_text(wanted)
        done = _install(folder, "--force-reinstall", str(write_wheel(folder)))
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def _install(folder: Path, *what: str) -> subprocess.CompletedProcess[str]:
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*install, "--no-deps", *what], capture_output=True, text=True)
