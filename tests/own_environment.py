"""Virtual environments apart from ours, for what cannot live beside it: made once, anew when their pins change."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PINS = Path(__file__).with_name("environments")
MADE = "made.txt"  # says from which pins and Python


def own_environment(repository: Path, name: str) -> Path:
    """Return ``build/venvs/NAME`` with what ``tests/environments/NAME.txt`` pins; skip where it cannot be installed."""
    folder, pins = repository / "build" / "venvs" / name, PINS / f"{name}.txt"
    wanted = f"{sys.version} {hashlib.sha256(pins.read_bytes()).hexdigest()}\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if not (folder / MADE).is_file() or (folder / MADE).read_text() != wanted:
            _make(folder, pins)
            (folder / MADE).write_text(wanted)
    return folder


def _make(folder: Path, pins: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "--quiet", "--disable-pip-version-check"]
    wanted = ["install", "--no-deps", "--no-compile", "--retries", "1", "--requirement", str(pins)]
    installed = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"{pins.name} cannot be installed here: {installed.stderr.strip().splitlines()[-1:]}")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
