"""One tiny exported model and one server for all tests that do not stop it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def exported(tiny_exports: Path) -> Path:
    """A BART of two layers with random weights, exported for ONNX Runtime."""
    for package in ("fastapi", "prometheus_client", "httpx2"):
        pytest.importorskip(package)
    return tiny_exports / "onnxruntime"


@pytest.fixture(scope="session")
def engine(exported: Path) -> Iterator[Any]:
    from endpoint_bench import running_engine

    with running_engine(exported) as engine:
        yield engine


@pytest.fixture(scope="session")
def client(engine: Any) -> Iterator[Any]:
    from starlette.testclient import TestClient

    from kilowit.endpoint.app import create_app

    yield TestClient(create_app(engine, engine.settings), raise_server_exceptions=False)
