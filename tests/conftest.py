"""Fixtures that every test may use: the given data, and a machine-wide lock of the test's own."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared", deadline=None)  # speed is measured in benchmarks/, not on a machine that others use
settings.load_profile("shared")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real corpora, tokenizers and model configurations that lies beside the checkout."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the folder `shared` (corpora, tokenizers, configurations) beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_exports(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """``model``, a BART of two layers with random weights, and ``onnxruntime``, its export; made once for all workers.

    Runtimes other than that are for the test that wants them to export.
    """
    for package in ("torch", "transformers", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    from kilowit.serving.folder import export_folder
    from kilowit.settings import RuntimeSettings
    from tiny_summarizer import write_model

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "tiny-exports"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "onnxruntime").exists():  # an export is there whole or not at all
            write_model(folder / "model")
            export_folder(folder / "model", folder / "onnxruntime", RuntimeSettings(name="onnxruntime"))
    return folder


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests that run studies side by side from waiting for each other's machine lock."""
    monkeypatch.setenv("KILOWIT_LOCK", str(tmp_path / "kilowit.lock"))
